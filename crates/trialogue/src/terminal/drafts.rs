//! The drafts on disk: a file that is always whole, and written a moment after something was typed.

use super::kept::Draft;
use files::NO_FOLLOW;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The drafts of one account on this machine.
#[derive(Debug)]
pub(crate) struct Drafts {
    path: PathBuf,
    written: Vec<Draft>,
}

impl Drafts {
    /// Those that were kept beside this outbox. What can't be read is no reason not to chat: it was never sent.
    pub(crate) fn beside(outbox: &Path) -> Self {
        let path = outbox.with_extension("drafts.json");
        let text = std::fs::read(&path).unwrap_or_default();
        Self { written: serde_json::from_slice(&text).unwrap_or_default(), path }
    }

    pub(crate) fn all(&self) -> Vec<Draft> {
        self.written.clone()
    }

    /// Writes them, if they have changed.
    pub(crate) fn keep(&mut self, drafts: Vec<Draft>) -> io::Result<()> {
        if drafts == self.written {
            return Ok(());
        }
        if drafts.is_empty() {
            match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else {
            let beside = self.path.with_extension("new");
            let mut options = File::options();
            options.create(true).truncate(true).write(true).mode(0o600).custom_flags(NO_FOLLOW);
            let mut file = options.open(&beside)?;
            file.write_all(&serde_json::to_vec(&drafts)?)?;
            file.sync_data()?;
            std::fs::rename(&beside, &self.path)?;
        }
        self.written = drafts;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_there_the_next_time_and_gone_once_they_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox.jsonl");
        let mut drafts = Drafts::beside(&outbox);
        assert_eq!(drafts.all(), []);
        let draft = |text: &str| Draft { with: 2, to: "bob".into(), text: text.into() };
        drafts.keep(vec![draft("half a sen")]).unwrap();
        let mut again = Drafts::beside(&outbox);
        assert_eq!(again.all(), [draft("half a sen")]);
        again.keep(Vec::new()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(Drafts::beside(&outbox).all(), []);
    }
}
