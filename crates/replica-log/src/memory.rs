//! What a database remembers of views ([`protocol::Memory`]), in a file of its own beside the log: a new primary waits for this
//! sync before it serves.
//!
//! The file has two pages, which are written in turn and synced: a power failure tears the one that was being written, and the
//! other still has what was remembered before. It is made once, with its full length, so that a sync has content to write and
//! nothing else. All numbers in a page are little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `trimem` and two zeros |
//! | 4 | the format number |
//! | 4 | crc32c of the 12 bytes before: these 16 bytes are the same in every format |
//! | 8 | its place in the order of writes: the page with the higher one is the newer |
//! | 16 | the identity of the database |
//! | 16 | the identity of the register |
//! | 8, 8, 2, 8 | the newest view of which the database was complete; number, in sync (bit i stands for replica i) and op of the view |
//! | 1, 8, 8 | index, incarnation and attempt of its proposer |
//! | 1, and 1 + 16 each | the number of members, and index and database of each |
//! | 4 | crc32c of everything before |

use crate::bytes::Fields;
use crate::error::LogError;
use crc32c::crc32c;
use files::{Files, OpenFile};
use protocol::{
    DatabaseId, Incarnation, Member, Memory, Op, Proposer, RegisterId, ReplicaIndex, ReplicaSet, View,
    ViewNumber,
};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NAME: &str = "remembered";
const DRAFT: &str = "remembered.draft";
const MAGIC: [u8; 8] = *b"trimem\0\0";
/// The format that this program writes.
const FORMAT: u32 = 1;
const BEGIN_BYTES: usize = 16;
/// Two writes share no sector of a disk, and no page of the system's memory where those have 4 KiB.
const PAGE_BYTES: usize = 4096;
const PAGES: u64 = 2;
const FILE_BYTES: u64 = PAGES * PAGE_BYTES as u64;

/// The file, as the one thread has it that writes it.
#[derive(Debug)]
pub struct MemoryFile {
    files: Arc<dyn Files>,
    folder: PathBuf,
    database: DatabaseId,
    file: Arc<dyn OpenFile>,
    /// The place of the newest page in the order of writes; 0 if there is none.
    place: u64,
}

/// A page that is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    place: u64,
    database: DatabaseId,
    memory: Memory,
}

impl MemoryFile {
    /// Opens the file of this database in the folder of its log, and makes it if there is none.
    ///
    /// # Errors
    /// [`LogError::NewerFormat`] if a newer program has written it, which then is left as it is; else what is wrong with the disk.
    pub fn open(files: Arc<dyn Files>, folder: &Path, database: DatabaseId) -> Result<Self, LogError> {
        let file = match find(&*files, folder)? {
            Some(file) => {
                // The process that made it may have ended before its name was durable.
                files.sync_folder(folder).map_err(LogError::file(folder))?;
                file
            }
            None => make(&*files, folder, at(0), &[])?,
        };
        let place = newest(&*file, &folder.join(NAME))?.map_or(0, |written| written.place);
        Ok(Self { files, folder: folder.to_owned(), database, file, place })
    }

    /// Remembers this from now on, durably. After an error a start may find it, or what was remembered before it.
    pub fn remember(&mut self, memory: &Memory) -> Result<(), LogError> {
        let path = self.folder.join(NAME);
        // After a failure the same page again: the other one has what is remembered until this has succeeded.
        let place = self.place + 1;
        let page = encode(&Written { place, database: self.database, memory: memory.clone() });
        if self.file.is_at(&path).map_err(LogError::file(&path))? {
            let kept = self.file.write_at(&page, at(place)).and_then(|()| self.file.sync());
            kept.map_err(LogError::file(&path))?;
        } else {
            self.file = make(&*self.files, &self.folder, at(place), &page)?;
        }
        self.place = place;
        Ok(())
    }
}

/// What this database remembered last in the folder of its log; nothing is changed. It may be in the system's memory alone: it is to
/// be made durable elsewhere before it counts.
///
/// # Errors
/// As [`MemoryFile::open`].
pub fn remembered(
    files: &dyn Files,
    folder: &Path,
    database: DatabaseId,
) -> Result<Option<Memory>, LogError> {
    let Some(file) = find(files, folder)? else { return Ok(None) };
    let newest = newest(&*file, &folder.join(NAME))?;
    Ok(newest.filter(|written| written.database == database).map(|written| written.memory))
}

/// The file, if it is there in its whole length.
fn find(files: &dyn Files, folder: &Path) -> Result<Option<Arc<dyn OpenFile>>, LogError> {
    let path = folder.join(NAME);
    let file = match files.open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(LogError::file(&path))?,
    };
    if file.length().map_err(LogError::file(&path))? == FILE_BYTES {
        return Ok(Some(file));
    }
    let mut begin = [0; BEGIN_BYTES];
    if file.read_at(&mut begin, 0).is_ok()
        && let Some(found) = format(&begin).filter(|found| *found > FORMAT)
    {
        return Err(LogError::NewerFormat { path, found, known: FORMAT });
    }
    tracing::warn!("{} has not the length that it was made with, and is passed over", path.display());
    Ok(None)
}

/// The newest page.
fn newest(file: &dyn OpenFile, path: &Path) -> Result<Option<Written>, LogError> {
    let mut newest: Option<Written> = None;
    for page in 0..PAGES {
        let found = read_page(file, path, page)?;
        newest = newest.into_iter().chain(found).max_by_key(|written| written.place);
    }
    Ok(newest)
}

/// Where the page is, in bytes, that is written for this place in the order of writes.
const fn at(place: u64) -> u64 {
    place % PAGES * PAGE_BYTES as u64
}

/// Makes the file anew, durably, with this page at that byte.
fn make(files: &dyn Files, folder: &Path, at: u64, page: &[u8]) -> Result<Arc<dyn OpenFile>, LogError> {
    let (path, draft) = (folder.join(NAME), folder.join(DRAFT));
    let made = || {
        files.remove(&draft)?;
        let file = files.create(&draft, FILE_BYTES)?;
        file.write_at(page, at)?;
        file.sync()?;
        files.rename(&draft, &path)?;
        files.sync_folder(folder)?;
        Ok(file)
    };
    made().map_err(LogError::file(&path))
}

/// `None` where a page was never written, or was torn: then the other page, or the tables, have what was remembered before.
fn read_page(file: &dyn OpenFile, path: &Path, page: u64) -> Result<Option<Written>, LogError> {
    let mut bytes = [0; PAGE_BYTES];
    file.read_at(&mut bytes, page * PAGE_BYTES as u64).map_err(LogError::file(path))?;
    let written = decode(&bytes).map_err(|found| LogError::NewerFormat {
        path: path.to_owned(),
        found,
        known: FORMAT,
    })?;
    if written.is_none() && bytes.iter().any(|byte| *byte != 0) {
        tracing::warn!("page {page} of {} was torn or is damaged, and is passed over", path.display());
    }
    Ok(written)
}

fn encode(written: &Written) -> Vec<u8> {
    let Written { place, database, memory: Memory { register, view, complete } } = written;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes.extend(place.to_le_bytes());
    bytes.extend(database.0);
    bytes.extend(register.0);
    bytes.extend(complete.0.to_le_bytes());
    bytes.extend(view.number.0.to_le_bytes());
    bytes.extend(view.in_sync.bits().to_le_bytes());
    bytes.extend(view.op.0.to_le_bytes());
    bytes.push(view.proposed_by.index.0);
    bytes.extend(view.proposed_by.incarnation.0.to_le_bytes());
    bytes.extend(view.proposed_by.attempt.to_le_bytes());
    bytes.push(u8::try_from(view.members.len()).expect("a view has 16 members at most"));
    for member in &view.members {
        bytes.push(member.index.0);
        bytes.extend(member.database.0);
    }
    bytes.extend(crc32c(&bytes).to_le_bytes());
    assert!(bytes.len() <= PAGE_BYTES, "what is remembered of 16 members fits into a page");
    bytes
}

/// What is sound in a page; the number of a newer format as an error.
fn decode(page: &[u8]) -> Result<Option<Written>, u32> {
    let Some(format) = format(page) else { return Ok(None) };
    if format > FORMAT {
        return Err(format);
    }
    let mut fields = Fields(&page[BEGIN_BYTES..]);
    let written = read(&mut fields);
    let length = page.len() - fields.0.len();
    let sound = fields.u32() == Some(crc32c(&page[..length]));
    Ok(written.filter(|_| sound))
}

fn format(page: &[u8]) -> Option<u32> {
    let begin = page.get(..BEGIN_BYTES)?;
    let mut fields = Fields(begin);
    let is_memory = fields.array() == Some(MAGIC);
    let format = fields.u32()?;
    (is_memory && fields.u32() == Some(crc32c(&begin[..BEGIN_BYTES - 4]))).then_some(format)
}

fn read(fields: &mut Fields<'_>) -> Option<Written> {
    let (place, database) = (fields.u64()?, DatabaseId(fields.array()?));
    let register = RegisterId(fields.array()?);
    let complete = ViewNumber(fields.u64()?);
    let number = ViewNumber(fields.u64()?);
    let in_sync = ReplicaSet::from_bits(u16::from_le_bytes(fields.array()?));
    let op = Op(fields.u64()?);
    let proposed_by = Proposer {
        index: ReplicaIndex(fields.byte()?),
        incarnation: Incarnation(fields.u64()?),
        attempt: fields.u64()?,
    };
    let members = fields.byte()?;
    let member =
        |_| Some(Member { index: ReplicaIndex(fields.byte()?), database: DatabaseId(fields.array()?) });
    let members = (0..members).map(member).collect::<Option<Vec<_>>>()?;
    let view = View { number, members, in_sync, op, proposed_by };
    Some(Written { place, database, memory: Memory { register, view, complete } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use files::ForgetfulFiles;

    const FOLDER: &str = "/replica/log";
    const MINE: DatabaseId = DatabaseId([7; 16]);

    fn memory(number: u64) -> Memory {
        let member = |index| Member { index: ReplicaIndex(index), database: DatabaseId([index; 16]) };
        let view = View {
            number: ViewNumber(number),
            members: (0..16).map(member).collect(),
            in_sync: ReplicaSet::from_bits(0b1000_0000_0000_0110),
            op: Op(1000 + number),
            proposed_by: Proposer { index: ReplicaIndex(1), incarnation: Incarnation(u64::MAX), attempt: 3 },
        };
        Memory { register: RegisterId([9; 16]), view, complete: ViewNumber(number - 1) }
    }

    fn open(files: &ForgetfulFiles, database: DatabaseId) -> Result<MemoryFile, LogError> {
        MemoryFile::open(Arc::new(files.clone()), Path::new(FOLDER), database)
    }

    fn found(files: &ForgetfulFiles, database: DatabaseId) -> Option<Memory> {
        remembered(files, Path::new(FOLDER), database).unwrap()
    }

    fn disk() -> ForgetfulFiles {
        let files = ForgetfulFiles::default();
        files.make_folder(Path::new(FOLDER)).unwrap();
        files
    }

    #[test]
    fn wherever_the_power_fails_it_has_what_was_said_to_be_remembered_or_what_was_being_written() {
        let mut whole = 0;
        for changes in 0..60 {
            let files = disk();
            files.fail_after(changes);
            let (mut kept, mut tried) = (0, 0);
            if let Ok(mut file) = open(&files, MINE) {
                for number in 1..=6 {
                    tried = number;
                    // A sync that fails, without the end of the power.
                    if number == 4 {
                        files.fail_one_after(1, ErrorKind::Other);
                    }
                    if file.remember(&memory(number)).is_ok() {
                        kept = number;
                    }
                }
            }
            whole += u64::from(kept == 6);
            for disk in files.after_power_loss() {
                let mut again = open(&disk, MINE).unwrap();
                let newest = found(&disk, MINE).map_or(0, |memory| memory.view.number.0);
                assert!(
                    (kept..=tried).contains(&newest),
                    "after {changes} changes: {newest}, of {kept} to {tried}"
                );
                assert!(newest == 0 || found(&disk, MINE) == Some(memory(newest)), "whole and unchanged");
                again.remember(&memory(9)).unwrap();
                for disk in disk.after_power_loss() {
                    assert_eq!(found(&disk, MINE), Some(memory(9)));
                }
            }
        }
        assert!(whole > 0, "the last rounds come to the end");
    }

    fn damage_the_newest_page(files: &ForgetfulFiles) {
        let file = files.open(&Path::new(FOLDER).join(NAME)).unwrap();
        let place = |page| read_page(&*file, Path::new(NAME), page).unwrap().map(|written| written.place);
        file.write_at(&[0xff; 5], at(place(0).max(place(1)).unwrap()) + 100).unwrap();
    }

    /// It is torn only where a sector is: no disk here does that by itself.
    #[test]
    fn where_a_page_is_torn_the_one_before_is_found_after_a_failure_too() {
        let files = disk();
        let mut file = open(&files, MINE).unwrap();
        for number in [1, 2, 3] {
            file.remember(&memory(number)).unwrap();
            let torn = files.durable_copy();
            damage_the_newest_page(&torn);
            let before = Some(number - 1).filter(|before| *before > 0).map(memory);
            assert_eq!(found(&torn, MINE), before);
        }
        files.fail_one_after(1, ErrorKind::Other);
        file.remember(&memory(4)).unwrap_err();
        file.remember(&memory(5)).unwrap();
        for disk in files.after_power_loss() {
            assert_eq!(found(&disk, MINE), Some(memory(5)));
            damage_the_newest_page(&disk);
            assert_eq!(found(&disk, MINE), Some(memory(3)));
        }
    }

    #[test]
    fn what_another_database_remembered_is_not_there() {
        let files = disk();
        open(&files, MINE).unwrap().remember(&memory(8)).unwrap();
        let mut other = open(&files, DatabaseId([8; 16])).unwrap();
        assert_eq!(found(&files, DatabaseId([8; 16])), None);
        other.remember(&memory(3)).unwrap();
        assert_eq!(found(&files, DatabaseId([8; 16])), Some(memory(3)));
        assert_eq!(found(&files, MINE), None, "the newer page counts");
    }

    #[test]
    fn a_file_that_was_removed_is_made_again() {
        let files = disk();
        let mut file = open(&files, MINE).unwrap();
        file.remember(&memory(1)).unwrap();
        files.remove(&Path::new(FOLDER).join(NAME)).unwrap();
        file.remember(&memory(2)).unwrap();
        for disk in files.after_power_loss() {
            assert_eq!(found(&disk, MINE), Some(memory(2)));
        }
    }

    /// A process ends before the name is durable, and the next one goes on with the file.
    #[test]
    fn a_file_that_is_found_is_there_after_a_power_failure() {
        let files = disk();
        // What is made, written, synced and renamed; then the folder is not synced.
        files.fail_one_after(5, ErrorKind::Other);
        open(&files, MINE).unwrap_err();
        assert!(files.exists(&Path::new(FOLDER).join(NAME)), "it has its name, which is not durable");
        open(&files, MINE).unwrap().remember(&memory(1)).unwrap();
        for disk in files.after_power_loss() {
            assert_eq!(found(&disk, MINE), Some(memory(1)));
        }
    }

    #[test]
    fn every_bit_of_a_page_counts() {
        let written = Written { place: 5, database: MINE, memory: memory(4) };
        let page = encode(&written);
        assert_eq!(decode(&page), Ok(Some(written)));
        for bit in 0..page.len() * 8 {
            let mut bytes = page.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), Ok(None), "bit {bit}");
        }
        for length in 0..page.len() {
            assert_eq!(decode(&page[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_left_as_it_is() {
        let files = disk();
        drop(open(&files, MINE).unwrap());
        let mut bytes = MAGIC.to_vec();
        bytes.extend((FORMAT + 1).to_le_bytes());
        bytes.extend(crc32c(&bytes).to_le_bytes());
        files.open(&Path::new(FOLDER).join(NAME)).unwrap().write_at(&bytes, 0).unwrap();
        let error = open(&files, MINE).unwrap_err();
        assert!(matches!(error, LogError::NewerFormat { found: 2, known: 1, .. }), "{error}");
        files.open(&Path::new(FOLDER).join(NAME)).unwrap().truncate(100).unwrap();
        let error = open(&files, MINE).unwrap_err();
        assert!(
            matches!(error, LogError::NewerFormat { found: 2, known: 1, .. }),
            "of another length: {error}"
        );
    }

    /// What one version writes, the next one reads.
    #[test]
    fn the_bytes_of_a_page_stay_what_they_are() {
        let page = encode(&Written { place: 5, database: MINE, memory: memory(4) });
        assert_eq!(page[..12], *b"trimem\0\0\x01\0\0\0");
        assert_eq!(page[16..24], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page.len(), 16 + 8 + 32 + 26 + 17 + 1 + 16 * 17 + 4);
        assert_eq!(page[page.len() - 4..], [31, 124, 208, 71], "the checksum");
    }
}
