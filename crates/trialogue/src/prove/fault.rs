//! The kinds of faults that the nemesis makes.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillThePrimary,
    EndThePrimary,
    KillOne,
    KillTwo,
    PauseOne,
    PauseTwo,
    PauseOneKillAnother,
    RestartOne,
    WipeOne,
    FillOneDisk,
    FailAllSyncs,
    PowerFailure,
    PutTheRegisterBack,
    OneWrongClock,
    WrongClocks,
    EndTheSupervisor,
    SlowLinks,
    StalledLinks,
    BrokenLinks,
    TruncatedLinks,
    HalfOpenLinks,
    CutOffOne,
}

impl Fault {
    pub(crate) const ALL: [Self; 22] = [
        Self::KillThePrimary,
        Self::EndThePrimary,
        Self::KillOne,
        Self::KillTwo,
        Self::PauseOne,
        Self::PauseTwo,
        Self::PauseOneKillAnother,
        Self::RestartOne,
        Self::WipeOne,
        Self::FillOneDisk,
        Self::FailAllSyncs,
        Self::PowerFailure,
        Self::PutTheRegisterBack,
        Self::OneWrongClock,
        Self::WrongClocks,
        Self::EndTheSupervisor,
        Self::SlowLinks,
        Self::StalledLinks,
        Self::BrokenLinks,
        Self::TruncatedLinks,
        Self::HalfOpenLinks,
        Self::CutOffOne,
    ];
    /// What every proof begins with, however short it is.
    pub(crate) const BEGINNING: [Self; 4] =
        [Self::KillThePrimary, Self::PauseOne, Self::WipeOne, Self::CutOffOne];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KillThePrimary => "kill the primary",
            Self::EndThePrimary => "end the primary",
            Self::KillOne => "kill one",
            Self::KillTwo => "kill two at once",
            Self::PauseOne => "pause one",
            Self::PauseTwo => "pause two",
            Self::PauseOneKillAnother => "pause one, kill another, resume the first",
            Self::RestartOne => "restart one at once",
            Self::WipeOne => "wipe one",
            Self::FillOneDisk => "fill one disk",
            Self::FailAllSyncs => "fail all syncs",
            Self::PowerFailure => "power failure",
            Self::PutTheRegisterBack => "put the register back",
            Self::OneWrongClock => "one wrong clock",
            Self::WrongClocks => "wrong clocks",
            Self::EndTheSupervisor => "end the supervisor",
            Self::SlowLinks => "slow links",
            Self::StalledLinks => "stalled links",
            Self::BrokenLinks => "broken links",
            Self::TruncatedLinks => "truncated links",
            Self::HalfOpenLinks => "half-open links",
            Self::CutOffOne => "cut off one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: BTreeSet<String> = Fault::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        assert_eq!(Fault::ALL.iter().collect::<BTreeSet<_>>().len(), Fault::ALL.len(), "each once");
    }
}
