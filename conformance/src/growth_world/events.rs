//! What can happen in a growth world.

macro_rules! events {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What can happen in a growth world, counted so that a test can tell whether it did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum GrowthEvent { $($(#[$doc])+ $name,)+ }

        impl GrowthEvent {
            /// All events.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

events! {
    /// User code used tile data.
    TileDataUsed,
    /// A guest used tile data.
    GuestTileDataUsed,
    /// User code used tile data for which there was no room.
    ThreadNeedsRoom,
    /// The same without permission.
    NotPermitted,
    /// A guest exited because the host disables tile data.
    GuestNeedsRoom,
    /// A guest exited because it disables tile data itself, or has CR0.TS set.
    NotAvailableInjected,
    /// A guest used an instruction that it has not.
    InvalidOpcode,
    /// A thread's state grew, as the active one.
    ThreadGrew,
    /// A thread's state grew while it waited or was parked.
    ThreadGrewInMemory,
    /// A guest's state grew in the thread that runs it.
    RunningGuestGrew,
    /// A guest's state grew while no thread ran it.
    IdleGuestGrew,
    /// There was no memory for growth.
    GrowthFailed,
    /// Memory that was too short for a growth was refused.
    ShortMemoryRefused,
    /// An expansion for room that the state has already was refused.
    OutdatedExpansionRefused,
    /// A growth in the registers of another CPU was refused.
    GrowthElsewhereRefused,
    /// A thread gave memory back.
    ThreadReleased,
    /// A guest gave memory back.
    GuestReleased,
    /// A guest gave memory back because its tiles went unused.
    GuestReleasedUnused,
    /// A release was refused: the tiles were in use.
    ReleaseRefused,
    /// A state that had grown gave memory back at exec.
    ReleasedAtExec,
    /// There was no memory for exec.
    ExecFailed,
    /// A thread started a new program.
    Executed,
    /// A thread was forked.
    Forked,
    /// There was no memory for a child, a thread or a vCPU.
    CreationFailed,
    /// A vCPU that is offered tiles began.
    GuestOfferedTiles,
    /// Tiles were refused to a guest, for want of permission.
    OfferRefused,
    /// A request came after the first vCPU.
    RequestRefused,
    /// A thread ended.
    Ended,
    /// A vCPU ended.
    GuestEnded,
    /// A thread went on elsewhere.
    Migrated,
    /// A thread was switched out with its guest's state active.
    PreemptedInGuest,
    /// Nothing had to be restored.
    RestoreSkipped,
    /// Tiles were released for idling.
    IdleReleasedTiles,
    /// A thread was interrupted by a signal.
    SignalDelivered,
    /// The handler returned, and all was as before.
    SignalReturned,
    /// The handler returned to less memory than it was interrupted in.
    SignalReturnedShort,
    /// A CPU slept.
    Slept,
    /// A CPU went offline and came back.
    Restarted,
    /// A kernel section began and ended.
    KernelSection,
    /// A guest wrote IA32_XFD without an exit.
    XfdWrittenPassedThrough,
    /// A guest's write of IA32_XFD was intercepted.
    XfdWrittenIntercepted,
    /// The VMM disabled live tile data.
    TileDataSetAside,
    /// The VMM put tile data into a guest's state.
    TileDataImported,
    /// A guest was refused a value for a register.
    ValueRefused,
    /// A guest was reset.
    Reset,
    /// A running guest got INIT.
    Initialised,
}
