//! The view register in files, for replicas on one machine.
//!
//! Each view is an immutable file named by its number. A proposer writes a temporary file, makes it durable, and
//! `link()`s it to the next number: the kernel lets exactly one proposer do that. There is no lock that a stopped
//! process could hold.

use super::{RegisterError, ViewRegister};
use crate::blocking::blocking;
use api::{replica, v1};
use futures_util::future::BoxFuture;
use protocol::{SwapOutcome, View, ViewNumber};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::files::{Files, RealFiles};
use tonic_prost::prost::Message as _;

/// How many of the newest views are kept.
const VIEWS_KEPT: u64 = 16;
const PREFIX: &str = "view-";

/// A view register in a folder that all replicas see.
#[derive(Clone, Debug)]
pub struct FileRegister {
    folder: PathBuf,
    files: Arc<dyn Files>,
}

impl FileRegister {
    /// The register in that folder, which is made (0700) if there is none.
    pub fn open(folder: &Path) -> Result<Self, RegisterError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault(folder))?;
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
    /// nobody knows what it said. Its number is not used again before a newer view is installed.
    pub fn set_aside(&self, damaged: &Path) -> Result<(), RegisterError> {
        let name = damaged.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let aside = self.folder.join(format!("damaged-{name}"));
        self.files.rename(damaged, &aside).map_err(fault(damaged))?;
        self.files.sync_folder(&self.folder).map_err(fault(&self.folder))
    }

    /// The installed view.
    pub fn read_now(&self) -> Result<Option<View>, RegisterError> {
        loop {
            let Some(newest) = self.numbers()?.last().copied() else { return Ok(None) };
            let path = self.path(ViewNumber(newest));
            match self.files.read(&path) {
                Ok(bytes) => return decode(&path, &bytes).map(Some),
                // Pruned between the two looks: newer ones exist.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(RegisterError::File { path, source }),
            }
        }
    }

    /// Installs a view if the installed one has the number before it.
    pub fn swap_now(&self, view: &View) -> Result<SwapOutcome, RegisterError> {
        let current = self.read_now()?;
        let next = current.as_ref().map_or(ViewNumber(1), |current| current.number.next());
        if let Some(current) = current
            && (view.number != next || current == *view)
        {
            if current != *view {
                return Ok(SwapOutcome::Superseded(current));
            }
            // An earlier try may have failed just before its name was durable.
            self.files.sync_folder(&self.folder).map_err(fault(&self.folder))?;
            return Ok(SwapOutcome::Installed);
        }
        let draft = self.folder.join(format!(
            "draft-{}-{}-{}-{}",
            view.number.0,
            view.proposed_by.index.0,
            view.proposed_by.incarnation.0,
            uuid::Uuid::new_v4().simple()
        ));
        let target = self.path(view.number);
        self.files.publish(&target, &draft, &encode(view)).map_err(fault(&target))?;
        // Only now is it decided: a proposer that slept between its look and its link may have linked a number that
        // had been pruned, which nobody will ever read. What the register says now is the truth.
        match self.read_now()? {
            Some(installed) if installed == *view => {
                self.prune(view.number)?;
                Ok(SwapOutcome::Installed)
            }
            Some(other) => Ok(SwapOutcome::Superseded(other)),
            None => Ok(SwapOutcome::Unknown),
        }
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
    fn read(&self) -> BoxFuture<'_, Result<Option<View>, RegisterError>> {
        let register = self.clone();
        Box::pin(async move { blocking(move || register.read_now()).await })
    }

    fn compare_and_swap(&self, view: View) -> BoxFuture<'_, Result<SwapOutcome, RegisterError>> {
        let register = self.clone();
        Box::pin(async move { blocking(move || register.swap_now(&view)).await })
    }
}

fn encode(view: &View) -> Vec<u8> {
    let body = replica::view(view).encode_to_vec();
    let mut bytes = Sha256::digest(&body).to_vec();
    bytes.extend(body);
    bytes
}

fn decode(path: &Path, bytes: &[u8]) -> Result<View, RegisterError> {
    let damaged = |what: String| RegisterError::Damaged { path: path.to_owned(), what };
    let (sum, body) = bytes.split_at_checked(32).ok_or_else(|| damaged("it is too short".into()))?;
    if Sha256::digest(body).as_slice() != sum {
        return Err(damaged("its checksum is wrong".into()));
    }
    let wire = v1::View::decode(body).map_err(|error| damaged(error.to_string()))?;
    replica::read_view(wire).map_err(|error| damaged(error.to_string()))
}

fn fault(path: &Path) -> impl FnOnce(std::io::Error) -> RegisterError {
    let path = path.to_owned();
    move |source| RegisterError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{proposal, suite};
    use super::*;
    use store::files::ForgetfulFiles;

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
            assert_eq!(register.swap_now(&proposal(number, 0, number)).unwrap(), SwapOutcome::Installed);
        }
        let again = FileRegister::open(folder.path()).unwrap();
        assert_eq!(again.read_now().unwrap(), Some(proposal(40, 0, 40)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count() as u64, VIEWS_KEPT);
    }

    #[test]
    fn a_view_that_was_said_to_be_installed_outlives_a_power_failure_at_any_point() {
        let folder = Path::new("/register");
        for changes in 0..40 {
            let files = ForgetfulFiles::default();
            let register = FileRegister::on(Arc::new(files.clone()), folder);
            assert_eq!(register.swap_now(&proposal(1, 0, 1)).unwrap(), SwapOutcome::Installed);
            files.fail_after(changes);
            let mut installed = 1;
            for number in 2..6 {
                // Twice, as a proposer does that was told nothing.
                for _ in 0..2 {
                    if let Ok(SwapOutcome::Installed) = register.swap_now(&proposal(number, 0, number)) {
                        installed = number;
                    }
                }
            }
            for found in files.after_power_loss() {
                let register = FileRegister::on(Arc::new(found), folder);
                let view = register.read_now().unwrap().expect("view 1 at least");
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
        register.swap_now(&proposal(1, 0, 1)).unwrap();
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
}
