//! The view register: linearizable, slow, sometimes out of reach; a swap may take effect late, or unheard.

use crate::agenda::Happening;
use crate::world::World;
use protocol::{Event, RegisterId, RegisterRead, SwapOutcome, Token, View};

/// The views that it holds, and who can't reach it.
#[derive(Debug)]
pub struct Register {
    /// Which register it is; meaningless while it holds no view.
    pub id: RegisterId,
    /// The installed views, oldest first.
    pub views: Vec<View>,
    /// The newest view can't be read, and so none can be installed.
    pub(crate) damaged: bool,
    /// An older copy that an operator (or a backup program) keeps.
    pub(crate) copy: Option<Vec<View>>,
    /// It is not what its swaps have made of it, until an operator has decided what to go on with.
    pub altered: bool,
    pub(crate) isolated: Vec<bool>,
}

impl Register {
    pub(crate) fn new(replicas: usize) -> Self {
        Self {
            id: RegisterId([0; 16]),
            views: Vec::new(),
            damaged: false,
            copy: None,
            altered: false,
            isolated: vec![false; replicas],
        }
    }

    /// The newest view.
    pub fn newest(&self) -> Option<&View> {
        self.views.last()
    }

    fn swap(&mut self, register: RegisterId, view: View) -> SwapOutcome {
        match self.views.last() {
            None if view.number.0 > 1 => SwapOutcome::Foreign,
            None => {
                self.id = register;
                self.views.push(view);
                SwapOutcome::Installed
            }
            Some(_) if self.id != register && view.number.0 > 1 => SwapOutcome::Foreign,
            Some(current) if *current == view => SwapOutcome::Installed,
            Some(current) if current.number.next() != view.number => SwapOutcome::Superseded(current.clone()),
            _ => {
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
            _ if self.register.isolated[by] || self.register.damaged => RegisterRead::Failed,
            Some(view) => RegisterRead::Current { register: self.register.id, view: view.clone() },
            None => RegisterRead::Empty,
        };
        let delay = self.register_delay();
        let event = Box::new(Event::RegisterRead { token, outcome });
        self.later(delay, Happening::Tell { to: by, incarnation, event });
    }

    pub(crate) fn ask_swap(&mut self, by: usize, token: Token, register: RegisterId, view: View) {
        let incarnation = self.incarnation(by);
        if self.random.percent(self.profile.faults_at_swaps) {
            let soon = self.micros(0, 10_000);
            self.later(soon, Happening::Fault { once: true });
        }
        let unsure = self.register.isolated[by]
            || self.register.damaged
            || self.random.percent(self.profile.swaps_unsure);
        if unsure {
            let delay = self.micros(1_000, 30_000);
            let event = Box::new(Event::SwapAnswered { token, outcome: SwapOutcome::Unknown });
            self.later(delay, Happening::Tell { to: by, incarnation, event });
        }
        // An unsure swap may take effect long after its proposer has received `SwapOutcome::Unknown`, or never.
        if !unsure || self.random.percent(60) {
            let delay = if unsure { self.micros(1_000, 900_000) } else { self.register_delay() };
            self.later(delay, Happening::Swap { by, incarnation, token, register, view, answered: !unsure });
        }
    }

    pub(crate) fn swap(
        &mut self,
        by: usize,
        incarnation: u64,
        token: Token,
        (register, view): (RegisterId, View),
        answered: bool,
    ) {
        let outcome =
            if self.register.damaged { SwapOutcome::Unknown } else { self.register.swap(register, view) };
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
