//! The view register: linearizable, slow, sometimes out of reach; a swap may take effect late, or unheard.

use crate::agenda::Happening;
use crate::world::World;
use protocol::{Event, RegisterRead, SwapOutcome, Token, View};

/// Every view that was ever installed, and who can't reach the register.
#[derive(Debug)]
pub struct Register {
    /// The installed views, oldest first.
    pub views: Vec<View>,
    pub(crate) isolated: Vec<bool>,
}

impl Register {
    pub(crate) fn new(replicas: usize) -> Self {
        Self { views: Vec::new(), isolated: vec![false; replicas] }
    }

    /// The newest view.
    pub fn newest(&self) -> Option<&View> {
        self.views.last()
    }

    fn swap(&mut self, view: View) -> SwapOutcome {
        match self.views.last() {
            Some(current) if *current == view => SwapOutcome::Installed,
            Some(current) if current.number.next() != view.number => SwapOutcome::Superseded(current.clone()),
            None => {
                assert_eq!(view.number.0, 1, "a swap to {view} beside an empty register");
                self.views.push(view);
                SwapOutcome::Installed
            }
            Some(_) => {
                self.views.push(view);
                SwapOutcome::Installed
            }
        }
    }
}

impl World {
    pub(crate) fn ask_register(&mut self, by: usize, token: Token) {
        let incarnation = self.incarnation(by);
        let delay = self.register_delay();
        self.later(delay, Happening::ReadRegister { by, incarnation, token });
    }

    pub(crate) fn read_register(&mut self, by: usize, incarnation: u64, token: Token) {
        let outcome = match self.register.newest() {
            _ if self.register.isolated[by] => RegisterRead::Failed,
            Some(view) => RegisterRead::Current(view.clone()),
            None => RegisterRead::Empty,
        };
        let delay = self.register_delay();
        let event = Box::new(Event::RegisterRead { token, outcome });
        self.later(delay, Happening::Tell { to: by, incarnation, event });
    }

    pub(crate) fn ask_swap(&mut self, by: usize, token: Token, view: View) {
        let incarnation = self.incarnation(by);
        if self.random.percent(self.profile.faults_at_swaps) {
            let soon = self.micros(0, 10_000);
            self.later(soon, Happening::Fault { once: true });
        }
        let unsure = self.register.isolated[by] || self.random.percent(self.profile.swaps_unsure);
        if unsure {
            let delay = self.micros(1_000, 30_000);
            let event = Box::new(Event::SwapAnswered { token, outcome: SwapOutcome::Unknown });
            self.later(delay, Happening::Tell { to: by, incarnation, event });
        }
        // An unsure swap may take effect long after its proposer was told that nobody knows, or never.
        if !unsure || self.random.percent(60) {
            let delay = if unsure { self.micros(1_000, 900_000) } else { self.register_delay() };
            self.later(delay, Happening::Swap { by, incarnation, token, view, answered: !unsure });
        }
    }

    pub(crate) fn swap(&mut self, by: usize, incarnation: u64, token: Token, view: View, answered: bool) {
        let outcome = self.register.swap(view);
        if answered {
            let delay = self.register_delay();
            let event = Box::new(Event::SwapAnswered { token, outcome });
            self.later(delay, Happening::Tell { to: by, incarnation, event });
        }
    }

    fn register_delay(&mut self) -> u64 {
        if self.random.percent(self.profile.register_slow) {
            self.micros(10_000, 1_000_000)
        } else {
            self.micros(250, 2_000)
        }
    }
}
