//! Which worlds there are.

/// What can happen in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Threads are switched in and out, and use their registers.
    Threads,
    KernelSections,
    Idle,
    Sleep,
    Hotplug,
}

/// What a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It uses default components alone.
    Plain,
}

/// What the kernel of a world does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negligence {
    /// Nothing.
    None,
    /// It executes TILERELEASE before it idles, and does not say so (I5; Linux bug 8).
    IdlesUnsaid,
    /// It wakes a CPU and writes none of its registers (hazard H4).
    WakesWithoutResume,
    /// It uses the registers itself without a kernel section.
    UsesRegistersUnsaid,
}

impl Negligence {
    /// Each one, by name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("idles-unsaid", Self::IdlesUnsaid),
        ("wakes-without-resume", Self::WakesWithoutResume),
        ("uses-registers-unsaid", Self::UsesRegistersUnsaid),
    ];
}

/// One world: who is in it and what can happen.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    pub(super) cpus: usize,
    pub(super) threads: &'static [Role],
    pub(super) kinds: &'static [Kind],
}

impl Scope {
    /// All of them, the smallest first.
    pub const ALL: &'static [Self] = &[Self {
        name: "switch",
        about: "two threads on two CPUs that idle, sleep and go offline",
        cpus: 2,
        threads: &[Role::Plain, Role::Plain],
        kinds: &[
            Kind::Threads,
            Kind::KernelSections,
            Kind::Idle,
            Kind::Sleep,
            Kind::Hotplug,
        ],
    }];

    /// The world with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|scope| scope.name == name).copied()
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}
