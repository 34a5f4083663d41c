//! How often each kind of instruction was executed.

use std::cell::Cell;

use serde::{Serialize, Serializer};

/// A kind of instruction, or a save or restore by plain moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// One of the XSAVE family, or FXSAVE.
    Xsave,
    /// One of the XRSTOR family, or FXRSTOR.
    Xrstor,
    /// A save by plain moves: XGETBV(1), STMXCSR and stores.
    SavedByMoves,
    /// A restore by plain moves: loads and LDMXCSR.
    RestoredByMoves,
    /// Plain moves were tried and did not cover what was live; an instruction saved.
    SaveNotCovered,
    /// The same for a restore.
    RestoreNotCovered,
    /// XGETBV outside a save by moves.
    Xgetbv,
    /// XSETBV.
    Xsetbv,
    /// WRMSR of IA32_XSS, IA32_XFD or IA32_XFD_ERR.
    Wrmsr,
    /// RDMSR of one of them.
    Rdmsr,
    /// STMXCSR outside a save by moves.
    Stmxcsr,
    /// LDMXCSR outside a restore by moves.
    Ldmxcsr,
    /// FNSTCW.
    Fnstcw,
    /// FNINIT.
    Fninit,
    /// FNCLEX, EMMS and FILD, which some CPUs need before a restore.
    OverwriteErrorPointers,
    /// WRPKRU or RDPKRU.
    Pkru,
    /// TILERELEASE.
    Tilerelease,
    /// CPUID.
    Cpuid,
}

impl Operation {
    /// Each of them.
    pub const ALL: [Self; 18] = [
        Self::Xsave,
        Self::Xrstor,
        Self::SavedByMoves,
        Self::RestoredByMoves,
        Self::SaveNotCovered,
        Self::RestoreNotCovered,
        Self::Xgetbv,
        Self::Xsetbv,
        Self::Wrmsr,
        Self::Rdmsr,
        Self::Stmxcsr,
        Self::Ldmxcsr,
        Self::Fnstcw,
        Self::Fninit,
        Self::OverwriteErrorPointers,
        Self::Pkru,
        Self::Tilerelease,
        Self::Cpuid,
    ];

    /// In JSON.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Xsave => "xsave",
            Self::Xrstor => "xrstor",
            Self::SavedByMoves => "saved_by_moves",
            Self::RestoredByMoves => "restored_by_moves",
            Self::SaveNotCovered => "save_not_covered",
            Self::RestoreNotCovered => "restore_not_covered",
            Self::Xgetbv => "xgetbv",
            Self::Xsetbv => "xsetbv",
            Self::Wrmsr => "wrmsr",
            Self::Rdmsr => "rdmsr",
            Self::Stmxcsr => "stmxcsr",
            Self::Ldmxcsr => "ldmxcsr",
            Self::Fnstcw => "fnstcw",
            Self::Fninit => "fninit",
            Self::OverwriteErrorPointers => "overwrite_error_pointers",
            Self::Pkru => "pkru",
            Self::Tilerelease => "tilerelease",
            Self::Cpuid => "cpuid",
        }
    }

    fn place(self) -> usize {
        let place = Self::ALL.iter().position(|&other| other == self);
        place.unwrap_or(usize::MAX)
    }
}

/// Counts as they grow; whoever executes and whoever reads share it.
#[derive(Debug, Default)]
pub struct Tally([Cell<u64>; Operation::ALL.len()]);

impl Tally {
    /// Once more.
    pub fn note(&self, operation: Operation) {
        if let Some(count) = self.0.get(operation.place()) {
            count.set(count.get() + 1);
        }
    }

    /// Everything to zero; gives what was counted.
    pub fn take(&self) -> Counts {
        Counts {
            executed: std::array::from_fn(|place| self.0[place].take()),
            bytes_copied: 0,
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    executed: [u64; Operation::ALL.len()],
    /// Bytes of areas copied from memory to memory.
    pub bytes_copied: u64,
}

impl Counts {
    /// How often.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.executed.get(operation.place()).copied().unwrap_or(0)
    }

    /// The same, and these bytes copied.
    #[must_use]
    pub const fn with_copied(self, bytes_copied: u64) -> Self {
        Self {
            bytes_copied,
            ..self
        }
    }

    /// What happened at all.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, u64)> {
        Operation::ALL
            .into_iter()
            .map(|operation| (operation, self.of(operation)))
            .filter(|&(_, count)| count > 0)
    }

    /// Nothing was executed and nothing copied.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for Counts {
    /// Every kind, those that did not happen included.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let executed = Operation::ALL.map(|operation| (operation.key(), self.of(operation)));
        serializer.collect_map(
            executed
                .into_iter()
                .chain([("bytes_copied", self.bytes_copied)]),
        )
    }
}
