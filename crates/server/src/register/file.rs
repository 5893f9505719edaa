//! The view register in files, for replicas on one machine.
//!
//! Each view is an immutable file named by its number. A proposer writes a temporary file, makes it durable, and
//! `link()`s it to the next number: the kernel lets exactly one proposer do that. There is no lock that a stopped
//! process could hold.
//!
//! Each file also holds the identity of the register, and says which file it is itself (`files::Stamp`). In a copy that
//! is no longer true: so a copy of the register, or of the whole data folder, is another register, with an identity that
//! follows from what the copy is. `mv` on one file system keeps the files, and so the identity.

use super::{RegisterError, ViewRegister, decide};
use crate::blocking::blocking;
use api::{replica, v1};
use files::{Files, RealFiles, Stamp};
use futures_util::future::BoxFuture;
use protocol::recover::Remains;
use protocol::{Incarnation, Proposer, RegisterId, ReplicaIndex, SwapOutcome, View, ViewNumber};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic_prost::prost::Message as _;

/// How many of the newest views are kept.
const VIEWS_KEPT: u64 = 16;
const PREFIX: &str = "view-";
/// A view that could not be read and no longer counts has its name behind this.
const ASIDE: &str = "damaged-";
/// The format of the files that this version writes; those from before there was a number have none, and are alike.
const FORMAT: u32 = 1;
/// The identity of a register that was made by a version without identities, until it is given one.
const UNNAMED: RegisterId = RegisterId([0; 16]);

/// A view register in a folder that all replicas see.
#[derive(Clone, Debug)]
pub struct FileRegister {
    folder: PathBuf,
    files: Arc<dyn Files>,
}

impl FileRegister {
    /// The register in that folder, which is made (0700) if there is none.
    pub fn open(folder: &Path) -> Result<Self, RegisterError> {
        RealFiles.make_folder(folder).map_err(fault(folder))?;
        Ok(Self::on(Arc::new(RealFiles), folder))
    }

    /// The register in a folder of these files.
    fn on(files: Arc<dyn Files>, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files }
    }

    fn path(&self, number: ViewNumber) -> PathBuf {
        self.folder.join(format!("{PREFIX}{:020}", number.0))
    }

    fn numbers(&self) -> Result<Vec<u64>, RegisterError> {
        let names = self.files.names(&self.folder).map_err(fault(&self.folder))?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Gives a view that can't be read another name, so that it no longer counts: for an operator who has accepted that
    /// what it said is unknown. Its number is not used again.
    pub fn set_aside(&self, damaged: &Path) -> Result<(), RegisterError> {
        let name = damaged.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let aside = self.folder.join(format!("{ASIDE}{name}"));
        self.files.rename(damaged, &aside).map_err(fault(damaged))?;
        self.files.sync_folder(&self.folder).map_err(fault(&self.folder))
    }

    /// Gives a register that was made by a version without identities one, by a view that is otherwise the same. Of several
    /// replicas that start at once, one does. Nothing happens to a register that has an identity, or none to be read.
    pub fn give_identity(&self, by: ReplicaIndex, incarnation: Incarnation) -> Result<(), RegisterError> {
        let Some((UNNAMED, mut view)) = self.read_now()? else { return Ok(()) };
        view.number = view.number.next();
        view.proposed_by = Proposer { index: by, incarnation, attempt: 0 };
        self.install(RegisterId(uuid::Uuid::new_v4().into_bytes()), &view)
    }

    /// What is left of the register, and the files of newest views that can't be read.
    pub fn remains(&self) -> Result<(Remains, Vec<PathBuf>), RegisterError> {
        let mut remains = Remains::default();
        let mut damaged = Vec::new();
        let names = self.files.names(&self.folder).map_err(fault(&self.folder))?;
        let numbered = names.iter().filter_map(|name| {
            let name = name.strip_prefix(ASIDE).unwrap_or(name);
            name.strip_prefix(PREFIX)?.parse().ok()
        });
        remains.highest = ViewNumber(numbered.max().unwrap_or(0));
        for number in self.numbers()?.into_iter().rev() {
            let path = self.path(ViewNumber(number));
            let read = self.files.read_stamped(&path).map_err(fault(&path))?;
            match decode(&path, &read) {
                Ok(newest) => {
                    remains.newest = Some(newest);
                    break;
                }
                Err(RegisterError::Damaged { path, .. }) => damaged.push(path),
                Err(error) => return Err(error),
            }
        }
        remains.damaged = !damaged.is_empty();
        Ok((remains, damaged))
    }

    /// Begins again with this view, whatever the register holds, under a new identity: for an operator who has accepted what
    /// that costs. The view's number is above every number that was found anywhere; no replica runs.
    pub fn begin_again(&self, register: RegisterId, view: &View) -> Result<(), RegisterError> {
        self.install(register, view)?;
        self.prune(view.number)
    }

    /// The register's identity and the installed view.
    pub fn read_now(&self) -> Result<Option<(RegisterId, View)>, RegisterError> {
        loop {
            let Some(newest) = self.numbers()?.last().copied() else { return Ok(None) };
            let path = self.path(ViewNumber(newest));
            match self.files.read_stamped(&path) {
                Ok(read) => return decode(&path, &read).map(Some),
                // Pruned between the two looks: newer ones exist.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(RegisterError::File { path, source }),
            }
        }
    }

    /// Installs a view if this is that register and the installed view has the number before it.
    pub fn swap_now(&self, register: RegisterId, view: &View) -> Result<SwapOutcome, RegisterError> {
        match decide(self.read_now()?.as_ref(), register, view) {
            Some(SwapOutcome::Installed) => {
                // An earlier try may have failed just before its name was durable.
                self.files.sync_folder(&self.folder).map_err(fault(&self.folder))?;
                return Ok(SwapOutcome::Installed);
            }
            Some(decided) => return Ok(decided),
            None => {}
        }
        self.install(register, view)?;
        // Only now is it decided: a proposer that slept between its look and its link may have linked a number that
        // had been pruned, which no replica will ever read. What the register says now is the truth.
        match self.read_now()? {
            Some((id, installed)) if installed == *view && id == register => {
                self.prune(view.number)?;
                Ok(SwapOutcome::Installed)
            }
            Some((_, other)) => Ok(SwapOutcome::Superseded(other)),
            None => Ok(SwapOutcome::Unknown),
        }
    }

    /// Writes a view under its number, if that is free.
    fn install(&self, register: RegisterId, view: &View) -> Result<(), RegisterError> {
        let draft = self.folder.join(format!(
            "draft-{}-{}-{}-{}",
            view.number.0,
            view.proposed_by.index.0,
            view.proposed_by.incarnation.0,
            uuid::Uuid::new_v4().simple()
        ));
        let target = self.path(view.number);
        let content = |stamp| encode(register, view, stamp);
        self.files.publish_stamped(&target, &draft, &content).map(drop).map_err(fault(&target))
    }

    fn prune(&self, newest: ViewNumber) -> Result<(), RegisterError> {
        for number in self.numbers()? {
            if number + VIEWS_KEPT <= newest.0 {
                let path = self.path(ViewNumber(number));
                self.files.remove(&path).map_err(fault(&path))?;
            }
        }
        Ok(())
    }
}

impl ViewRegister for FileRegister {
    fn read(&self) -> BoxFuture<'_, Result<Option<(RegisterId, View)>, RegisterError>> {
        let register = self.clone();
        Box::pin(async move { blocking(move || register.read_now()).await })
    }

    fn compare_and_swap(
        &self,
        register: RegisterId,
        view: View,
    ) -> BoxFuture<'_, Result<SwapOutcome, RegisterError>> {
        let files = self.clone();
        Box::pin(async move { blocking(move || files.swap_now(register, &view)).await })
    }
}

fn encode(register: RegisterId, view: &View, stamp: Stamp) -> Vec<u8> {
    let Stamp { device, inode, born } = stamp;
    let mark = v1::RegisterMark { register: register.0.to_vec(), device, inode, born };
    // Two messages, one behind the other, are one message with the fields of both.
    let mut body = replica::view(view).encode_to_vec();
    body.extend(v1::ViewMark { format: FORMAT, mark: Some(mark) }.encode_to_vec());
    let mut bytes = Sha256::digest(&body).to_vec();
    bytes.extend(body);
    bytes
}

fn decode(path: &Path, (bytes, stamp): &(Vec<u8>, Stamp)) -> Result<(RegisterId, View), RegisterError> {
    let damaged = |what: String| RegisterError::Damaged { path: path.to_owned(), what };
    let (sum, body) = bytes.split_at_checked(32).ok_or_else(|| damaged("it is too short".into()))?;
    if Sha256::digest(body).as_slice() != sum {
        return Err(damaged("its checksum is wrong".into()));
    }
    let v1::ViewFormat { format } =
        v1::ViewFormat::decode(body).map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        return Err(RegisterError::Newer { path: path.to_owned(), found: format, known: FORMAT });
    }
    let wire = v1::View::decode(body).map_err(|error| damaged(error.to_string()))?;
    let view = replica::read_view(wire).map_err(|error| damaged(error.to_string()))?;
    let mark = v1::ViewMark::decode(body).map_err(|error| damaged(error.to_string()))?.mark;
    let Some(v1::RegisterMark { register, device, inode, born }) = mark else { return Ok((UNNAMED, view)) };
    let register =
        register.try_into().map_err(|_| damaged("the identity of its register is no identity".into()))?;
    let written = Stamp { device, inode, born };
    Ok((if written == *stamp { RegisterId(register) } else { copied(register, *stamp) }, view))
}

/// The identity of a copy: it follows from the register that it is a copy of and from the file that it is.
fn copied(register: [u8; 16], stamp: Stamp) -> RegisterId {
    let mut hash = Sha256::new();
    hash.update(b"a copy of the view register");
    hash.update(register);
    for number in [stamp.inode, stamp.born] {
        hash.update(number.to_be_bytes());
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    RegisterId(id)
}

fn fault(path: &Path) -> impl FnOnce(std::io::Error) -> RegisterError {
    let path = path.to_owned();
    move |source| RegisterError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{MINE, proposal, suite};
    use super::*;
    use files::ForgetfulFiles;

    #[tokio::test]
    async fn the_register_in_files_conforms() {
        let folder = tempfile::tempdir().unwrap();
        suite(Arc::new(FileRegister::open(&folder.path().join("register")).unwrap())).await;
    }

    #[test]
    fn a_view_survives_and_old_ones_and_drafts_do_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let register = FileRegister::open(folder.path()).unwrap();
        for number in 1..=40 {
            assert_eq!(
                register.swap_now(MINE, &proposal(number, 0, number)).unwrap(),
                SwapOutcome::Installed
            );
        }
        let again = FileRegister::open(folder.path()).unwrap();
        assert_eq!(again.read_now().unwrap(), Some((MINE, proposal(40, 0, 40))));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count() as u64, VIEWS_KEPT);
    }

    #[test]
    fn a_view_that_was_said_to_be_installed_outlives_a_power_failure_at_any_point() {
        let folder = Path::new("/register");
        for changes in 0..40 {
            let files = ForgetfulFiles::default();
            let register = FileRegister::on(Arc::new(files.clone()), folder);
            assert_eq!(register.swap_now(MINE, &proposal(1, 0, 1)).unwrap(), SwapOutcome::Installed);
            files.fail_after(changes);
            let mut installed = 1;
            for number in 2..6 {
                // Twice, as a proposer does that was told nothing.
                for _ in 0..2 {
                    if let Ok(SwapOutcome::Installed) = register.swap_now(MINE, &proposal(number, 0, number))
                    {
                        installed = number;
                    }
                }
            }
            for found in files.after_power_loss() {
                let register = FileRegister::on(Arc::new(found), folder);
                let (id, view) = register.read_now().unwrap().expect("view 1 at least");
                assert_eq!(id, MINE);
                assert!(
                    view.number.0 >= installed,
                    "after {changes} changes: {view}, and {installed} was installed"
                );
                assert_eq!(view, proposal(view.number.0, 0, view.number.0), "whole and unchanged");
            }
        }
    }

    #[test]
    fn a_damaged_view_is_noticed_wherever_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let register = FileRegister::open(folder.path()).unwrap();
        register.swap_now(MINE, &proposal(1, 0, 1)).unwrap();
        let path = register.path(ViewNumber(1));
        let good = std::fs::read(&path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(matches!(register.read_now(), Err(RegisterError::Damaged { .. })), "byte {place}");
            std::fs::write(&path, &good[..place]).unwrap();
            assert!(matches!(register.read_now(), Err(RegisterError::Damaged { .. })), "cut at {place}");
        }
    }

    #[test]
    fn a_copy_is_another_register_and_a_moved_one_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let register = FileRegister::open(&path("register")).unwrap();
        for number in 1..=3 {
            register.swap_now(MINE, &proposal(number, 0, number)).unwrap();
        }
        let id = |name: &str| FileRegister::open(&path(name)).unwrap().read_now().unwrap().unwrap().0;
        let copy = |from: &str, to: &str| {
            std::fs::create_dir(path(to)).unwrap();
            for entry in std::fs::read_dir(path(from)).unwrap() {
                let from = entry.unwrap().path();
                std::fs::copy(&from, path(to).join(from.file_name().unwrap())).unwrap();
            }
        };
        std::fs::rename(path("register"), path("moved")).unwrap();
        assert_eq!(id("moved"), MINE, "moved on one file system");
        copy("moved", "copy");
        assert_ne!(id("copy"), MINE);
        assert_eq!(id("copy"), id("copy"), "a copy has an identity of its own");
        let outcome = FileRegister::open(&path("copy")).unwrap().swap_now(MINE, &proposal(4, 0, 4)).unwrap();
        assert_eq!(outcome, SwapOutcome::Foreign);
        // Removed and copied back at once, under the old name.
        std::fs::remove_dir_all(path("moved")).unwrap();
        copy("copy", "moved");
        assert_ne!(id("moved"), MINE);
        assert_ne!(id("moved"), id("copy"));
    }

    /// What the version before has written: a checksum and the view.
    #[test]
    fn a_register_of_the_version_before_gets_its_identity_once() {
        let folder = tempfile::tempdir().unwrap();
        let register = FileRegister::open(folder.path()).unwrap();
        let old = proposal(5, 1, 1);
        let body = replica::view(&old).encode_to_vec();
        let mut bytes = Sha256::digest(&body).to_vec();
        bytes.extend(&body);
        std::fs::write(register.path(old.number), bytes).unwrap();
        assert_eq!(register.read_now().unwrap(), Some((UNNAMED, old.clone())));
        register.give_identity(ReplicaIndex(0), Incarnation(1)).unwrap();
        let (id, view) = register.read_now().unwrap().unwrap();
        assert_ne!(id, UNNAMED);
        assert_eq!((view.number, view.in_sync, view.op), (ViewNumber(6), old.in_sync, old.op));
        register.give_identity(ReplicaIndex(1), Incarnation(2)).unwrap();
        assert_eq!(register.read_now().unwrap(), Some((id, view)), "it has one");
    }

    #[test]
    fn a_view_of_a_newer_version_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let register = FileRegister::open(folder.path()).unwrap();
        register.swap_now(MINE, &proposal(1, 0, 1)).unwrap();
        // Nothing of it but the number is as it is today.
        let body = [v1::ViewFormat { format: FORMAT + 1 }.encode_to_vec(), vec![0x0a, 0]].concat();
        let path = register.path(ViewNumber(2));
        let bytes = [Sha256::digest(&body).to_vec(), body].concat();
        std::fs::write(&path, &bytes).unwrap();
        let newer = |error: RegisterError| matches!(error, RegisterError::Newer { found: 2, known: 1, .. });
        assert!(newer(register.read_now().unwrap_err()));
        assert!(newer(register.swap_now(MINE, &proposal(3, 0, 1)).unwrap_err()));
        assert!(newer(register.give_identity(ReplicaIndex(0), Incarnation(1)).unwrap_err()));
        assert!(newer(register.remains().unwrap_err()), "`recover` does not go by an older view");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(register.numbers().unwrap(), [1, 2]);
    }

    #[test]
    fn what_is_left_of_a_register_is_told_with_every_number_that_it_ever_gave() {
        let folder = tempfile::tempdir().unwrap();
        let register = FileRegister::open(folder.path()).unwrap();
        for number in 1..=4 {
            register.swap_now(MINE, &proposal(number, 0, number)).unwrap();
        }
        for number in [3, 4] {
            std::fs::write(register.path(ViewNumber(number)), "damaged").unwrap();
        }
        let (remains, damaged) = register.remains().unwrap();
        assert_eq!(remains.newest, Some((MINE, proposal(2, 0, 2))));
        assert_eq!((remains.highest, remains.damaged, damaged.len()), (ViewNumber(4), true, 2));
        for path in damaged {
            register.set_aside(&path).unwrap();
        }
        let (remains, _) = register.remains().unwrap();
        assert_eq!((remains.highest, remains.damaged), (ViewNumber(4), false), "what was set aside counts");
        let anew = RegisterId([9; 16]);
        register.begin_again(anew, &proposal(5, 1, 1)).unwrap();
        assert_eq!(register.read_now().unwrap(), Some((anew, proposal(5, 1, 1))));
    }
}
