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
/// After a piece that could not be looked at.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The database that is looked at.
pub(crate) struct Inspected {
    pub(crate) readers: Arc<Readers>,
    pub(crate) log: Arc<SharedLog>,
    pub(crate) database: PathBuf,
    pub(crate) me: ReplicaIndex,
}

impl Inspected {
    /// Looks at what is left. Where it is damaged, the next start looks at all of it, and moves it aside; this process ends once
    /// another replica is in sync, and until then goes on with what there is.
    pub(crate) async fn look_at_the_rest(
        self,
        left: Option<Inspection>,
        mut published: watch::Receiver<Published>,
        to_driver: mpsc::Sender<Incoming>,
    ) {
        let Some(mut left) = left else { return };
        let began = Instant::now();
        let damage = loop {
            let began = Instant::now();
            let (readers, log) = (self.readers.clone(), self.log.reader());
            let looked;
            (left, looked) = blocking(move || {
                let more = readers.read(|reader| left.next(reader, &log));
                (left, more)
            })
            .await;
            match looked {
                Ok(true) => sleep(began.elapsed() * REST).await,
                Ok(false) => break None,
                Err(error @ StoreError::Corrupt { .. }) => break Some(error),
                Err(error) => {
                    warn!(%error, "the database could not be looked at; it will be tried again");
                    sleep(AGAIN_AFTER).await;
                }
            }
        };
        let Some(damage) = damage else {
            info!(took = ?began.elapsed(), "the whole database was looked at, and is sound");
            return;
        };
        error!(%damage, "the next start looks at all of the database");
        let database = self.database.clone();
        if let Err(error) = blocking(move || suspect_damage(&database)).await {
            warn!(%error, "it can't be noted that the database is damaged");
        }
        // The driver has ended, and so does the process.
        if published.wait_for(|published| another_has_all(&published.status, self.me)).await.is_ok() {
            let _ = to_driver.send(Incoming::Store(StoreAnswer::Lost { error: damage })).await;
        }
    }
}

/// Whether nothing is lost with this replica's database.
fn another_has_all(status: &Status, me: ReplicaIndex) -> bool {
    status.view.as_ref().is_some_and(|view| !view.in_sync.without(me).is_empty())
}
