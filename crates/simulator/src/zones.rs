//! Linearizability of registers whose every value is written once (Gibbons and Korach: Testing shared memories, SIAM
//! Journal on Computing 26(4), 1997, §5).
//!
//! The write of a value and the reads that returned it form a cluster. A cluster's zone spans from the earliest end of
//! its operations to the latest beginning. Where the earliest end comes first, the value must have been in the register
//! for all of the zone (a forward zone); otherwise the cluster fits into any single moment of its zone (a backward zone).
//! A history is linearizable if no read ends before its write begins, no two forward zones overlap, and no backward zone
//! lies within a forward zone.

use std::collections::BTreeMap;
use std::fmt;

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Wrote this value.
    Write(u32),
    /// Read this value; `None` is what the register held at first.
    Read(Option<u32>),
}

/// An operation on a register, with the moments between which it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What it did.
    pub what: What,
    /// When it began.
    pub begun: u64,
    /// When it ended; `None` if it is unknown whether and when it took effect. Such a read proves nothing.
    pub ended: Option<u64>,
}

/// Why a history is not linearizable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// This value was read and never written.
    FromNowhere(u32),
    /// This value was read before its write began.
    FromTheFuture(u32),
    /// These two values must both have been in the register at one moment (`None` is the first value).
    Both(Option<u32>, Option<u32>),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &Option<u32>| value.map_or("nothing".to_owned(), |value| value.to_string());
        match self {
            Self::FromNowhere(value) => write!(f, "{value} was read and never written"),
            Self::FromTheFuture(value) => write!(f, "{value} was read before its write began"),
            Self::Both(one, other) => {
                write!(f, "{} and {} must have been in the register at one moment", name(one), name(other))
            }
        }
    }
}

struct Cluster {
    /// The write's beginning and end; the first value was written before everything.
    written: (u64, u64),
    reads: Vec<(u64, u64)>,
}

struct Zone {
    value: Option<u32>,
    from: u64,
    to: u64,
    forward: bool,
}

/// Checks the history of one register, in which every value is written at most once.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    let mut clusters: BTreeMap<Option<u32>, Cluster> = BTreeMap::new();
    clusters.insert(None, Cluster { written: (0, 0), reads: Vec::new() });
    for operation in history {
        if let What::Write(value) = operation.what {
            let written = (operation.begun, operation.ended.unwrap_or(u64::MAX));
            clusters.insert(Some(value), Cluster { written, reads: Vec::new() });
        }
    }
    for operation in history {
        if let (What::Read(value), Some(ended)) = (operation.what, operation.ended) {
            let Some(cluster) = clusters.get_mut(&value) else {
                return Err(Violation::FromNowhere(value.unwrap_or_default()));
            };
            if ended < cluster.written.0 {
                return Err(Violation::FromTheFuture(value.unwrap_or_default()));
            }
            cluster.reads.push((operation.begun, ended));
        }
    }
    // A write that may never have taken effect, and whose value no read returned, constrains no other operation.
    let seen =
        clusters.iter().filter(|(_, cluster)| cluster.written.1 < u64::MAX || !cluster.reads.is_empty());
    let zones: Vec<Zone> = seen
        .map(|(value, cluster)| {
            let all = || cluster.reads.iter().chain([&cluster.written]);
            let first_end = all().map(|(_, end)| *end).min().unwrap_or_default();
            let last_begin = all().map(|(begin, _)| *begin).max().unwrap_or_default();
            let forward = first_end < last_begin;
            Zone { value: *value, from: first_end.min(last_begin), to: first_end.max(last_begin), forward }
        })
        .collect();
    for (place, zone) in zones.iter().enumerate().filter(|(_, zone)| zone.forward) {
        for (other_place, other) in zones.iter().enumerate() {
            let overlap =
                other.forward && other_place > place && zone.from < other.to && other.from < zone.to;
            let within = !other.forward && zone.from < other.from && other.to < zone.to;
            if overlap || within {
                return Err(Violation::Both(zone.value, other.value));
            }
        }
    }
    Ok(())
}
