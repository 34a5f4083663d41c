//! Which worlds there are.

use super::action::Kind;

/// What a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its process never asked for tiles.
    Plain,
    /// Its process asked for tiles.
    Tiles,
    /// It runs vCPUs.
    Vcpu,
    /// It runs vCPUs, and its process asked for tiles of its own.
    VcpuTiles,
    /// Nobody yet: it can be forked.
    Unborn,
}

/// What tells threads from each other for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    RunsGuests,
    Other,
}

/// What a vCPU is offered at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    WithoutTiles,
    Tiles,
    /// Nothing: the hardware keeps its state (SEV-ES, TDX).
    Confidential,
}

/// What a guest's registers are at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    /// As after RESET.
    Reset,
    /// XCR0 and IA32_XSS have all that is offered.
    Everything,
}

/// What the kernel of a world does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negligence {
    /// Nothing.
    None,
    /// It executes TILERELEASE before it idles, and does not say so (I5).
    IdlesUnsaid,
    /// It wakes a CPU and does not write its IA32_XFD (hazard H4).
    WakesWithoutXfd,
    /// It uses the registers itself without a kernel section.
    UsesRegistersUnsaid,
}

impl Negligence {
    /// Each one, by name, with a world in which it is found out.
    pub const ALL: &'static [(&'static str, Self, &'static str)] = &[
        ("idles-unsaid", Self::IdlesUnsaid, "switch"),
        ("wakes-without-xfd", Self::WakesWithoutXfd, "switch"),
        ("uses-registers-unsaid", Self::UsesRegistersUnsaid, "switch"),
    ];
}

/// Whether a world is searched in the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// In some seconds.
    Suite,
    /// On demand.
    Long,
}

/// One world: who is in it and what can happen.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// Whether the suite has the time for it.
    pub size: Size,
    pub(super) cpus: usize,
    pub(super) threads: &'static [Role],
    pub(super) guests: &'static [Offered],
    pub(super) boot: Boot,
    /// Pieces of memory beyond one for each thread and guest.
    pub(super) spare: usize,
    pub(super) kinds: &'static [Kind],
}

/// What happens to threads that use nothing on demand.
const SCHEDULING: &[Kind] = &[
    Kind::Write,
    Kind::KernelSection,
    Kind::Fault,
    Kind::Idle,
    Kind::Sleep,
    Kind::Hotplug,
];

/// What happens to a vCPU whose VMM does as it likes.
const VMM: &[Kind] = &[
    Kind::Enter,
    Kind::GuestWrite,
    Kind::GuestTiles,
    Kind::GuestXfd,
    Kind::GuestControl,
    Kind::Grow,
    Kind::Shrink,
    Kind::VmmXfd,
    Kind::VmmImage,
    Kind::VmmOffer,
    Kind::Init,
    Kind::Renew,
];

impl Scope {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "switch",
            about: "two threads on two CPUs that idle, sleep and go offline",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Plain, Role::Plain],
            guests: &[],
            boot: Boot::Everything,
            spare: 0,
            kinds: SCHEDULING,
        },
        Self {
            name: "three",
            about: "three threads on two CPUs that idle, sleep and go offline",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Plain, Role::Plain, Role::Plain],
            guests: &[],
            boot: Boot::Everything,
            spare: 0,
            kinds: SCHEDULING,
        },
        Self {
            name: "guests",
            about: "a vCPU thread with two vCPUs and a plain thread on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Plain],
            guests: &[Offered::WithoutTiles, Offered::WithoutTiles],
            boot: Boot::Everything,
            spare: 0,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Fault,
                Kind::Enter,
                Kind::GuestWrite,
            ],
        },
        Self {
            name: "confidential",
            about: "a vCPU thread with a confidential vCPU and a plain one, and a plain thread on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Plain],
            guests: &[Offered::Confidential, Offered::WithoutTiles],
            boot: Boot::Everything,
            spare: 0,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Enter,
                Kind::GuestWrite,
            ],
        },
        Self {
            name: "growth",
            about: "a thread with tiles and one without on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Tiles, Role::Plain],
            guests: &[],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Idle,
                Kind::UseTiles,
                Kind::ReleaseTiles,
                Kind::Grow,
                Kind::Shrink,
            ],
        },
        Self {
            name: "guest-growth",
            about: "a vCPU with tiles on two CPUs: its IA32_XFD, intercepted and passed through",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Vcpu],
            guests: &[Offered::Tiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Enter,
                Kind::GuestWrite,
                Kind::GuestTiles,
                Kind::GuestXfd,
                Kind::Grow,
                Kind::Shrink,
            ],
        },
        Self {
            name: "vmm",
            about: "a vCPU on one CPU whose VMM sets image, registers and CPUID in any order",
            size: Size::Suite,
            cpus: 1,
            threads: &[Role::Vcpu],
            guests: &[Offered::Tiles],
            boot: Boot::Reset,
            spare: 1,
            kinds: VMM,
        },
        Self {
            name: "life",
            about: "threads with tiles that fork, execute programs and end, on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Tiles, Role::Unborn],
            guests: &[],
            boot: Boot::Everything,
            spare: 0,
            kinds: &[
                Kind::Write,
                Kind::UseTiles,
                Kind::Grow,
                Kind::Fork,
                Kind::Exec,
                Kind::Exit,
            ],
        },
        Self {
            name: "frames",
            about: "a thread with tiles that gets signals and is debugged, beside another one, on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Tiles, Role::Plain],
            guests: &[],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[Kind::Write, Kind::UseTiles, Kind::Grow, Kind::Frame],
        },
        Self {
            name: "vcpu-life",
            about: "a vCPU thread that forks, executes programs, gets signals and ends, on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Unborn],
            guests: &[Offered::WithoutTiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Enter,
                Kind::GuestWrite,
                Kind::Fork,
                Kind::Exec,
                Kind::Exit,
                Kind::Frame,
                Kind::Renew,
            ],
        },
        Self {
            name: "vcpu-growth",
            about: "a vCPU and its thread, which uses tiles itself, on two CPUs",
            size: Size::Suite,
            cpus: 2,
            threads: &[Role::VcpuTiles],
            guests: &[Offered::WithoutTiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::UseTiles,
                Kind::ReleaseTiles,
                Kind::Grow,
                Kind::Shrink,
                Kind::Enter,
                Kind::GuestWrite,
            ],
        },
        Self {
            name: "both-grow",
            about: "a vCPU with tiles and its thread, which uses tiles itself, on one CPU",
            size: Size::Suite,
            cpus: 1,
            threads: &[Role::VcpuTiles],
            guests: &[Offered::Tiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Idle,
                Kind::UseTiles,
                Kind::ReleaseTiles,
                Kind::Grow,
                Kind::Shrink,
                Kind::Enter,
                Kind::GuestWrite,
                Kind::GuestTiles,
                Kind::GuestXfd,
            ],
        },
        Self {
            name: "vmm-two-cpus",
            about: "what vmm has, and another CPU",
            size: Size::Long,
            cpus: 2,
            threads: &[Role::Vcpu],
            guests: &[Offered::Tiles],
            boot: Boot::Reset,
            spare: 1,
            kinds: VMM,
        },
        Self {
            name: "crowd",
            about: "a vCPU thread with two vCPUs and two plain threads on two CPUs",
            size: Size::Long,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Plain, Role::Plain],
            guests: &[Offered::WithoutTiles, Offered::WithoutTiles],
            boot: Boot::Everything,
            spare: 0,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Enter,
                Kind::GuestWrite,
            ],
        },
        Self {
            name: "together",
            about: "a vCPU with tiles, its thread, and a thread with tiles on two CPUs",
            size: Size::Long,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Tiles],
            guests: &[Offered::Tiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: &[
                Kind::Write,
                Kind::KernelSection,
                Kind::Idle,
                Kind::UseTiles,
                Kind::Grow,
                Kind::Shrink,
                Kind::Enter,
                Kind::GuestWrite,
                Kind::GuestTiles,
                Kind::GuestXfd,
            ],
        },
        Self {
            name: "everything",
            about: "three threads and two vCPUs on two CPUs, and all that can happen",
            size: Size::Long,
            cpus: 2,
            threads: &[Role::Vcpu, Role::Tiles, Role::Plain],
            guests: &[Offered::Tiles, Offered::Tiles],
            boot: Boot::Everything,
            spare: 1,
            kinds: Kind::ALL,
        },
    ];

    /// The world with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|scope| scope.name == name).copied()
    }

    /// Threads that differ by nothing but what they did are of one sort.
    pub(super) fn sorts_of_threads(&self) -> Vec<Sort> {
        let sort = |role: &Role| match role {
            Role::Vcpu | Role::VcpuTiles => Sort::RunsGuests,
            Role::Plain | Role::Tiles | Role::Unborn => Sort::Other,
        };
        self.threads.iter().map(sort).collect()
    }

    /// How many pieces of memory there are.
    pub(super) const fn pieces(&self) -> usize {
        self.threads.len() + self.guests.len() + self.spare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_can_happen_happens_in_a_world_that_the_suite_searches() {
        let suite = || Scope::ALL.iter().filter(|scope| scope.size == Size::Suite);
        for kind in Kind::ALL {
            let has = |scope: &Scope| *kind == Kind::Switch || scope.kinds.contains(kind);
            assert!(suite().any(has), "{kind:?}");
        }
    }
}
