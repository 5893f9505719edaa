//! A log against a model of it: any sequence of appends, cuts, recycling, failing calls, restarts and power failures.
//!
//! The model knows which histories a start may find: the one whose last append succeeded, and those that a call which failed
//! may have left. Whatever the disk kept, a start finds one of them, whole; and from then on it is the only one.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod disk;

use disk::{Bytes, check_chains, create, entries_after, open};
use files::ForgetfulFiles;
use proptest::prelude::*;
use protocol::{Entry, Op, Position};
use replica_log::{Log, LogError};
use std::io::ErrorKind;
use std::ops::ControlFlow;

type History = Vec<Entry<Bytes>>;

#[derive(Clone, Debug)]
enum Do {
    Append(Vec<usize>),
    Repair,
    /// Cut back by that part of what is not committed, of 255.
    Cut(u8),
    /// Commit that part of what is not committed.
    Commit(u8),
    /// Recycle up to that part of the log.
    Recycle(u8),
    PrepareSpare,
    /// The process ends and starts again.
    Restart,
    /// So does the machine.
    PowerFailure,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The call after this number of calls fails.
    Call(usize, ErrorKind),
    /// The power fails after this number of calls.
    Power(usize),
}

#[derive(Clone, Debug)]
struct Step {
    act: Do,
    fault: Option<Fault>,
    draw: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![6 => 0..300_usize, 2 => 300..5000_usize, 1 => Just(30_000)];
    let act = prop_oneof![
        12 => prop::collection::vec(length, 1..4).prop_map(Do::Append),
        2 => Just(Do::Repair),
        2 => any::<u8>().prop_map(Do::Cut),
        3 => any::<u8>().prop_map(Do::Commit),
        2 => any::<u8>().prop_map(Do::Recycle),
        2 => Just(Do::PrepareSpare),
        2 => Just(Do::Restart),
        2 => Just(Do::PowerFailure),
    ];
    let kind = prop_oneof![Just(ErrorKind::Other), Just(ErrorKind::StorageFull)];
    let fault = prop_oneof![
        5 => Just(None),
        3 => (0..8_usize, kind).prop_map(|(calls, kind)| Some(Fault::Call(calls, kind))),
        1 => (0..8_usize).prop_map(|calls| Some(Fault::Power(calls))),
    ];
    (act, fault, any::<u64>()).prop_map(|(act, fault, draw)| Step { act, fault, draw })
}

struct Model {
    disk: ForgetfulFiles,
    log: Log,
    /// From op 1 on.
    history: History,
    /// Other histories that a start may find.
    others: Vec<History>,
    committed: Position,
    /// How far the log was told to recycle.
    recycled: Op,
    closed: bool,
    groups: u8,
}

impl Model {
    fn new() -> Self {
        let disk = ForgetfulFiles::default();
        let log = create(&disk, Position::ORIGIN).unwrap();
        Self {
            disk,
            log,
            history: Vec::new(),
            others: Vec::new(),
            committed: Position::ORIGIN,
            recycled: Op(0),
            closed: false,
            groups: 0,
        }
    }

    fn end(&self) -> Position {
        self.history.last().map_or(Position::ORIGIN, Entry::position)
    }

    fn at(&self, op: Op) -> Position {
        usize::try_from(op.0)
            .unwrap()
            .checked_sub(1)
            .map_or(Position::ORIGIN, |index| self.history[index].position())
    }

    /// A place in the log, this part of the way from one op to the end.
    fn part_of(&self, from: Op, part: u8) -> Position {
        self.at(Op(from.0 + (self.end().op.0 - from.0) * u64::from(part) / 255))
    }

    fn run(&mut self, step: &Step) {
        let after_power_failure = matches!(step.act, Do::PowerFailure);
        let disk =
            if after_power_failure { self.disk.one_after_power_loss(step.draw) } else { self.disk.clone() };
        match step.fault {
            Some(Fault::Call(calls, kind)) => disk.fail_one_after(calls, kind),
            Some(Fault::Power(calls)) => disk.fail_after(calls),
            None => {}
        }
        match &step.act {
            Do::Append(lengths) => self.append(lengths, step.draw.is_multiple_of(4)),
            Do::Repair => {
                if self.log.repair().is_ok() {
                    self.settled();
                }
            }
            Do::Cut(part) => self.cut(self.part_of(self.committed.op.max(self.log.base().op), *part)),
            Do::Commit(part) => self.committed = self.part_of(self.committed.op, *part),
            Do::Recycle(part) => {
                self.recycled = self.recycled.max(self.part_of(Op(0), *part).op);
                self.log.recycle(self.recycled);
            }
            Do::PrepareSpare => drop(self.log.spares().prepare(|_| ControlFlow::Continue(()))),
            Do::Restart | Do::PowerFailure => self.start(disk),
        }
        self.disk.fail_no_more();
        if matches!(step.fault, Some(Fault::Power(_))) {
            self.start(self.disk.one_after_power_loss(step.draw));
        }
        self.check();
    }

    /// The entries may be committed as they are logged, in a replica that is alone or far behind.
    fn append(&mut self, lengths: &[usize], as_committed: bool) {
        self.groups = self.groups.wrapping_add(1);
        let entries = entries_after(self.end(), self.groups, lengths);
        let committed = if as_committed { entries[entries.len() - 1].position() } else { self.committed };
        if let Some(Some(failed)) = self.others.last().map(|other| other.last()).filter(|_| self.closed) {
            // What was given to the log behind the group that failed comes after that one's answer.
            let next = entries_after(failed.position(), self.groups, lengths);
            let refused = self.log.append(&next, self.committed);
            assert!(matches!(refused, Err(LogError::Closed { .. })), "{refused:?}");
        }
        let appended = self.log.append(&entries, committed);
        let longer: History = self.history.iter().cloned().chain(entries).collect();
        match appended {
            Ok(()) => {
                assert!(!self.closed, "a log that is closed takes nothing");
                self.history = longer;
                self.committed = committed;
                self.settled();
            }
            Err(LogError::Closed { .. }) => assert!(self.closed),
            Err(_) => {
                self.closed = true;
                self.others.push(longer);
            }
        }
    }

    fn cut(&mut self, to: Position) {
        let shorter: History = self.history[..usize::try_from(to.op.0).unwrap()].to_vec();
        match self.log.cut(to, self.committed) {
            Ok(()) => {
                self.history = shorter;
                self.settled();
            }
            Err(_) if self.log.end() == to => {
                self.closed = true;
                let longer = std::mem::replace(&mut self.history, shorter);
                self.others.push(longer);
            }
            Err(_) => {}
        }
    }

    fn settled(&mut self) {
        self.others.clear();
        self.closed = false;
    }

    /// A start that fails is followed by one that no fault disturbs.
    fn start(&mut self, disk: ForgetfulFiles) {
        let opened = open(&disk);
        disk.fail_no_more();
        let (disk, log) = if let Ok(log) = opened {
            (disk, log)
        } else {
            let disk = if disk.is_dead() { disk.one_after_power_loss(self.end().op.0) } else { disk };
            let log = open(&disk).expect("what power failures and failed calls leave is no damage");
            (disk, log)
        };
        (self.disk, self.log) = (disk, log);
        let end = self.log.end();
        let found = self
            .others
            .drain(..)
            .find(|history| history.last().map_or(Position::ORIGIN, Entry::position) == end);
        if end != self.end() {
            self.history = found.unwrap_or_else(|| panic!("a start found {end}, which no call has left"));
        }
        self.settled();
        let told = self.log.committed();
        assert!(told.op <= end.op && told == self.at(told.op), "the commit point lies in the log");
        assert!(self.committed.op <= end.op, "what is committed is there");
        self.committed = told;
    }

    fn check(&self) {
        let (base, end) = (self.log.base(), self.log.end());
        assert_eq!(end, self.end());
        assert!(base.op <= self.recycled, "nothing goes that was not to be recycled");
        let from = usize::try_from(base.op.0).unwrap();
        let piece = self.log.reader().read_after(base.op, usize::MAX).unwrap();
        check_chains(base, end, &piece.entries);
        let found = piece.entries.iter().map(|entry| (entry.position(), &entry.record));
        assert!(found.eq(self.history[from..].iter().map(|entry| (entry.position(), &entry.record.0))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_start_finds_every_group_that_was_appended_and_nothing_that_was_cut_or_repaired_away(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        // What is there at last is durable, whatever the power leaves.
        model.start(model.disk.clone());
        for disk in model.disk.after_power_loss() {
            model.start(disk);
            model.check();
        }
    }
}
