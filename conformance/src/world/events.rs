//! What can happen in a world.

/// What can happen in a world, counted so that a test can tell whether it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// User code or a guest wrote a register.
    Write,
    /// A thread went on with its registers as it had left them.
    RestoreSkipped,
    /// A thread's state, or its guest's, was restored.
    Restored,
    /// A thread was switched out.
    SwitchedOut,
    /// A thread was switched out while its guest's state was active.
    PreemptedInGuest,
    /// A thread went on elsewhere.
    Migrated,
    /// A guest was entered.
    Entered,
    /// A guest was left.
    Left,
    /// A confidential guest ran.
    ConfidentialRun,
    /// A kernel section began and ended.
    KernelSection,
    /// A CPU went offline and came back.
    Restarted,
    /// A state was edited in memory.
    Edited,
    /// An edit was refused.
    EditRefused,
    /// An image took the place of a save.
    ImageInsteadOfSave,
    /// A thread was forked.
    Forked,
    /// A thread was forked while its guest's state was active.
    ForkedInGuest,
    /// A thread started a new program.
    Executed,
    /// A thread ended.
    Ended,
    /// A state began in the memory of one that ended.
    MemoryUsedAgain,
    /// An instruction faulted.
    Faulted,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 20] = [
        Self::Write,
        Self::RestoreSkipped,
        Self::Restored,
        Self::SwitchedOut,
        Self::PreemptedInGuest,
        Self::Migrated,
        Self::Entered,
        Self::Left,
        Self::ConfidentialRun,
        Self::KernelSection,
        Self::Restarted,
        Self::Edited,
        Self::EditRefused,
        Self::ImageInsteadOfSave,
        Self::Forked,
        Self::ForkedInGuest,
        Self::Executed,
        Self::Ended,
        Self::MemoryUsedAgain,
        Self::Faulted,
    ];
}
