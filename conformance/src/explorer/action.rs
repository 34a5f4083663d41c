//! What can happen.

use std::fmt;

use super::search::Named;

/// How a guest is entered or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// The incoming state is restored as part of it.
    Now,
    /// It is restored before it is used.
    Deferred,
    /// As `Now`, decided by the library and carried out by somebody else.
    ByHand,
}

impl How {
    pub(super) const ALL: [Self; 3] = [Self::Now, Self::Deferred, Self::ByHand];
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "restoring now",
            Self::Deferred => "restoring later",
            Self::ByHand => "restoring now, carried out by hand",
        })
    }
}

/// What somebody would put into a register, or an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    /// The least that is legal: XCR0 = 1, the others 0; an image without tile data.
    Least,
    /// All that is offered; an image with tile data.
    Most,
    /// What must be refused.
    Illegal,
}

impl Given {
    pub(super) const ALL: [Self; 3] = [Self::Least, Self::Most, Self::Illegal];
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Least => "the least",
            Self::Most => "the most",
            Self::Illegal => "something illegal",
        })
    }
}

macro_rules! actions {
    ($($kind:ident { $($(#[$doc:meta])+ $name:ident { $($field:ident: $type:ty),+ } $text:literal,)+ })+) => {
        /// One step of a kernel, its user code, a guest or its VMM. Numbers are from 0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "fields are what their names say")]
        pub enum Action {
            $($($(#[$doc])+ $name { $($field: $type),+ },)+)+
        }

        /// Actions that a world has or has not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind { $($kind,)+ }

        impl Kind {
            /// All of them.
            pub(super) const ALL: &'static [Self] = &[$(Self::$kind,)+];
        }

        impl Action {
            pub(super) const fn kind(&self) -> Kind {
                match self { $($(Self::$name { .. } => Kind::$kind,)+)+ }
            }
        }

        impl Action {
            /// The names of all of them.
            pub const NAMES: &'static [&'static str] = &[$($(stringify!($name),)+)+];
        }

        impl Named for Action {
            fn name(&self) -> &'static str {
                match self { $($(Self::$name { .. } => stringify!($name),)+)+ }
            }
        }

        impl fmt::Display for Action {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $($(Self::$name { $($field),+ } => write!(f, $text),)+)+ }
            }
        }
    };
}

actions! {
    Switch {
        /// A thread that runs nowhere becomes the current one of a CPU that has none.
        SwitchIn { cpu: usize, thread: usize } "CPU {cpu}: thread {thread} is switched in",
        /// The current thread is saved, if need be, and runs nowhere.
        SwitchOut { cpu: usize } "CPU {cpu}: its thread is switched out",
        /// At the last moment before user mode or a VM entry: the active state is restored if need be.
        Return { cpu: usize } "CPU {cpu}: the active state is restored for use",
    }
    Write {
        /// User code writes every default and supervisor component.
        Write { cpu: usize } "CPU {cpu}: user code writes its registers",
    }
    KernelSection {
        /// An interrupt, or the kernel for itself, uses the registers.
        KernelSection { cpu: usize } "CPU {cpu}: a kernel section",
    }
    Fault {
        /// The restore at the last moment faults half-way, if there is one.
        FaultingReturn { cpu: usize } "CPU {cpu}: the restore of the active state faults",
        /// So does that of a guest that is entered.
        FaultingEnter { cpu: usize, guest: usize } "CPU {cpu}: guest {guest} is entered, and its restore faults",
    }
    Idle {
        /// A CPU without a thread idles.
        Idle { cpu: usize } "CPU {cpu} idles",
    }
    Sleep {
        /// What runs is saved, then the CPU sleeps, loses its registers and wakes.
        Sleep { cpu: usize } "CPU {cpu} sleeps and wakes",
    }
    Hotplug {
        /// A CPU without a thread goes offline.
        Offline { cpu: usize } "CPU {cpu} goes offline",
        /// It is brought up.
        Online { cpu: usize } "CPU {cpu} is brought up",
    }
    UseTiles {
        /// User code uses tile data: #NM where there is no room.
        UseTiles { cpu: usize } "CPU {cpu}: user code uses tile data",
    }
    ReleaseTiles {
        /// User code executes TILERELEASE.
        ReleaseTiles { cpu: usize } "CPU {cpu}: user code executes TILERELEASE",
    }
    Grow {
        /// Memory for what the current thread's own state needs.
        Grow { cpu: usize } "CPU {cpu}: the thread's own state grows",
        /// Memory for what the guest that it runs needs.
        GrowRunningGuest { cpu: usize } "CPU {cpu}: the guest that runs grows",
        /// No memory, and the thread is not told to try again.
        GiveUp { cpu: usize } "CPU {cpu}: there is no memory",
        /// The kernel lends memory to a thread that runs nowhere.
        GrowWaiting { cpu: usize, thread: usize } "CPU {cpu}: thread {thread}, which runs nowhere, grows",
        /// A guest that no thread runs grows, because of an earlier run or ahead.
        GrowGuest { guest: usize } "guest {guest}, which does not run, grows",
    }
    Shrink {
        /// The current thread's own state gives memory back, unless that is in use.
        Shrink { cpu: usize } "CPU {cpu}: the thread's own state gives memory back",
        /// The same for a guest that no thread runs.
        ShrinkGuest { guest: usize } "guest {guest} gives memory back",
    }
    Enter {
        /// The current thread enters a guest.
        Enter { cpu: usize, guest: usize, how: How } "CPU {cpu}: guest {guest} is entered, {how}",
        /// The restore at the last moment, and what was put off until it, are carried out by somebody else.
        ReturnByHand { cpu: usize } "CPU {cpu}: the active state is restored for use, carried out by hand",
        /// It leaves it.
        Leave { cpu: usize, how: How } "CPU {cpu}: the guest is left, {how}",
    }
    GuestWrite {
        /// Between VM entry and exit the guest writes every default and supervisor component.
        GuestWrites { cpu: usize } "CPU {cpu}: the guest writes its registers",
    }
    GuestTiles {
        /// The guest uses tile data: an exit by #NM where it is disabled.
        GuestUsesTiles { cpu: usize } "CPU {cpu}: the guest uses tile data",
        /// The guest uses SSE with CR0.TS set: an exit by #NM that is not about tiles.
        GuestFindsTs { cpu: usize } "CPU {cpu}: the guest gets #NM by CR0.TS",
        /// The guest executes TILERELEASE.
        GuestReleasesTiles { cpu: usize } "CPU {cpu}: the guest executes TILERELEASE",
        /// The guest's #NM handler clears IA32_XFD_ERR.
        GuestClearsXfdErr { guest: usize } "guest {guest} clears IA32_XFD_ERR",
    }
    GuestXfd {
        /// The guest writes IA32_XFD, with an exit as long as that is advised.
        GuestWritesXfd { cpu: usize, given: Given } "CPU {cpu}: the guest puts {given} into IA32_XFD",
        /// An exit for IA32_XFD is handled later, wherever the state is by then.
        EmulateXfd { cpu: usize, given: Given } "CPU {cpu}: WRMSR of {given} to IA32_XFD is emulated",
    }
    GuestControl {
        /// XSETBV, of the guest or of the VMM.
        Xsetbv { guest: usize, given: Given } "{given} is put into XCR0 of guest {guest}",
        /// WRMSR of IA32_XSS, of the guest or of the VMM.
        WriteXss { guest: usize, given: Given } "{given} is put into IA32_XSS of guest {guest}",
        /// The VMM writes IA32_XFD_ERR.
        WriteXfdErr { guest: usize, given: Given } "{given} is put into IA32_XFD_ERR of guest {guest}",
    }
    VmmXfd {
        /// The VMM writes IA32_XFD of a guest that no thread runs.
        VmmXfd { guest: usize, given: Given } "the VMM puts {given} into IA32_XFD of guest {guest}",
    }
    VmmImage {
        /// The VMM replaces the state of a guest that no thread runs.
        VmmImage { guest: usize, given: Given } "the VMM imports {given} into guest {guest}",
    }
    VmmOffer {
        /// The VMM sets CPUID: tiles or no tiles.
        VmmOffers { guest: usize, given: Given } "the VMM offers {given} to guest {guest}",
    }
    Init {
        /// INIT of the guest that the current thread runs.
        InitRunning { cpu: usize } "CPU {cpu}: INIT of the guest that runs",
        /// INIT of a guest that no thread runs.
        Init { guest: usize } "INIT of guest {guest}",
        /// RESET.
        Reset { guest: usize } "RESET of guest {guest}",
    }
    Renew {
        /// A vCPU ends and another begins in its place.
        Renew { guest: usize } "guest {guest} ends and another one begins",
        /// The same, and the thread was still in it.
        Abandon { cpu: usize } "CPU {cpu}: the guest that runs ends and another one begins",
    }
    Fork {
        /// The current thread forks.
        Fork { cpu: usize, child: usize } "CPU {cpu}: the thread forks thread {child}",
    }
    Exec {
        /// The current thread starts a new program, which has no permissions.
        Exec { cpu: usize } "CPU {cpu}: the thread starts a new program",
        /// The program asks for tiles.
        Ask { cpu: usize } "CPU {cpu}: the thread's process asks for tiles",
    }
    Frame {
        /// The kernel replaces the user components of the current thread by a signal frame's.
        Sigreturn { cpu: usize, given: Given } "CPU {cpu}: a signal frame with {given} is restored",
        /// A debugger does the same to a thread that runs nowhere.
        Ptrace { thread: usize, given: Given } "a debugger gives {given} to thread {thread}",
    }
    Exit {
        /// The current thread ends.
        Exit { cpu: usize } "CPU {cpu}: the thread ends",
    }
}
