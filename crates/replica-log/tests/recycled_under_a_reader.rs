//! A segment that is recycled, cut or damaged between a reader's look at the list of segments and its read of the file.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{DATABASE, LIMITS, append_all, check_chains, folder, position, rot, segment};
use files::{Files, ForgetfulFiles, OpenFile, Stamp};
use protocol::{Op, Position};
use replica_log::{Log, LogError};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Hook = Box<dyn FnOnce() + Send>;

/// A disk on which something happens before the next read of an open file.
#[derive(Clone, Default)]
struct Interrupting {
    disk: ForgetfulFiles,
    before_read: Arc<Mutex<Option<Hook>>>,
}

impl fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

#[derive(Debug)]
struct InterruptingFile(Arc<dyn OpenFile>, Interrupting);

impl Interrupting {
    fn wrap(&self, file: io::Result<Arc<dyn OpenFile>>) -> io::Result<Arc<dyn OpenFile>> {
        Ok(Arc::new(InterruptingFile(file?, self.clone())))
    }
}

impl OpenFile for InterruptingFile {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let hook = self.1.before_read.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.read_at(bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.0.is_at(path)
    }
}

impl Files for Interrupting {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.names(folder)
    }

    fn exists(&self, path: &Path) -> bool {
        self.disk.exists(path)
    }

    fn read_stamped(&self, path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
        self.disk.read_stamped(path)
    }

    fn write_stamped(&self, path: &Path, content: &dyn Fn(Stamp) -> Vec<u8>) -> io::Result<()> {
        self.disk.write_stamped(path, content)
    }

    fn create(&self, path: &Path, length: u64) -> io::Result<Arc<dyn OpenFile>> {
        self.wrap(self.disk.create(path, length))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        self.wrap(self.disk.open(path))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn OpenFile>> {
        self.wrap(self.disk.open_to_read(path))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.disk.sync(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.create_folder(folder)
    }
}

type Meanwhile = fn(&mut Log, &ForgetfulFiles);

/// What a read after op 2 and one of the chain at op 8 yield, if something happens in their midst to a log of three segments
/// with ten entries each, the last one with six: the ops of the piece, and whether there is a chain.
fn read(meanwhile: Meanwhile) -> Result<(Vec<u64>, bool), LogError> {
    let files = Interrupting::default();
    let log = Log::create(Arc::new(files.clone()), folder(), DATABASE, Position::ORIGIN, LIMITS).unwrap();
    let log = Arc::new(Mutex::new(log));
    append_all(&mut log.lock().unwrap(), "abcdefghijklmnopqrstuvwxyz");
    let reader = log.lock().unwrap().reader();
    let before = position(&log.lock().unwrap(), 2);
    let hook: Hook = {
        let (log, disk) = (Arc::clone(&log), files.disk.clone());
        Box::new(move || meanwhile(&mut log.lock().unwrap(), &disk))
    };
    *files.before_read.lock().unwrap() = Some(hook);
    let piece = reader.read_after(Op(2), usize::MAX)?;
    let chain = reader.chain_at(Op(8))?;
    if let Some(found) = piece.chain {
        assert_eq!(found, before.chain);
        let end = piece.entries.last().map_or(before, protocol::Entry::position);
        check_chains(before, end, &piece.entries);
    }
    Ok((piece.entries.iter().map(|entry| entry.op.0).collect(), chain.is_some()))
}

#[test]
fn a_read_in_whose_midst_a_segment_goes_is_one_of_the_log_after_that() {
    let cases: [(&str, Meanwhile, Vec<u64>, bool); 4] = [
        ("nothing", |_, _| (), (3..=26).collect(), true),
        ("more entries", |log, _| append_all(log, "ABCDEFGHIJ"), (3..=26).collect(), true),
        (
            "recycled and written anew, with groups of the same lengths",
            |log, _| {
                log.recycle(Op(20));
                append_all(log, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
            },
            vec![],
            false,
        ),
        (
            "cut, with other entries in the place of those that went",
            |log, _| {
                log.cut(position(log, 5), Position::ORIGIN).unwrap();
                append_all(log, "FG");
            },
            (3..=7).collect(),
            false,
        ),
    ];
    for (case, meanwhile, ops, chain) in cases {
        assert_eq!(read(meanwhile).unwrap(), (ops, chain), "{case}");
    }
}

#[test]
fn damage_is_not_taken_for_a_segment_that_went() {
    let rotten = read(|_, disk| rot(disk, &segment(1), 4096 + 3 * 1120, 1));
    assert!(matches!(rotten, Err(LogError::Damaged { op: Op(4), .. })));
}
