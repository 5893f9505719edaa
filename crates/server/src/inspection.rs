//! Looking at the rest of a large database while it is used: a start that follows the end of a process looks at its ends only.

use crate::blocking::blocking;
use crate::incoming::{Incoming, StoreAnswer};
use crate::published::Published;
use crate::storage::SharedLog;
use protocol::{ReplicaIndex, Status};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Inspection, Readers, StoreError, suspect_damage};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{error, info, warn};

/// The rest after a piece, as a multiple of what it took: a tenth of one core is used.
const REST: u32 = 9;
/// After a piece that could not be looked at, or a mark that could not be made.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// A piece that can't be read in this many attempts is damaged: a disk's bad sector is an error of reading.
const ATTEMPTS_MAX: u32 = 6;

/// The database that is looked at.
pub(crate) struct Inspected {
    pub(crate) readers: Arc<Readers>,
    pub(crate) log: Arc<SharedLog>,
    pub(crate) database: PathBuf,
    pub(crate) me: ReplicaIndex,
}

impl Inspected {
    /// Looks at what is left. A database that is damaged is marked for the next start, which moves it aside. Once another replica is
    /// in sync, this one no longer counts as a copy, and ends; until then it goes on with what there is.
    pub(crate) async fn look_at_the_rest(
        self,
        left: Option<Inspection>,
        mut published: watch::Receiver<Published>,
        to_driver: mpsc::Sender<Incoming>,
    ) {
        let Some(left) = left else { return };
        info!("looks at the rest of the database while it serves");
        let began = Instant::now();
        let Some(damage) = self.find_damage(left).await else {
            info!(took = ?began.elapsed(), "every row and entry of the database was read");
            return;
        };
        error!(%damage, "the next start moves the database aside");
        loop {
            let (database, what) = (self.database.clone(), damage.to_string());
            match blocking(move || suspect_damage(&database, &what)).await {
                Ok(()) => break,
                Err(error) => warn!(%error, "it can't be noted that the database is damaged"),
            }
            sleep(AGAIN_AFTER).await;
        }
        // An error of either means that the driver has ended, and so does the process.
        if published.wait_for(|published| another_has_all(&published.status, self.me)).await.is_ok() {
            let _ = to_driver.send(Incoming::Store(StoreAnswer::FilesLost { error: damage })).await;
        }
    }

    /// Looks at one piece after another, and says what is damaged, if anything is.
    async fn find_damage(&self, mut left: Inspection) -> Option<StoreError> {
        let mut attempts = 0;
        loop {
            let began = Instant::now();
            let (readers, log) = (self.readers.clone(), self.log.reader());
            let looked;
            (left, looked) = blocking(move || {
                let more = readers.read(|reader| left.next(reader, &log));
                (left, more)
            })
            .await;
            match looked {
                Ok(true) => {
                    attempts = 0;
                    sleep(began.elapsed() * REST).await;
                }
                Ok(false) => return None,
                Err(error @ StoreError::Corrupt { .. }) => return Some(error),
                Err(error) => {
                    attempts += 1;
                    if attempts == ATTEMPTS_MAX {
                        return Some(error);
                    }
                    warn!(%error, "the database could not be looked at; it will be tried again");
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }
}

/// Whether nothing is lost with this replica's database.
fn another_has_all(status: &Status, me: ReplicaIndex) -> bool {
    status.view.as_ref().is_some_and(|view| !view.in_sync.without(me).is_empty())
}
