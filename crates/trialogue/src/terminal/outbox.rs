//! The outbox on disk: what was typed and not yet acknowledged, so that neither a crash of this program nor one of the
//! primary loses or doubles it. A message goes with the request id that it was given when it was typed, however often. Only
//! one that was never handed to a socket may get another; for one that was, its owner decides.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::NO_FOLLOW;
use uuid::Uuid;

/// A message that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) request_id: Uuid,
    /// The recipient's account and name.
    pub(crate) with: u64,
    pub(crate) to: String,
    pub(crate) text: String,
    /// Milliseconds since 1970.
    pub(crate) typed_at: u64,
    /// It may have been handed to a socket. An earlier version did not keep that: it may have been.
    #[serde(default = "yes")]
    pub(crate) tried: bool,
    /// Why it was refused: it stays until its owner decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refused: Option<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Typed(Letter),
    Tried(Uuid),
    Refused { request_id: Uuid, why: String },
    Replaced { earlier: Uuid, by: Letter },
    Settled(Uuid),
}

/// The file: a line for each message that was typed, and one for each that was settled. Nothing is said to be typed
/// before its line is durable.
#[derive(Debug)]
pub(crate) struct Outbox {
    path: PathBuf,
    file: File,
    /// The last line may not be whole.
    cut_short: bool,
}

fn replace(waiting: &mut Vec<Letter>, earlier: Uuid, by: Letter) {
    let place = waiting.iter().position(|letter| letter.request_id == earlier);
    match place {
        Some(place) if waiting[place].refused.is_none() => waiting[place] = by,
        Some(place) => {
            waiting.remove(place);
            waiting.push(by);
        }
        None => waiting.push(by),
    }
}

impl Outbox {
    /// Opens the outbox at `path`, and gives what waits there, oldest first. A second program with the same outbox is
    /// refused: both would send.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<Letter>)> {
        let mut options = File::options();
        options.create(true).read(true).append(true).mode(0o600).custom_flags(NO_FOLLOW);
        let file = options.open(path)?;
        if file.try_lock().is_err() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another trialogue chat uses it"));
        }
        let mut waiting: Vec<Letter> = Vec::new();
        for line in BufReader::new(&file).split(b'\n') {
            // A last line that was cut short by a crash was never said to be typed.
            match serde_json::from_slice(&line?) {
                Ok(Line::Typed(letter)) => waiting.push(letter),
                Ok(Line::Tried(id)) => {
                    waiting.iter_mut().filter(|one| one.request_id == id).for_each(|one| one.tried = true);
                }
                Ok(Line::Refused { request_id, why }) => {
                    for letter in waiting.iter_mut().filter(|one| one.request_id == request_id) {
                        letter.refused = Some(why.clone());
                    }
                }
                Ok(Line::Replaced { earlier, by }) => replace(&mut waiting, earlier, by),
                Ok(Line::Settled(id)) => waiting.retain(|letter| letter.request_id != id),
                Err(_) => {}
            }
        }
        let mut outbox = Self { path: path.to_owned(), file, cut_short: false };
        outbox.tidy(!waiting.is_empty())?;
        Ok((outbox, waiting))
    }

    /// Keeps a message. Once this returns it will be sent, sooner or later.
    pub(crate) fn keep(&mut self, letter: &Letter) -> io::Result<()> {
        self.write(&Line::Typed(letter.clone()))?;
        self.file.sync_data()
    }

    /// From now on a message may have been handed to a socket.
    pub(crate) fn tried(&mut self, request_id: Uuid) -> io::Result<()> {
        self.write(&Line::Tried(request_id))?;
        self.file.sync_data()
    }

    /// A message was refused: it is kept, and not sent again by itself. If this is lost, it is, and refused again.
    pub(crate) fn refused(&mut self, request_id: Uuid, why: &str) -> io::Result<()> {
        self.write(&Line::Refused { request_id, why: why.to_owned() })
    }

    /// A message takes the place of another; where that was refused, it comes behind all that followed it.
    pub(crate) fn replace(&mut self, earlier: Uuid, by: &Letter) -> io::Result<()> {
        self.write(&Line::Replaced { earlier, by: by.clone() })?;
        self.file.sync_data()
    }

    /// The owner of a message has dropped it.
    pub(crate) fn let_go(&mut self, request_id: Uuid) -> io::Result<()> {
        self.write(&Line::Settled(request_id))?;
        self.file.sync_data()
    }

    /// A message was acknowledged. If this is lost, it is sent again, and harmlessly so.
    pub(crate) fn settle(&mut self, request_id: Uuid) -> io::Result<()> {
        self.write(&Line::Settled(request_id))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.tidy(false)
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        // A line that was cut short by a full disk must not swallow this one.
        let mut text = if self.cut_short { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text);
        self.cut_short = written.is_err();
        written
    }

    /// Where nothing waits the file begins anew; otherwise a line that a crash has cut short is ended.
    fn tidy(&mut self, something_waits: bool) -> io::Result<()> {
        if something_waits {
            self.file.write_all(b"\n")?;
        } else {
            self.file.set_len(0)?;
        }
        self.file.sync_all()?;
        // The name of a new file is durable with its folder.
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(number: u128, text: &str) -> Letter {
        Letter {
            request_id: Uuid::from_u128(number),
            with: 2,
            to: "bob".into(),
            text: text.into(),
            typed_at: 5,
            tried: false,
            refused: None,
        }
    }

    #[test]
    fn what_was_tried_and_what_was_refused_is_known_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let (mut outbox, _) = Outbox::open(&path).unwrap();
        for (number, text) in [(1, "tried"), (2, "refused"), (3, "untried"), (4, "refused too")] {
            outbox.keep(&letter(number, text)).unwrap();
        }
        outbox.tried(Uuid::from_u128(1)).unwrap();
        outbox.tried(Uuid::from_u128(2)).unwrap();
        outbox.refused(Uuid::from_u128(2), "too old").unwrap();
        outbox.refused(Uuid::from_u128(4), "too few").unwrap();
        outbox.replace(Uuid::from_u128(3), &letter(5, "renewed")).unwrap();
        outbox.replace(Uuid::from_u128(2), &letter(6, "again")).unwrap();
        drop(outbox);
        let (_outbox, waiting) = Outbox::open(&path).unwrap();
        let expected = [
            Letter { tried: true, ..letter(1, "tried") },
            letter(5, "renewed"),
            Letter { refused: Some("too few".into()), ..letter(4, "refused too") },
            letter(6, "again"),
        ];
        assert_eq!(waiting, expected);
    }

    #[test]
    fn what_an_earlier_version_kept_may_have_been_tried() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let id = Uuid::from_u128(7);
        let line = format!(
            "{{\"typed\":{{\"request_id\":\"{id}\",\"with\":2,\"to\":\"bob\",\"text\":\"old\",\"typed_at\":5}}}}\n"
        );
        std::fs::write(&path, line).unwrap();
        assert_eq!(Outbox::open(&path).unwrap().1, [Letter { tried: true, ..letter(7, "old") }]);
    }

    #[test]
    fn what_was_typed_and_not_settled_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let (mut outbox, waiting) = Outbox::open(&path).unwrap();
        assert_eq!(waiting, []);
        assert!(Outbox::open(&path).is_err(), "two programs would both send");
        for (number, text) in [(1, "one"), (2, "two\nlines"), (3, "three")] {
            outbox.keep(&letter(number, text)).unwrap();
        }
        outbox.settle(Uuid::from_u128(2)).unwrap();
        drop(outbox);
        // A crash in the middle of a line.
        File::options().append(true).open(&path).unwrap().write_all(b"{\"typed\":{\"req").unwrap();
        let (mut outbox, waiting) = Outbox::open(&path).unwrap();
        assert_eq!(waiting, [letter(1, "one"), letter(3, "three")]);
        outbox.keep(&letter(4, "after the crash")).unwrap();
        drop(outbox);
        let (mut outbox, waiting) = Outbox::open(&path).unwrap();
        assert_eq!(waiting.len(), 3, "the line after the cut one counts");
        outbox.clear().unwrap();
        drop(outbox);
        assert_eq!(Outbox::open(&path).unwrap().1, []);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
