//! Segments that are made before they are needed, and those that are used again.

use crate::error::LogError;
use core::ops::ControlFlow;
use files::{Files, OpenFile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many are kept.
const SPARES_MAX: usize = 2;
/// As many zeros are written and synced at a time where a spare segment is made, in bytes: a sync of the log beside it waits for no
/// more than these.
const PIECE: u64 = 512 << 10;
/// They are written in pages: the system keeps what was written at once as one piece of memory, and counts all of it as changed
/// whenever a part of it is.
const PAGE: usize = 4096;
const SPARE: &str = "spare-";
const DRAFT: &str = "draft-";

pub(crate) fn is_spare(name: &str) -> bool {
    name.starts_with(SPARE)
}

pub(crate) fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT)
}

/// The spare segments of a log: any thread may prepare one while the log is written.
#[derive(Clone, Debug)]
pub struct Spares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Arc<dyn Files>,
    folder: PathBuf,
    /// The length of each.
    bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    paths: Vec<PathBuf>,
    /// How many names were given: each is given once.
    names: u64,
    /// One is being made.
    making: bool,
}

/// A file of a segment's length that has no name as a segment yet, and whatever content.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn OpenFile>,
}

impl Spares {
    /// `bytes` is the length of each.
    pub(crate) fn new(files: Arc<dyn Files>, folder: &Path, bytes: u64) -> Self {
        Self(Arc::new(Inner { files, folder: folder.to_owned(), bytes, kept: Mutex::default() }))
    }

    /// Makes a spare segment if there is none, which takes as long as it takes to write its zeros and to sync them, a piece at a time;
    /// otherwise it returns at once. `pause` is told after each piece how long that took: it may leave the disk to others for a while,
    /// and says whether to go on. To be called now and then, on a thread that has the time: an append that finds none makes one
    /// itself.
    pub fn prepare(&self, pause: impl Fn(Duration) -> ControlFlow<()>) -> Result<(), LogError> {
        {
            let mut kept = self.lock();
            if kept.making || !kept.paths.is_empty() {
                return Ok(());
            }
            kept.making = true;
        }
        let made = self.make_spare(pause);
        let mut kept = self.lock();
        kept.making = false;
        kept.paths.extend(made?);
        Ok(())
    }

    /// `None` if it was given up.
    fn make_spare(&self, pause: impl Fn(Duration) -> ControlFlow<()>) -> Result<Option<PathBuf>, LogError> {
        let Inner { files, bytes, .. } = &*self.0;
        let mut began = Instant::now();
        let draft = self.make(PIECE.min(*bytes))?;
        let path = self.name(SPARE);
        let mut fill = || {
            let mut length = PIECE.min(*bytes);
            loop {
                draft.file.sync()?;
                if length == *bytes {
                    return files.rename(&draft.path, &path).map(|()| true);
                }
                if pause(began.elapsed()).is_break() {
                    return Ok(false);
                }
                began = Instant::now();
                let piece = (length + PIECE).min(*bytes);
                while length < piece {
                    let page = usize::try_from(piece - length).map_or(PAGE, |left| left.min(PAGE));
                    draft.file.write_at(&[0; PAGE][..page], length)?;
                    length += page as u64;
                }
            }
        };
        let filled = fill().map_err(LogError::file(&draft.path));
        if !matches!(filled, Ok(true)) {
            self.discard(&draft.path);
        }
        Ok(filled?.then_some(path))
    }

    /// A file of this length: a spare one, or one that is made now.
    pub(crate) fn blank(&self, bytes: u64) -> Result<Blank, LogError> {
        let spare = if bytes == self.0.bytes { self.lock().paths.pop() } else { None };
        if let Some(path) = spare {
            // One that can't be opened, or that a power failure has left shorter, is as good as none.
            if let Some(file) = self.0.files.open(&path).ok().filter(|file| file.length().ok() == Some(bytes))
            {
                return Ok(Blank { path, file });
            }
            self.discard(&path);
        }
        self.make(bytes)
    }

    fn make(&self, bytes: u64) -> Result<Blank, LogError> {
        let path = self.name(DRAFT);
        let made = self.0.files.create(&path, bytes).map_err(LogError::file(&path));
        Ok(Blank { file: made.inspect_err(|_| self.discard(&path))?, path })
    }

    /// Removes a file that is of no use. That can wait: the next start looks for it again.
    pub(crate) fn discard(&self, path: &Path) {
        if let Err(error) = self.0.files.remove(path) {
            tracing::warn!("{}: {error}; it is removed at the next start", path.display());
        }
    }

    /// Takes over the files of segments that are no longer part of the log, as far as there is use for them, and removes the
    /// others. Each comes with whether it has the length of a spare.
    pub(crate) fn retire(&self, segments: Vec<(PathBuf, bool)>) {
        let files = &self.0.files;
        let mut renamed = Vec::new();
        for (path, fits) in segments {
            let kept = self.lock().paths.len() + renamed.len();
            let spare = self.name(SPARE);
            if !fits || kept >= SPARES_MAX {
                self.discard(&path);
                continue;
            }
            match files.rename(&path, &spare) {
                Ok(()) => renamed.push(spare),
                Err(error) => {
                    tracing::warn!("{}: {error}; it is removed at the next start", path.display());
                }
            }
        }
        self.take_over(renamed);
    }

    /// Takes over spare segments that were found in the folder, after their names were made certain: as long as a power
    /// failure may give a file its name as a segment back, nothing may be written into it.
    pub(crate) fn take_over(&self, spares: Vec<PathBuf>) {
        let Inner { files, folder, .. } = &*self.0;
        if spares.is_empty() {
            return;
        }
        match files.sync_folder(folder) {
            Ok(()) => {
                let mut kept = self.lock();
                kept.paths.extend(spares);
                let more = kept.paths.len().min(SPARES_MAX);
                let more = kept.paths.split_off(more);
                drop(kept);
                for path in &more {
                    self.discard(path);
                }
            }
            Err(error) => tracing::warn!("{}: {error}; its spare segments are not used", folder.display()),
        }
    }

    fn name(&self, kind: &str) -> PathBuf {
        let mut kept = self.lock();
        loop {
            kept.names += 1;
            let path = self.0.folder.join(format!("{kind}{}", kept.names));
            // A name may be left from an earlier run.
            if !self.0.files.exists(&path) {
                return path;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
