//! The kinds of faults, in the order of a profile's weights.

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process ends at once.
    Crash,
    /// All processes end at once, and start again in some order, at some time.
    CrashAll,
    /// One process ends again and again.
    CrashStorm,
    /// A process that is down starts.
    Start,
    /// A process hangs for a while.
    Pause,
    /// A process that hangs goes on.
    Resume,
    /// Nothing passes between two, in both directions.
    Cut,
    /// Nothing passes from one to another; the other way it does.
    Deafen,
    /// A replica receives nothing from any peer, and no peer receives anything from it.
    Isolate,
    /// A stream breaks.
    Break,
    /// All cuts end.
    Heal,
    /// A replica can't reach the view register, or can again.
    Register,
    /// A disk takes no more writes, or does again.
    Full,
    /// A disk hangs, or goes on.
    Stuck,
    /// Every sync of a disk fails, or succeeds again.
    SyncsFail,
    /// A machine loses its power: its process ends, and its disk keeps what was synced.
    PowerFails,
    /// All of them are one machine, which loses its power; what was synced stays.
    PowerFailsEverywhere,
    /// Rows of one replica begin to differ from the others'.
    Differ,
    /// The files of one replica's database are removed while its process has them open.
    Remove,
    /// A folder is wiped while its process is down.
    Wipe,
    /// An operator (or a backup program) copies a database of a process that is down.
    Backup,
    /// An operator puts such a copy back.
    Restore,
    /// The machine loses its power: all processes end at once, and some disks have lost what they had confirmed.
    PowerFailure,
    /// A database of another history takes the place of a replica's, and knows that history to be committed.
    Fork,
    /// The folder of a replica is removed and made again, whether or not its process runs.
    RemakeFolder,
    /// The view register is emptied.
    RegisterEmptied,
    /// An operator (or a backup program) copies the view register.
    RegisterCopied,
    /// An operator puts the copy in its place.
    RegisterPutBack,
    /// A person removes the newest views.
    RegisterShortened,
    /// The newest view can't be read any more.
    RegisterDamaged,
    /// An operator looks at the view register, and if it is not what it was, decides what to go on with.
    Recover,
    /// A wall clock is wrong for a moment.
    WrongClock,
    /// All wall clocks are wrong for a moment, as those of one machine.
    WrongClocks,
}

/// All of them, in the order of a profile's weights.
pub const KINDS: [Kind; 27] = [
    Kind::Crash,
    Kind::CrashAll,
    Kind::CrashStorm,
    Kind::Start,
    Kind::Pause,
    Kind::Resume,
    Kind::Cut,
    Kind::Deafen,
    Kind::Isolate,
    Kind::Break,
    Kind::Heal,
    Kind::Register,
    Kind::Full,
    Kind::Stuck,
    Kind::SyncsFail,
    Kind::PowerFails,
    Kind::PowerFailsEverywhere,
    Kind::Differ,
    Kind::Remove,
    Kind::Wipe,
    Kind::Backup,
    Kind::Restore,
    Kind::PowerFailure,
    Kind::Fork,
    Kind::RemakeFolder,
    Kind::WrongClock,
    Kind::WrongClocks,
];

/// What people do to the view register, in the order of a profile's weights, after those of [`KINDS`].
pub const REGISTER_KINDS: [Kind; 6] = [
    Kind::RegisterEmptied,
    Kind::RegisterCopied,
    Kind::RegisterPutBack,
    Kind::RegisterShortened,
    Kind::RegisterDamaged,
    Kind::Recover,
];
