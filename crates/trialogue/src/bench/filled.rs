//! What cost grows with: the same figures where there are many accounts and messages already, put there without a service.

use super::load::{Load, Sender};
use super::nothing::NothingServer;
use super::report::{Filled, Listing, Snapshot};
use super::{LIMIT, Measuring, sending};
use crate::failure::Failure;
use crate::supervisor::Supervisor;
use api::v1::ListAccountsRequest;
use api::v1::chat_client::ChatClient;
use chat::{Address, Millis, TokenHash};
use client::{Client, Options};
use data_encoding::BASE64URL_NOPAD;
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use store::filling::{Filler, Filling, name_of};
use store::{Check, LogRetention, Storage};
use tokio::task::{JoinSet, block_in_place};

/// Accounts that have a session, at most: those that send and those that listen.
const SESSIONS_MAX: u64 = 20_000;
/// Pairs of a sender and a recipient, drawn among all accounts: more than there are messages in a run, so that each is of another.
const PAIRS: usize = 1 << 18;
/// Callers that list accounts, each without a pause.
const LISTING: usize = 8;
/// What no account is called.
const NO_NAME: &str = "^no account is called so$";
const ROUNDS: usize = 3;
const IN_FLIGHT: [usize; 2] = [64, 256];

/// A service whose first replica was filled, and whose others have taken snapshots of it.
pub(super) struct FilledService {
    accounts: u64,
    pub(super) tokens: Vec<String>,
}

/// Fills the first replica, starts it, and lets the others take what they lack.
pub(super) async fn fill_and_start(
    measuring: &mut Measuring,
    supervisor: &mut Supervisor,
    (accounts, messages): (u64, u64),
) -> Result<FilledService, Failure> {
    measuring.progress(&format!("filling: {accounts} accounts, {messages} messages"));
    measuring.until_all_in_sync().await?;
    for index in [2, 1] {
        supervisor.kill(index).await?;
        measuring.until_only_those_below(index).await?;
        // It returns as one that has nothing.
        std::fs::remove_dir_all(supervisor.settings().replica_folder(index))?;
    }
    supervisor.kill(0).await?;
    let tokens: Vec<String> = (0..accounts.min(SESSIONS_MAX))
        .map(|_| BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>()))
        .collect();
    let filling = Filling {
        now: Millis::of(SystemTime::now()),
        accounts,
        sessions: tokens.iter().map(|token| TokenHash::of(token)).collect(),
        messages,
    };
    let database = supervisor.settings().database(0);
    let filled = fill(&database, supervisor.settings().log_entries_max, filling).await?;
    measuring.progress("start with all of that, and snapshots for the others");
    supervisor.start(0)?;
    measuring.client.ready().await?;
    let bytes = std::fs::metadata(&database)?.len();
    let began = Instant::now();
    supervisor.start(1)?;
    measuring.until_only_those_below(2).await?;
    // It takes none where the log still has all that it lacks.
    let took_one = supervisor.log_text(1).contains("has taken a snapshot");
    let snapshot = took_one.then(|| Snapshot::of(bytes, began.elapsed()));
    supervisor.start(2)?;
    measuring.until_all_in_sync().await?;
    measuring.report.filled = Some(Filled {
        accounts,
        messages,
        start_to_ready_ms: None,
        snapshot,
        log_alone_per_second: rate(filled.entries, filled.logged_in),
        tables_alone_per_second: rate(filled.entries, filled.applied_in),
        sends: Vec::new(),
        listing: None,
    });
    Ok(FilledService { accounts, tokens })
}

/// Fills a database, and can be given up at any step.
async fn fill(
    database: &Path,
    log_entries: u64,
    filling: Filling,
) -> Result<store::filling::Filled, Failure> {
    let begin = || {
        let retention = LogRetention::keep(log_entries);
        let limits = Storage::limits(log_entries, u64::MAX);
        let storage = Storage::open(database, retention.clone(), limits, Check::Whole)?;
        Filler::begin(storage, retention, filling)
    };
    let mut filler = block_in_place(begin).map_err(Failure::of)?;
    while block_in_place(|| filler.step()).map_err(Failure::of)? {
        tokio::task::yield_now().await;
    }
    block_in_place(|| filler.end()).map_err(Failure::of)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(entries: u64, took: Duration) -> f64 {
    entries as f64 / took.as_secs_f64()
}

impl FilledService {
    /// Senders and recipients that are drawn among all accounts.
    fn pairs(&self) -> Vec<Sender> {
        let draw = || rand::random_range(0..self.accounts);
        let token = || self.tokens[rand::random_range(0..self.tokens.len())].clone();
        (0..PAIRS).map(|_| Sender { token: token(), to: name_of(draw()) }).collect()
    }

    /// Messages between random pairs, with the do-nothing server in turn.
    pub(super) async fn sends(
        &self,
        measuring: &mut Measuring,
        nothing: &NothingServer,
        primary: &Address,
    ) -> Result<Load, Failure> {
        let pairs = self.pairs();
        let nothing = Load::connect(&nothing.address, pairs.clone()).await?;
        let service = Load::connect(primary, pairs).await?;
        for calls in IN_FLIGHT {
            measuring
                .progress(&format!("{calls} in flight between random pairs of {} accounts", self.accounts));
            let (rate, _) = sending::in_flight(&service, &nothing, calls, measuring.span).await?;
            if let Some(filled) = &mut measuring.report.filled {
                filled.sends.push(rate);
            }
        }
        Ok(service)
    }

    /// Callers who look for a name that no account has, page after page, beside others who send.
    pub(super) async fn listing(
        &self,
        measuring: &mut Measuring,
        load: &Load,
        primary: &Address,
    ) -> Result<(), Failure> {
        measuring
            .progress(&format!("{LISTING} callers list {} accounts by a name that none has", self.accounts));
        let began = Instant::now();
        let pages_of_one = list_all(primary, &self.tokens[0]).await?;
        let all_names_ms = began.elapsed().as_secs_f64() * 1e3;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let alone = load.rate(64, measuring.span).await?;
            let mut callers = JoinSet::new();
            for token in self.tokens.iter().cycle().take(LISTING) {
                let (primary, token) = (primary.clone(), token.clone());
                callers.spawn(async move {
                    loop {
                        list_all(&primary, &token).await?;
                    }
                });
            }
            let beside = load.rate(64, measuring.span).await;
            if let Some(ended) = callers.try_join_next() {
                let ended: Result<std::convert::Infallible, Failure> = ended.map_err(Failure::of)?;
                ended?;
            }
            callers.shutdown().await;
            rounds.push(beside? / alone);
        }
        rounds.sort_by(f64::total_cmp);
        let listing =
            Listing { callers: LISTING, pages: pages_of_one, all_names_ms, sends_kept: rounds[ROUNDS / 2] };
        if let Some(filled) = &mut measuring.report.filled {
            filled.listing = Some(listing);
        }
        Ok(())
    }
}

/// All pages of a listing that finds nothing; returns how many there were.
async fn list_all(primary: &Address, token: &str) -> Result<usize, Failure> {
    let channel = api::endpoint(primary).map_err(Failure::of)?.connect().await.map_err(Failure::of)?;
    let mut chat = ChatClient::new(channel);
    let (mut pages, mut page_token) = (0, String::new());
    loop {
        let request = ListAccountsRequest { pattern: NO_NAME.into(), page_size: 0, page_token };
        let request = api::signed(request, token).map_err(Failure::of)?;
        let page = chat.list_accounts(request).await.map_err(Failure::of)?.into_inner();
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(pages);
        }
    }
}

/// Kills all replicas, and starts them again: from then until one of them serves.
pub(super) async fn start_after_all_were_killed(
    measuring: &mut Measuring,
    supervisor: &mut Supervisor,
) -> Result<(), Failure> {
    measuring.progress("kill -9 of all replicas, and their start");
    measuring.until_all_in_sync().await?;
    for index in 0..3 {
        supervisor.signal(index, Signal::KILL)?;
    }
    for index in 0..3 {
        supervisor.kill(index).await?;
    }
    let began = Instant::now();
    for index in 0..3 {
        supervisor.start(index)?;
    }
    // One that has not seen the service before the kill.
    let client = Client::new(supervisor.settings().addresses.clone(), Options { timeout: LIMIT });
    client.ready().await?;
    if let Some(filled) = &mut measuring.report.filled {
        filled.start_to_ready_ms = Some(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
