//! Reading what is given, never more than is allowed: a line without an end must not take the memory.

use std::io::{self, BufRead, Read};

/// What was read in the place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Text(String),
    /// It has more bytes than this.
    TooLong(usize),
    NotUtf8,
}

/// The next line, without its end (`\n` or `\r\n`), and no more than `limit` bytes of it; `None` at the end of the input. The
/// rest of a line that is too long is passed over.
pub(crate) fn line(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Given>> {
    let mut bytes = Vec::new();
    // Room for what ends a line, which does not count.
    take(input, limit + 2, &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let ended = bytes.pop_if(|last| *last == b'\n').is_some();
    if ended {
        bytes.pop_if(|last| *last == b'\r');
    }
    if bytes.len() > limit {
        if !ended {
            pass_over(input)?;
        }
        return Ok(Some(Given::TooLong(limit)));
    }
    Ok(Some(String::from_utf8(bytes).map_or(Given::NotUtf8, Given::Text)))
}

/// The whole of the input: one text of `limit` bytes at most. Its lines end with `\n`, whatever they ended with, and the
/// newline that ends a file is no part of it.
pub(crate) fn whole(input: impl Read, limit: usize) -> io::Result<Given> {
    let mut bytes = Vec::new();
    // Each byte that counts may be a newline of two, and one more newline may end it.
    let most = 2 * limit + 2;
    input.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Ok(Given::TooLong(limit));
    }
    let Ok(text) = String::from_utf8(bytes) else { return Ok(Given::NotUtf8) };
    let text = text.replace("\r\n", "\n");
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(if text.len() > limit { Given::TooLong(limit) } else { Given::Text(text.to_owned()) })
}

/// Bytes down to a newline, which is taken too, and no more than `most`.
fn take(input: &mut impl BufRead, most: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    input.take(most).read_until(b'\n', bytes).map(drop)
}

fn pass_over(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let there = input.fill_buf()?;
        if there.is_empty() {
            return Ok(());
        }
        let newline = there.iter().position(|byte| *byte == b'\n');
        let count = newline.map_or(there.len(), |place| place + 1);
        input.consume(count);
        if newline.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Given {
        Given::Text(text.into())
    }

    #[test]
    fn lines_end_in_two_ways_and_long_ones_are_passed_over() {
        let mut input: &[u8] = b"one\r\n12345\r\n123456\n12345\n\n1234567\r\nx\ry\n12345678901\n\xff\nend\r";
        let mut lines = Vec::new();
        while let Some(given) = line(&mut input, 5).unwrap() {
            lines.push(given);
        }
        let long = || Given::TooLong(5);
        let expected = [
            text("one"),
            text("12345"),
            long(),
            text("12345"),
            text(""),
            long(),
            text("x\ry"),
            long(),
            Given::NotUtf8,
            text("end\r"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_whole_text_keeps_its_lines_and_is_bounded() {
        let cases: [(&[u8], Given); 7] = [
            (b"two\r\nlines\r\n", text("two\nlines")),
            (b"end twice\n\n", text("end twice\n")),
            (b"0123456789\r\n", text("0123456789")),
            (b"0123456789x", Given::TooLong(10)),
            ("0123456789é".as_bytes(), Given::TooLong(10)),
            (b"\xff", Given::NotUtf8),
            (b"", text("")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(whole(bytes, 10).unwrap(), expected, "{bytes:?}");
        }
        // However much there is, no more than is needed to know is read; where it is cut is no fault of the text.
        let mut endless = io::repeat(b'x');
        assert_eq!(whole(&mut endless, 10).unwrap(), Given::TooLong(10));
        assert_eq!(whole("é".repeat(1000).as_bytes(), 9).unwrap(), Given::TooLong(9));
    }
}
