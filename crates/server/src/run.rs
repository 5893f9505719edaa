//! One replica, from its start to its end.

use crate::before_log::remove_when_all_in_sync;
use crate::blocking::blocking;
use crate::challenges::Challenges;
use crate::clock;
use crate::config::Settings;
use crate::data_folder::check_data_folder;
use crate::delivery::Delivery;
use crate::doorkeeper::Doorkeeper;
use crate::driver::{Driver, State};
use crate::gateway::Gateway;
use crate::handshake::Credentials;
use crate::impairments::{Envelope, Impairments};
use crate::incoming::Incoming;
use crate::inspection::Inspected;
use crate::key::ClusterKey;
use crate::lock::FolderLock;
use crate::peers::Peers;
use crate::power::{self, BootRecord, Ended};
use crate::published::Published;
use crate::register::{FileRegister, RegisterError, ViewRegister};
use crate::replica_service::ReplicaService;
use crate::room::disk_bytes;
use crate::run_error::RunError;
use crate::serve::serve;
use crate::service::{Attempts, Digests, Looks, Passwords, Service, WAITING_MAX, beats_while_leased};
use crate::snapshot_transfer::{SnapshotSource, remove_left_overs};
use crate::storage::{self, Place, Threads};
use crate::timeline::SignsOfLife;
use crate::web::Web;
use crate::{LOCK_FILE, timeline};
use chat::Address;
use files::RealFiles;
use protocol::{Bounds, Identity, Incarnation, Op, Replica, ReplicaIndex, ReplicaSet, Timing, ViewNumber};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Check, LogRetention, Readers, Storage};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tracing::{info, warn};

/// Events that wait for the driver; those who bring more wait.
const INCOMING_MAX: usize = 4096;
/// How long it may take until another leads when this replica is to end.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
/// How long the store may take to finish what it does when the replica ends.
const STORE_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// The share of a disk that batches in flight may have.
const SHARE_IN_FLIGHT: u64 = 64;

/// Why a replica is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It alone: it hands over first, if it leads and another can.
    Alone,
    /// All of them, or the process that watches over it is gone: who is in sync stays as it is.
    WithTheOthers,
}

/// Runs one replica until `shutdown` is ready or it can't go on.
pub async fn run(
    settings: Settings,
    index: usize,
    shutdown: impl Future<Output = Ending>,
) -> Result<(), RunError> {
    let replicas = settings.addresses.len();
    let me = which(&settings, index)?;
    let settings = Arc::new(settings);
    check_data_folder(&settings.data)?;
    let folder = settings.replica_folder(index);
    let lock = FolderLock::acquire(&folder, LOCK_FILE)?;
    let incarnation = Incarnation(rand::random());
    let lock_record = lock.enter(incarnation)?;
    tidy(&folder);
    let key = ClusterKey::read(&settings.key_file())?;
    let (register, known_view) = open_register(&settings, me, incarnation)?;
    let (boot, ended) = open_boot_record(&settings, &folder)?;
    let check = if ended == Ended::Alone { Check::Ends } else { Check::Whole };
    let (mut stored, place) = open_storage(&settings, index, &folder, check)?;
    let inspection = stored.inspection.take();
    let address = settings.addresses[index].clone();
    let listener = listen_on(&address).await?;

    let (database, readers, retention) = (place.path.clone(), place.readers.clone(), place.retention.clone());
    let (answers, incoming) = mpsc::channel(INCOMING_MAX);
    let after_power_failure = begin_boot_record(&boot, ended, &stored, &folder)?;
    let identity = identity_of(me, replicas, incarnation, &stored, after_power_failure)?;
    info!(%address, position = %identity.logged, "starts");
    let applied = identity.applied.op;
    let (lanes, storing) = storage::start(stored, place, &answers).map_err(RunError::StoreThread)?;
    let (log, meeting) = (lanes.shared_log(), lanes.meeting());
    let bounds = bounds_on(disk_bytes(&folder));
    let core = Replica::new(identity, Timing::DEFAULT, bounds, clock::now());
    let status = core.status(clock::now());
    let (published, seen) = watch::channel(Published { status, fault: None, disk_full: false, halted: None });
    let gateway = Arc::new(Gateway::new(answers.clone(), seen.clone(), me, &settings.addresses, bounds));
    let delivery = Arc::new(Delivery::new(settings.shares.streams_per_account));
    let snapshots = SnapshotSource { me, key: key.clone(), readers: readers.clone(), retention, folder };
    let signs = Arc::new(SignsOfLife::default());
    let envelope = Envelope::default();
    let credentials = Credentials { me, replicas, key: key.clone() };
    let peers = Peers::new(credentials, answers.clone(), signs.clone(), envelope.clone());
    let to_driver = answers.clone();

    let driver = Driver {
        core,
        settings: settings.clone(),
        index: me,
        incoming,
        answers,
        storage: lanes,
        register,
        snapshots: snapshots.clone(),
        lock: lock_record,
        boot: boot.clone(),
        gateway: gateway.clone(),
        delivery: delivery.clone(),
        published,
        impairments: Impairments::new(envelope),
        state: State::new(applied),
    };
    let mut driver = tokio::spawn(driver.run());
    dial_lower(&peers, me, &settings);

    let all = ReplicaSet::first(u8::try_from(replicas).unwrap_or(u8::MAX));
    tokio::spawn(remove_when_all_in_sync(database.clone(), all, known_view, seen.clone()));
    let inspected = Inspected { readers: readers.clone(), log: log.clone(), database, me };
    tokio::spawn(inspected.look_at_the_rest(inspection, seen.clone(), to_driver.clone()));
    let (views, views_seen) = watch::channel(Vec::new());
    tokio::spawn(timeline::follow(me, seen.clone(), signs, views));
    let beats = beats_while_leased(gateway.clone());
    let challenges = Challenges::new();
    let service = Service {
        index: me.0,
        settings,
        key: key.clone(),
        gateway,
        delivery,
        readers,
        log,
        meeting,
        passwords: Passwords::new(),
        attempts: Attempts::default(),
        looks: Looks::new(),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        digests: Digests::new(challenges.clone()),
        views: views_seen,
        beats,
    };
    let shares = service.settings.shares;
    let pages = Web::of(service.clone()).router();
    let replica = ReplicaService { me, key, peers, snapshots, challenges };
    let doorkeeper = Doorkeeper::new(to_driver.clone());
    let serving = serve(listener, pages, service, replica, seen, shares, doorkeeper);
    let to_end = async { hand_over(&to_driver, shutdown.await).await };
    tokio::select! {
        () = to_end => {
            driver.abort();
            end_cleanly(driver, storing, boot).await;
            info!("ends");
            Ok(())
        }
        ended = serving => ended.map_err(RunError::Serving),
        ended = &mut driver => Err(why_it_ended(ended)),
    }
}

/// A driver never ends because all is done.
fn why_it_ended(ended: Result<Result<(), RunError>, JoinError>) -> RunError {
    match ended {
        Ok(Ok(())) => RunError::DriverEnded,
        Ok(Err(error)) => error,
        Err(error) => RunError::Broken(error),
    }
}

/// Which replica of those that are configured this is.
fn which(settings: &Settings, index: usize) -> Result<ReplicaIndex, RunError> {
    let replicas = settings.addresses.len();
    let me = u8::try_from(index).ok().filter(|_| index < replicas).map(ReplicaIndex);
    me.ok_or(RunError::NoSuchReplica { index, replicas })
}

/// On a small disk less is in flight: what was decided while there was room must fit into what is kept free, in the log and in the
/// tables.
fn bounds_on(disk_bytes: u64) -> Bounds {
    let share = usize::try_from(disk_bytes / SHARE_IN_FLIGHT).unwrap_or(usize::MAX);
    // With a bound of nothing no batch would ever begin.
    Bounds { bytes_in_flight: share.clamp(1, Bounds::DEFAULT.bytes_in_flight), ..Bounds::DEFAULT }
}

/// Opens the database and its log.
fn open_storage(
    settings: &Settings,
    index: usize,
    folder: &Path,
    check: Check,
) -> Result<(Storage, Place), RunError> {
    let path = settings.database(index);
    let retention = LogRetention::keep(settings.log_entries_max);
    let limits = Storage::limits(settings.log_entries_max, disk_bytes(folder));
    let stored = Storage::open(&path, retention.clone(), limits, check)?;
    let (readers, reserve) = (Arc::new(Readers::new(&path)), settings.disk_reserve);
    readers.make_ready();
    Ok((stored, Place { path, folder: folder.to_owned(), reserve, retention, limits, readers }))
}

fn identity_of(
    me: ReplicaIndex,
    replicas: usize,
    incarnation: Incarnation,
    stored: &Storage,
    after_power_failure: bool,
) -> Result<Identity, RunError> {
    let state = stored.writer.state();
    Ok(Identity {
        index: me,
        all: ReplicaSet::first(u8::try_from(replicas).unwrap_or(u8::MAX)),
        incarnation,
        database: state.database,
        logged: stored.log.end(),
        committed: stored.committed(),
        applied: state.applied,
        after_power_failure,
        remembered: stored.writer.memory()?,
    })
}

async fn listen_on(address: &Address) -> Result<TcpListener, RunError> {
    let bound = TcpListener::bind(address.to_string()).await;
    bound.map_err(|source| RunError::Listen { address: address.clone(), source })
}

/// Opens the view register, and tells the number of the view that it holds; one of a version before this one is given its identity.
fn open_register(
    settings: &Settings,
    me: ReplicaIndex,
    incarnation: Incarnation,
) -> Result<(Arc<dyn ViewRegister>, ViewNumber), RunError> {
    let register = FileRegister::open(&settings.register_folder())?;
    if let Err(error) = register.give_identity(me, incarnation) {
        // What is wrong with it is said again with each attempt to read it.
        warn!(%error, "the view register could not be looked at");
    }
    let known = match register.read_now() {
        Err(error @ RegisterError::Newer { .. }) => return Err(error.into()),
        Ok(found) => found.map_or(ViewNumber(0), |(_, view)| view.number),
        // Any view may have been there.
        Err(_) => ViewNumber(u64::MAX),
    };
    Ok((Arc::new(register), known))
}

/// Of two replicas the one with the higher index calls the other.
fn dial_lower(peers: &Peers, me: ReplicaIndex, settings: &Settings) {
    for lower in 0..me.0 {
        let address = settings.addresses[usize::from(lower)].clone();
        tokio::spawn(peers.clone().dial(ReplicaIndex(lower), address));
    }
}

fn tidy(folder: &Path) {
    if let Err(error) = remove_left_overs(folder) {
        // It only costs room.
        warn!(%error, "copies for snapshots are left over in {}", folder.display());
    }
}

/// How the last process ended, and where it is written down how this one does.
fn open_boot_record(settings: &Settings, folder: &Path) -> Result<(Arc<BootRecord>, Ended), RunError> {
    let boot = power::boot_id(&settings.boot_id_file);
    let (record, ended) = BootRecord::open(Arc::new(RealFiles), folder, boot.as_deref())
        .map_err(|source| RunError::BootRecord { folder: folder.to_owned(), source })?;
    Ok((Arc::new(record), ended))
}

/// Whether the power has failed since the database was last known to be whole. If not, it is whole in this boot too.
fn begin_boot_record(
    record: &BootRecord,
    ended: Ended,
    stored: &Storage,
    folder: &Path,
) -> Result<bool, RunError> {
    let failed = ended.is_power_failure(stored.log.end().op > Op(0));
    if failed {
        info!("the machine was started again without a clean end of this replica");
    } else {
        let whole = record.database_is_whole();
        whole.map_err(|source| RunError::BootRecord { folder: folder.to_owned(), source })?;
    }
    Ok(failed)
}

/// Lets another take the lead, if this replica alone is to end, has the lead, and another can take it: what is under way is
/// answered, and clients wait for no lease.
async fn hand_over(driver: &mpsc::Sender<Incoming>, ending: Ending) {
    if ending == Ending::WithTheOthers {
        return;
    }
    let (handed_over, done) = oneshot::channel();
    let asked = async {
        if driver.send(Incoming::Ends { handed_over }).await.is_ok() {
            // The driver drops its end when nothing is left to be handed over.
            let _ = done.await;
        }
    };
    if timeout(HAND_OVER_WITHIN, asked).await.is_err() {
        warn!("the lead could not be handed over in time; another takes it when this process has ended");
    }
}

/// Lets the store finish what it does, and writes down that nothing is written any more.
async fn end_cleanly(driver: JoinHandle<Result<(), RunError>>, storing: Threads, boot: Arc<BootRecord>) {
    // With the driver its end of the store's queue is gone, whether it was aborted or had ended before.
    let _ = driver.await;
    let end = blocking(move || storing.join().then(|| boot.ends_cleanly()));
    match timeout(STORE_ENDS_WITHIN, end).await {
        Ok(Some(Ok(()))) => {}
        Ok(Some(Err(error))) => warn!(%error, "the clean end could not be written down"),
        Ok(None) => warn!("a thread of the storage has panicked; this is no clean end"),
        Err(_) => warn!("the store is stuck; this is no clean end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_small_disk_less_is_in_flight() {
        let in_flight = |disk_bytes| bounds_on(disk_bytes).bytes_in_flight;
        assert_eq!(in_flight(64 << 20), 1 << 20, "a 64th of the disk");
        assert_eq!(in_flight(1 << 40), Bounds::DEFAULT.bytes_in_flight);
        assert_eq!(in_flight(0), 1, "one batch may exceed it: so something is always in flight");
    }
}
