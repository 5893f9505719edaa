//! Faults: each kind a function, chosen by the weights of the run's profile.
//!
//! Whatever strikes, one thing is left alone, because no protocol survives it: the last database that holds what was
//! acknowledged. A folder is wiped, or an older copy put back, only while another replica in sync has everything.

mod kind;

pub use self::kind::{KINDS, Kind, REGISTER_KINDS};
use crate::agenda::Happening;
use crate::client::Call;
use crate::disk::Disk;
use crate::fact::{KEYS, Request};
use crate::network::index;
use crate::profile::Profile;
use crate::world::World;
use protocol::{Event, Impairment, Incarnation, Op, Position, ReplicaSet, View};

/// How long a wall clock is wrong at most, in microseconds: less than it takes until it is believed, by a monotonic clock
/// that runs a fifth fast.
const WRONG_CLOCK_MAX: u64 = 350_000;

impl World {
    /// One fault strikes, and the next is planned, unless this one came out of turn.
    pub(crate) fn strike(&mut self, once: bool) {
        if self.faults_left == 0 {
            return;
        }
        self.faults_left -= 1;
        let kind = self.draw_fault();
        let (i, j) = (self.random.index(self.nodes.len()), self.random.index(self.nodes.len()));
        self.trace.fault(self.now, &format!("fault: {kind:?} {i} {j}"));
        self.fault(kind, i, j);
        self.impair();
        if once {
            return;
        }
        let pause = self.random.within(50..self.profile.fault_pause_max.max(51));
        // Most follow closely, some after a long calm.
        let pause = if self.random.percent(10) { pause * 4 } else { pause };
        self.later(pause, Happening::Fault { once: false });
    }

    /// Something begins or ceases to impair a replica, or it hears how the others are, which may be wrong by now.
    fn impair(&mut self) {
        let replicas = self.nodes.len();
        let Some(random) = &mut self.impairments else { return };
        if random.percent(60) {
            return;
        }
        let i = random.index(replicas);
        let by = [None, Some(Impairment::DiskFull), Some(Impairment::Ending)][random.index(3)];
        let better_off = (0..replicas).filter(|peer| *peer != i && random.percent(70)).map(index).collect();
        self.trace.fault(self.now, &format!("fault: replica {i} is impaired by {by:?} beside {better_off}"));
        self.tell_impaired(i, by, better_off);
    }

    fn tell_impaired(&mut self, i: usize, by: Option<Impairment>, better_off: ReplicaSet) {
        if self.nodes[i].is_some() {
            let incarnation = self.incarnation(i);
            let event = Box::new(Event::Impaired { by, better_off });
            self.later(1, Happening::Tell { to: i, incarnation, event });
        }
    }

    fn draw_fault(&mut self) -> Kind {
        let total: u64 = self.profile.weights.iter().sum();
        if total == 0 {
            return Kind::Crash;
        }
        let mut place = self.random.below(total);
        for (kind, weight) in KINDS.iter().chain(&REGISTER_KINDS).zip(&self.profile.weights) {
            if place < *weight {
                return *kind;
            }
            place -= weight;
        }
        unreachable!("the weights add up to their sum")
    }

    fn fault(&mut self, kind: Kind, i: usize, j: usize) {
        match kind {
            Kind::Crash => self.crash_and_restart(i),
            Kind::CrashAll | Kind::PowerFailsEverywhere => {
                if kind == Kind::PowerFailsEverywhere {
                    self.lose_power();
                }
                for node in 0..self.nodes.len() {
                    self.crash(node);
                    let pause = self.micros(100, 3_000_000);
                    self.later(pause, Happening::Start { node });
                }
            }
            Kind::CrashStorm => {
                for round in 0..self.random.below(6) {
                    let pause = round * 40_000 + self.micros(100, 40_000);
                    self.later(pause, Happening::Start { node: i });
                }
                self.profile.crashes_between_effects = self.profile.crashes_between_effects.max(50);
                self.crash_and_restart(i);
            }
            Kind::Start => self.start(i),
            Kind::Pause => {
                self.pause(i);
                if self.random.percent(70) {
                    let pause = self.micros(1_000, 3_000_000);
                    self.later(pause, Happening::Resume { node: i });
                }
            }
            Kind::Resume => self.resume(i),
            Kind::Cut => {
                self.cut(i, j);
                self.cut(j, i);
            }
            Kind::Deafen => self.cut(j, i),
            Kind::Isolate => {
                for peer in 0..self.nodes.len() {
                    self.cut(i, peer);
                    self.cut(peer, i);
                }
            }
            Kind::Break => self.break_stream(i, j),
            Kind::Heal => self.heal(),
            Kind::Register => self.register.isolated[i] = !self.register.isolated[i],
            Kind::Full => self.health[i].full = !self.health[i].full,
            Kind::Stuck => self.health[i].stuck = !self.health[i].stuck,
            Kind::SyncsFail => self.health[i].syncs_fail = !self.health[i].syncs_fail,
            Kind::PowerFails => {
                self.crash_and_restart(i);
                self.disk_loses_power(i);
            }
            Kind::Differ => {
                if self.another_holds(i) {
                    self.disks[i].differs = Some(self.random.index(KEYS) as u8);
                }
            }
            Kind::Remove => {
                if self.nodes[i].is_some() && !self.health[i].removed && self.another_holds(i) {
                    self.health[i].removed = true;
                    let (incarnation, delay) = (self.incarnation(i), self.micros(100, 100_000));
                    let event = Box::new(Event::FilesLost);
                    self.later(delay, Happening::Tell { to: i, incarnation, event });
                }
            }
            Kind::Wipe => self.wipe_if_harmless(i),
            Kind::Backup => {
                if self.nodes[i].is_none() {
                    let mut copy = self.disks[i].clone();
                    copy.read_back();
                    copy.rows.rewrite();
                    self.backups[i] = Some(copy);
                }
            }
            Kind::Restore => self.restore_if_harmless(i),
            Kind::PowerFailure => self.power_failure(i),
            Kind::Fork => self.fork_if_harmless(i),
            Kind::RemakeFolder => {
                let (copied, tried) = (self.random.percent(50), self.random.percent(50));
                self.remake_folder(i, copied, tried);
            }
            Kind::RegisterEmptied => self.empty_register(),
            Kind::RegisterCopied => self.copy_register(),
            Kind::RegisterPutBack => self.put_register_back(),
            Kind::RegisterShortened => {
                let views = self.random.index(3) + 1;
                self.shorten_register(views);
            }
            Kind::RegisterDamaged => self.damage_register(),
            Kind::Recover => self.look_after_the_register(),
            Kind::WrongClock => self.wrong_clocks(i..i + 1),
            Kind::WrongClocks => self.wrong_clocks(0..self.nodes.len()),
        }
    }

    /// The power fails. Of those that hold everything, whatever view comes, one keeps it all; where there is none, all do.
    fn power_failure(&mut self, first: usize) {
        let views = self.views_to_come();
        let holds_all = |world: &Self, i: usize| {
            let disk = &world.disks[i];
            !world.lied[i]
                && !world.health[i].removed
                && !views.is_empty()
                && views.iter().all(|view| view.holds(index(i), disk.database, disk.position()))
        };
        let replicas = self.nodes.len();
        let unaltered = (0..replicas).map(|i| (first + i) % replicas).find(|i| holds_all(self, *i));
        self.lose_power();
        for i in 0..replicas {
            // With a register that people have meddled with, it is unknown what a disk that has lost something costs.
            if !self.register_may_be_altered() && unaltered.is_some_and(|unaltered| unaltered != i) {
                match self.random.below(6) {
                    0 => self.wipe(i),
                    1 | 2 if self.disks[i].pruned == Position::ORIGIN => {
                        let entries = self.random.index(3) + 1;
                        self.lose(i, entries);
                        self.replaced[i] = true;
                    }
                    _ => {}
                }
            }
            let pause = self.micros(100, 3_000_000);
            self.later(pause, Happening::Start { node: i });
        }
    }

    /// All processes end at once, and the machine is started again.
    pub fn lose_power(&mut self) {
        self.boot += 1;
        for i in 0..self.nodes.len() {
            self.crash(i);
            self.disk_loses_power(i);
        }
    }

    /// A disk keeps what was synced, and of the rest what it likes.
    pub fn disk_loses_power(&mut self, i: usize) {
        let (keeps_unseen, more) =
            if self.profile.jitter { (self.random.percent(30), self.random.index(8)) } else { (false, 0) };
        self.disks[i].lose_power(keeps_unseen, more);
    }

    /// A copy of it, or a new one, takes the place of a replica's folder; a process that lives goes on holding the lock
    /// file of the old one. Another process may have tried to start in the new folder, and have ended.
    pub fn remake_folder(&mut self, i: usize, copied: bool, tried: bool) {
        self.files += 1;
        self.locks[i].replace(self.files, copied);
        if tried {
            self.starts += 1;
            self.locks[i].take(Incarnation(self.starts));
        }
    }

    /// Some wall clocks jump, and back after a moment.
    fn wrong_clocks(&mut self, which: std::ops::Range<usize>) {
        const DAY: i64 = 86_400_000;
        let by = self.random.pick(&[-40 * DAY, -DAY, -6_000, -1_000, 1_000, 6_000, DAY, 40 * DAY]);
        let pause = self.micros(1_000, WRONG_CLOCK_MAX);
        for node in which {
            // Twice the same in a row would be as if it had been wrong all the time.
            if self.wrong_by[node] != 0 || self.last_wrong_by[node] == by {
                continue;
            }
            self.last_wrong_by[node] = by;
            self.set_clock_wrong(node, by);
            self.later(pause, Happening::RightClock { node });
            self.retry_something_old(node, pause);
        }
    }

    /// A copy of a request that was acknowledged at some time, and that no client waits for, reaches a replica within the
    /// given time in microseconds.
    fn retry_something_old(&mut self, node: usize, within: u64) {
        let Position { op, chain } = self.ledger.acknowledged;
        let Some(disk) = self.disks.iter().find(|disk| disk.chain_at(op) == Some(chain)) else { return };
        let acknowledged = disk.log.iter().filter(|entry| entry.op <= op);
        let requests: Vec<Request> = acknowledged.filter_map(|entry| entry.record.request()).collect();
        if requests.is_empty() || !self.random.percent(self.profile.late_retries) {
            return;
        }
        let request = self.random.pick(&requests);
        let delay = self.micros(0, within);
        let call = Call::Write { request, min_copies: 0 };
        self.later(delay, Happening::Arrive { node, client: 0, attempt: 0, call });
    }

    /// Ends a process; at times its supervisor starts it again.
    pub(crate) fn crash_and_restart(&mut self, i: usize) {
        self.crash(i);
        if self.random.percent(self.profile.restarts) {
            let pause = self.micros(100, 1_500_000);
            self.later(pause, Happening::Start { node: i });
        }
    }

    /// Ends a process and empties its folder.
    pub fn wipe(&mut self, i: usize) {
        self.crash(i);
        let database = self.new_database();
        self.disks[i] = Disk { database, ..Disk::new(0) };
        self.replaced[i] = true;
    }

    /// The process that had removed files open has ended, and they went with it; unless an operator put them back in time,
    /// because they are the last that hold everything.
    pub(crate) fn leave_lost_files(&mut self, i: usize) {
        if std::mem::take(&mut self.health[i].removed) && self.another_holds(i) {
            let database = self.new_database();
            self.disks[i] = Disk { database, ..Disk::new(0) };
            self.replaced[i] = true;
        }
    }

    fn wipe_if_harmless(&mut self, i: usize) {
        if self.another_holds(i) {
            self.wipe(i);
        }
    }

    /// Puts an older copy back. One that reaches to the newest view's op could not be told from the database that was
    /// in sync; that is the operator's to know (docs/protocol.md), and left alone here.
    fn restore_if_harmless(&mut self, i: usize) {
        let Some(backup) = self.backups[i].clone() else { return };
        let taken_for_in_sync =
            self.views_to_come().iter().any(|view| view.holds(index(i), backup.database, backup.position()));
        if self.another_holds(i) && !taken_for_in_sync {
            self.crash(i);
            self.disks[i] = backup;
            self.replaced[i] = true;
        }
    }

    /// Left alone where it would be chosen beside a register that has lost its newest views.
    fn fork_if_harmless(&mut self, i: usize) {
        let disk = &self.disks[i];
        let possible = disk.pruned == Position::ORIGIN
            && !disk.log.is_empty()
            && disk.position().op <= self.ledger.promised().op
            && !self.register_may_be_altered();
        if possible && self.another_holds(i) {
            self.crash(i);
            let entries = self.random.index(3) + 1;
            self.disks[i].fork(entries);
            self.disks[i].database = self.new_database();
            self.replaced[i] = true;
        }
    }

    /// Whether by every view that is or may yet be installed, another replica holds everything; and where the register may be
    /// altered later, remembers the newest of them: else no database would know of it once both are lost.
    fn another_holds(&self, i: usize) -> bool {
        self.another_holds_up_to(i, Op(0))
    }

    fn another_holds_up_to(&self, i: usize, end: Op) -> bool {
        // What the register says is not what is so: it is unknown whether the fault is harmless.
        if self.register.altered {
            return false;
        }
        let views = self.views_to_come();
        let newest = self.register.newest().map(|view| view.number);
        !views.is_empty()
            && views.iter().all(|view| {
                view.in_sync.without(index(i)).iter().any(|other| {
                    let disk = &self.disks[usize::from(other.0)];
                    let remembers = disk.memory.durable().as_ref().map(|memory| memory.view.number) >= newest;
                    (remembers || !self.register_may_be_altered())
                        && !self.lied[usize::from(other.0)]
                        && view.holds(other, disk.database, disk.position())
                        && disk.position().op >= end
                        && !self.health[usize::from(other.0)].removed
                })
            })
    }

    /// Whether another holds everything, and has a log that is no shorter: after a power failure those that have less wait for the
    /// one that has more.
    pub(crate) fn another_holds_as_much(&self, i: usize) -> bool {
        self.another_holds_up_to(i, self.disks[i].position().op)
    }

    fn register_may_be_altered(&self) -> bool {
        self.profile.weights.iter().skip(KINDS.len()).any(|weight| *weight > 0)
    }

    /// The newest view, and every view whose swap is under way.
    pub(crate) fn views_to_come(&self) -> Vec<View> {
        let under_way = self.planned().filter_map(|happening| match happening {
            Happening::Swap { view, .. } => Some(view.clone()),
            _ => None,
        });
        let newest = self.register.newest();
        let newest_number = newest.map_or(0, |view| view.number.0);
        under_way.filter(|view| view.number.0 > newest_number).chain(newest.cloned()).collect()
    }

    /// Every fault ends: everyone lives, every disk works, every stream can be opened.
    pub(crate) fn calm_down(&mut self) {
        self.faults_left = 0;
        let Profile { log_entries_max, clients, min_in_sync, remembering, .. } = self.profile;
        let calm =
            Profile { log_entries_max, clients, min_in_sync, remembering, ..Profile::calm(self.nodes.len()) };
        self.profile = Profile { jitter: true, ..calm };
        self.heal();
        self.look_after_the_register();
        for i in 0..self.nodes.len() {
            self.set_clock_wrong(i, 0);
            self.health[i] = crate::storage::Health::default();
            self.register.isolated[i] = false;
            self.resume(i);
            self.start(i);
            if self.impairments.is_some() {
                self.tell_impaired(i, None, ReplicaSet::EMPTY);
            }
        }
    }
}
