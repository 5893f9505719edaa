//! The file of a durable outbox: a line for each thing that happens to a message, appended; synced, where more rests on it than
//! a message that is sent once more.

use chat::{AccountId, RequestId};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A message that waits to be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The id of its request. It stays the same at every try.
    pub request_id: RequestId,
    /// The recipient.
    pub with: AccountId,
    /// The recipient's name.
    pub to: String,
    /// What was written.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub typed_at: u64,
    /// It may have been handed to a socket. An earlier version did not keep that: it may have been.
    #[serde(default = "yes")]
    pub tried: bool,
    /// Why it was refused: it stays until its owner decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Typed(Waiting),
    Tried(RequestId),
    Refused { request_id: RequestId, why: String },
    Replaced { earlier: RequestId, by: Waiting },
    Settled(RequestId),
}

/// The file: a line for each message that was typed, tried, refused, replaced or settled. Nothing is said to be typed before its
/// line is durable.
#[derive(Debug)]
pub struct OutboxFile {
    path: PathBuf,
    file: File,
    /// Where the last line ends that counts.
    length: u64,
    /// What is behind that could not be cut off.
    cut_short: bool,
    /// Makes what was written durable.
    sync: fn(&File) -> io::Result<()>,
    /// Where lines were put aside that could not be read.
    unreadable: Option<PathBuf>,
}

fn replace(waiting: &mut Vec<Waiting>, earlier: RequestId, by: Waiting) {
    let place = waiting.iter().position(|message| message.request_id == earlier);
    match place {
        Some(place) if waiting[place].refused.is_none() => waiting[place] = by,
        Some(place) => {
            waiting.remove(place);
            waiting.push(by);
        }
        None => waiting.push(by),
    }
}

impl OutboxFile {
    /// Opens the outbox at `path`, and gives what waits there, oldest first. A second program with the same outbox is
    /// refused: both would send. Lines that can't be read are put aside ([`OutboxFile::unreadable`]).
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Waiting>)> {
        let mut options = File::options();
        options.create(true).read(true).append(true).mode(0o600);
        options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0));
        let file = options.open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another trialogue chat uses it")
            }
            TryLockError::Error(error) => error,
        })?;
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut unreadable = Vec::new();
        for line in BufReader::new(&file).split(b'\n') {
            let line = line?;
            match serde_json::from_slice(&line) {
                Ok(Line::Typed(message)) => waiting.push(message),
                Ok(Line::Tried(id)) => {
                    waiting
                        .iter_mut()
                        .filter(|message| message.request_id == id)
                        .for_each(|message| message.tried = true);
                }
                Ok(Line::Refused { request_id, why }) => {
                    for message in waiting.iter_mut().filter(|waiting| waiting.request_id == request_id) {
                        message.refused = Some(why.clone());
                    }
                }
                Ok(Line::Replaced { earlier, by }) => replace(&mut waiting, earlier, by),
                Ok(Line::Settled(id)) => waiting.retain(|message| message.request_id != id),
                // What was cut short, by a crash or a full disk, was never said to be typed.
                Err(error) if error.is_eof() => {}
                Err(_) => unreadable.push(line),
            }
        }
        let (path, sync) = (path.to_owned(), File::sync_data);
        let mut outbox = Self { path, file, length: 0, cut_short: false, sync, unreadable: None };
        if !unreadable.is_empty() {
            outbox.put_aside(&unreadable)?;
            // One of them may have said so.
            for message in &mut waiting {
                message.tried = true;
            }
        }
        outbox.tidy(!waiting.is_empty())?;
        Ok((outbox, waiting))
    }

    /// Where lines of the file were put now that can't be read: each may have been a message.
    pub fn unreadable(&self) -> Option<&Path> {
        self.unreadable.as_deref()
    }

    /// Puts those of the lines aside that were not put there before.
    fn put_aside(&mut self, lines: &[Vec<u8>]) -> io::Result<()> {
        let path = self.aside();
        let known = std::fs::read(&path).unwrap_or_default();
        let new: Vec<&[u8]> = lines
            .iter()
            .map(Vec::as_slice)
            .filter(|line| !known.split(|sign| *sign == b'\n').any(|known| known == *line))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut options = File::options();
        options.create(true).append(true).mode(0o600);
        options.custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0));
        let mut aside = options.open(&path)?;
        aside.write_all(&new.join(&b'\n'))?;
        aside.write_all(b"\n")?;
        aside.sync_all()?;
        self.unreadable = Some(path);
        Ok(())
    }

    fn aside(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".unreadable");
        path.into()
    }

    /// Keeps a message. Once this returns it will be sent, sooner or later.
    pub(crate) fn keep(&mut self, message: &Waiting) -> io::Result<()> {
        self.write(&Line::Typed(message.clone()), true)
    }

    /// From now on a message may have been handed to a socket.
    pub(crate) fn tried(&mut self, request_id: RequestId) -> io::Result<()> {
        self.write(&Line::Tried(request_id), true)
    }

    /// A message was refused: it is kept, and not sent again by itself. If this is lost, it is, and refused again.
    pub(crate) fn refused(&mut self, request_id: RequestId, why: &str) -> io::Result<()> {
        self.write(&Line::Refused { request_id, why: why.to_owned() }, false)
    }

    /// A message takes the place of another; where that was refused, it comes behind all that followed it.
    pub(crate) fn replace(&mut self, earlier: RequestId, by: &Waiting) -> io::Result<()> {
        self.write(&Line::Replaced { earlier, by: by.clone() }, true)
    }

    /// The owner of a message has dropped it.
    pub(crate) fn let_go(&mut self, request_id: RequestId) -> io::Result<()> {
        self.write(&Line::Settled(request_id), true)
    }

    /// A message was acknowledged. If this is lost, it is sent again, and harmlessly so.
    pub(crate) fn settle(&mut self, request_id: RequestId) -> io::Result<()> {
        self.write(&Line::Settled(request_id), false)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.tidy(false)?;
        match std::fs::remove_file(self.aside()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a line, durably if it must be. On an error it does not count, also if it was written and only not synced: its
    /// writer takes it for not written, and may write another in its place.
    fn write(&mut self, line: &Line, durably: bool) -> io::Result<()> {
        // What could not be cut off must not swallow this line.
        let mut text = if self.cut_short { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        let written = self.file.write_all(&text);
        let written = if durably { written.and_then(|()| (self.sync)(&self.file)) } else { written };
        if written.is_ok() {
            self.length += text.len() as u64;
            self.cut_short = false;
        } else {
            self.cut_short = self.file.set_len(self.length).is_err();
        }
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
        self.length = self.file.metadata()?.len();
        // The name of a new file is durable with its folder.
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(number))
    }

    fn message(number: u128, text: &str) -> Waiting {
        Waiting {
            request_id: id(number),
            with: AccountId(2),
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
        let (mut outbox, _) = OutboxFile::open(&path).unwrap();
        for (number, text) in [(1, "tried"), (2, "refused"), (3, "untried"), (4, "refused too")] {
            outbox.keep(&message(number, text)).unwrap();
        }
        outbox.tried(id(1)).unwrap();
        outbox.tried(id(2)).unwrap();
        outbox.refused(id(2), "too old").unwrap();
        outbox.refused(id(4), "too few").unwrap();
        outbox.replace(id(3), &message(5, "renewed")).unwrap();
        outbox.replace(id(2), &message(6, "again")).unwrap();
        drop(outbox);
        let (_outbox, waiting) = OutboxFile::open(&path).unwrap();
        let expected = [
            Waiting { tried: true, ..message(1, "tried") },
            message(5, "renewed"),
            Waiting { refused: Some("too few".into()), ..message(4, "refused too") },
            message(6, "again"),
        ];
        assert_eq!(waiting, expected);
    }

    #[test]
    fn a_line_whose_sync_failed_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let (mut outbox, _) = OutboxFile::open(&path).unwrap();
        outbox.keep(&message(1, "kept")).unwrap();
        outbox.sync = |_| Err(io::ErrorKind::StorageFull.into());
        outbox.keep(&message(2, "never kept")).unwrap_err();
        for another in [3, 4] {
            outbox.replace(id(1), &message(another, "renewed in vain")).unwrap_err();
        }
        outbox.sync = File::sync_data;
        outbox.replace(id(1), &message(5, "renewed")).unwrap();
        drop(outbox);
        assert_eq!(OutboxFile::open(&path).unwrap().1, [message(5, "renewed")]);
    }

    #[test]
    fn a_line_that_can_not_be_read_is_put_aside_and_loses_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let (mut outbox, _) = OutboxFile::open(&path).unwrap();
        outbox.keep(&message(1, "one")).unwrap();
        outbox.keep(&message(2, "two")).unwrap();
        drop(outbox);
        let damaged = std::fs::read_to_string(&path).unwrap().replacen("{\"typed\"", "\0\0\"typed\"", 1);
        std::fs::write(&path, &damaged).unwrap();
        let (outbox, waiting) = OutboxFile::open(&path).unwrap();
        assert_eq!(waiting, [Waiting { tried: true, ..message(2, "two") }], "it may have been");
        let aside = std::fs::read_to_string(outbox.unreadable().unwrap()).unwrap();
        assert_eq!(aside.trim_end(), damaged.lines().find(|line| line.contains("one")).unwrap());
        drop(outbox);
        assert_eq!(OutboxFile::open(&path).unwrap().0.unreadable(), None, "it is told of once");
    }

    #[test]
    fn what_an_earlier_version_kept_may_have_been_tried() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let id = id(7).0;
        let line = format!(
            "{{\"typed\":{{\"request_id\":\"{id}\",\"with\":2,\"to\":\"bob\",\"text\":\"old\",\"typed_at\":5}}}}\n"
        );
        std::fs::write(&path, line).unwrap();
        assert_eq!(OutboxFile::open(&path).unwrap().1, [Waiting { tried: true, ..message(7, "old") }]);
    }

    #[test]
    fn what_was_typed_and_not_settled_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.jsonl");
        let (mut outbox, waiting) = OutboxFile::open(&path).unwrap();
        assert_eq!(waiting, []);
        assert!(OutboxFile::open(&path).is_err(), "two programs would both send");
        for (number, text) in [(1, "one"), (2, "two\nlines"), (3, "three")] {
            outbox.keep(&message(number, text)).unwrap();
        }
        outbox.settle(id(2)).unwrap();
        drop(outbox);
        // A crash in the middle of a line.
        File::options().append(true).open(&path).unwrap().write_all(b"{\"typed\":{\"req").unwrap();
        let (mut outbox, waiting) = OutboxFile::open(&path).unwrap();
        assert_eq!(waiting, [message(1, "one"), message(3, "three")]);
        outbox.keep(&message(4, "after the crash")).unwrap();
        drop(outbox);
        let (mut outbox, waiting) = OutboxFile::open(&path).unwrap();
        assert_eq!(waiting.len(), 3, "the line after the cut one counts");
        outbox.clear().unwrap();
        drop(outbox);
        assert_eq!(OutboxFile::open(&path).unwrap().1, []);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
