//! How many connections are open, in all and from each address, and which of them make room for others.
//!
//! A connection that has asked for nothing yet is *silent*. When as many are open as this process can hold, the one that
//! has been silent for longest makes room. Where all have asked for something, a few more are let in, from a reserve: among
//! them may be another replica, which must always get in; the others are told that this replica is busy.

use crate::caller::Origin;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Connections beyond the limit of which one may be another replica's.
const RESERVE: usize = 16;

#[derive(Debug, Default)]
struct Open {
    next: u64,
    all: usize,
    from: HashMap<Origin, usize>,
    /// Those that have asked for nothing yet, oldest first, and by what each is told to make room.
    silent: BTreeMap<u64, Arc<Notify>>,
}

/// The connections of one replica.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    open: Arc<Mutex<Open>>,
    max: usize,
    max_from_one: usize,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMany {
    FromOneAddress,
    InAll,
}

/// A connection that is let in; it is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    crowd: Crowd,
    id: u64,
    /// Whose share of the connections it takes from; none on the replica's own machine.
    origin: Option<Origin>,
    make_room: Arc<Notify>,
    reserved: bool,
}

impl Crowd {
    pub(crate) fn new(max: usize, max_from_one: usize) -> Self {
        Self { open: Arc::default(), max, max_from_one }
    }

    /// Lets a connection in, unless there are too many.
    pub(crate) fn enter(&self, address: IpAddr) -> Result<Entered, TooMany> {
        let origin = (!address.to_canonical().is_loopback()).then(|| Origin::of(address));
        let mut open = self.lock();
        if let Some(origin) = origin
            && open.from.get(&origin).is_some_and(|count| *count >= self.max_from_one)
        {
            return Err(TooMany::FromOneAddress);
        }
        let full = open.all >= self.max;
        let made_room = full && open.silent.pop_first().map(|(_, oldest)| oldest.notify_one()).is_some();
        if open.all >= self.max + RESERVE {
            return Err(TooMany::InAll);
        }
        let id = open.next;
        let make_room = Arc::new(Notify::new());
        open.next += 1;
        open.all += 1;
        open.silent.insert(id, make_room.clone());
        if let Some(origin) = origin {
            *open.from.entry(origin).or_default() += 1;
        }
        Ok(Entered { crowd: self.clone(), id, origin, make_room, reserved: full && !made_room })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// It has asked for something, and stays.
    pub(crate) fn has_asked(&self) {
        self.crowd.lock().silent.remove(&self.id);
    }

    /// Whether it came in by the reserve, and only a replica may stay.
    pub(crate) const fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Waits until it must make room for others, because it has asked for nothing.
    pub(crate) async fn must_make_room(&self) {
        self.make_room.notified().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.crowd.lock();
        open.all -= 1;
        open.silent.remove(&self.id);
        if let Some(origin) = self.origin
            && let Some(count) = open.from.get_mut(&origin)
        {
            *count -= 1;
            if *count == 0 {
                open.from.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test]
    async fn the_oldest_silent_connection_makes_room_and_one_that_has_asked_stays() {
        let crowd = Crowd::new(3, 100);
        let [asked, silent, newest] = [(); 3].map(|()| crowd.enter(address(1)).unwrap());
        asked.has_asked();
        let next = crowd.enter(address(2)).unwrap();
        silent.must_make_room().await;
        assert!(!next.is_reserved());
        drop(silent);
        for entered in [&newest, &next] {
            entered.has_asked();
        }
        let reserved: Vec<Entered> = (0..RESERVE).map(|_| crowd.enter(address(3)).unwrap()).collect();
        assert!(reserved[0].is_reserved() && !next.is_reserved());
        reserved.iter().for_each(Entered::has_asked);
        assert_eq!(crowd.enter(address(4)).unwrap_err(), TooMany::InAll);
        drop(asked);
        assert!(crowd.enter(address(4)).is_ok(), "room again");
    }

    #[test]
    fn one_address_has_its_share_and_this_machine_only_that_of_all() {
        let crowd = Crowd::new(100, 2);
        let here = IpAddr::from([127, 0, 0, 1]);
        let mut kept: Vec<Entered> = (0..10).map(|_| crowd.enter(here).unwrap()).collect();
        kept.extend((0..2).map(|_| crowd.enter(address(1)).unwrap()));
        assert_eq!(crowd.enter(address(1)).unwrap_err(), TooMany::FromOneAddress);
        kept.push(crowd.enter(address(2)).unwrap());
        kept.clear();
        assert!(crowd.enter(address(1)).is_ok());
        assert!(crowd.lock().from.is_empty() && crowd.lock().silent.is_empty());
    }
}
