//! What a process asks before its guests may have on-demand components, and what the kernels from
//! 5.15 to 7.x answer: pure decisions, no system call.
//!
//! Linux lends an on-demand component - AMX tile data is the only one so far - to a guest of a process
//! that asked for it, once for the process and for ever: at the first vCPU the permission is frozen, so
//! that no guest sees its CPUID change (Linux 5.17, commit 980fe2fddcff). Whoever asks too late, or reads
//! `KVM_GET_SUPPORTED_CPUID` before asking, gets a guest whose CPUID and XCR0 disagree.

use std::fmt;

use fpstate_arch::{Component, ComponentSet};

/// The error number a system call answered with (errno(3), x86 Linux).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SystemError(i32);

impl SystemError {
    /// Operation not permitted: what a seccomp filter usually answers.
    pub const EPERM: Self = Self(1);
    /// No such device or address: an attribute that KVM does not know.
    pub const ENXIO: Self = Self(6);
    /// Resource busy.
    pub const EBUSY: Self = Self(16);
    /// Invalid argument.
    pub const EINVAL: Self = Self(22);
    /// No such system call: the other answer of a seccomp filter.
    pub const ENOSYS: Self = Self(38);
    /// Operation not supported.
    pub const EOPNOTSUPP: Self = Self(95);

    /// The error of this number.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// The number; a system call returns it negated.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::EPERM => "EPERM",
            Self::ENXIO => "ENXIO",
            Self::EBUSY => "EBUSY",
            Self::EINVAL => "EINVAL",
            Self::ENOSYS => "ENOSYS",
            Self::EOPNOTSUPP => "EOPNOTSUPP",
            Self(_) => return None,
        })
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", std::io::Error::from_raw_os_error(self.0)),
        }
    }
}

impl fmt::Debug for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemError({}: {self})", self.0)
    }
}

impl std::error::Error for SystemError {}

/// The four questions of the handshake, so that what is decided from the answers can be tried with
/// the answers of kernels that are not at hand.
pub trait Kernel {
    /// `arch_prctl(ARCH_GET_XCOMP_SUPP)`: user components that the kernel manages.
    ///
    /// # Errors
    /// What the kernel answers.
    fn managed(&mut self) -> Result<ComponentSet, SystemError>;

    /// `KVM_X86_XCOMP_GUEST_SUPP`: user components that KVM can give a guest.
    ///
    /// # Errors
    /// What the kernel answers.
    fn offered_by_kvm(&mut self) -> Result<ComponentSet, SystemError>;

    /// `arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM, component)`.
    ///
    /// # Errors
    /// What the kernel answers.
    fn request(&mut self, component: Component) -> Result<(), SystemError>;

    /// `arch_prctl(ARCH_GET_XCOMP_GUEST_PERM)`: components that guests of this process may have.
    ///
    /// # Errors
    /// What the kernel answers.
    fn permitted(&mut self) -> Result<ComponentSet, SystemError>;
}

/// A question of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `ARCH_GET_XCOMP_SUPP`.
    Managed,
    /// `KVM_X86_XCOMP_GUEST_SUPP`.
    OfferedByKvm,
    /// `ARCH_REQ_XCOMP_GUEST_PERM`.
    Request,
    /// `ARCH_GET_XCOMP_GUEST_PERM`.
    Permitted,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Managed => "ARCH_GET_XCOMP_SUPP",
            Self::OfferedByKvm => "KVM_X86_XCOMP_GUEST_SUPP",
            Self::Request => "ARCH_REQ_XCOMP_GUEST_PERM",
            Self::Permitted => "ARCH_GET_XCOMP_GUEST_PERM",
        })
    }
}

/// What became of the request for one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Guests of this process may have it.
    Granted,
    /// The kernel is older than 5.16 and manages no on-demand component.
    KernelManagesNone,
    /// The kernel is a 5.16: it lends on-demand components to threads and not yet to guests.
    KernelServesThreadsOnly,
    /// The CPU, or the kernel's command line, leaves the component out.
    NotManaged {
        /// What the kernel manages.
        managed: ComponentSet,
    },
    /// KVM cannot give it to a guest, though a thread could have it.
    NotOfferedByKvm {
        /// What KVM offers.
        offered: ComponentSet,
    },
    /// The process has, or had, a vCPU: permissions of guests are frozen.
    TooLate,
    /// The kernel needs no permission for it, or lends no such component.
    NotOnDemand,
    /// An answer that no kernel gives by itself: a seccomp filter, a sandbox.
    Blocked {
        /// The question.
        question: Question,
        /// The answer.
        error: SystemError,
    },
}

impl Outcome {
    /// Whether guests may have the component.
    #[must_use]
    pub const fn is_granted(self) -> bool {
        matches!(self, Self::Granted)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted => f.write_str("granted"),
            Self::KernelManagesNone => {
                f.write_str("this kernel is older than 5.16 and has no on-demand components")
            }
            Self::KernelServesThreadsOnly => f.write_str(
                "this kernel has on-demand components for threads, for guests from 5.17 on",
            ),
            Self::NotManaged { managed } => {
                write!(
                    f,
                    "the kernel does not manage it here (it manages {managed})"
                )
            }
            Self::NotOfferedByKvm { offered } => {
                write!(f, "KVM does not offer it (it offers {offered})")
            }
            Self::TooLate => f.write_str("asked for after the first vCPU of the process"),
            Self::NotOnDemand => f.write_str("the kernel does not lend it on demand"),
            Self::Blocked { question, error } => {
                write!(f, "{question} answered {error}: a seccomp filter?")
            }
        }
    }
}

/// Asks `kernel` to let guests of this process have `component`.
///
/// The order is the only one that tells the cases apart: what the kernel manages, what it lends to
/// guests, what KVM offers, and then the request. Asking again is harmless.
pub fn ask(kernel: &mut impl Kernel, component: Component) -> Outcome {
    match ask_until_refused(kernel, component) {
        Ok(()) => Outcome::Granted,
        Err(refused) => refused,
    }
}

fn ask_until_refused(kernel: &mut impl Kernel, component: Component) -> Result<(), Outcome> {
    let blocked = |question| move |error| Outcome::Blocked { question, error };
    let managed = kernel.managed().map_err(|error| match error {
        SystemError::EINVAL => Outcome::KernelManagesNone,
        other => blocked(Question::Managed)(other),
    })?;
    if !managed.contains(component) {
        return Err(Outcome::NotManaged { managed });
    }
    kernel.permitted().map_err(|error| match error {
        SystemError::EINVAL => Outcome::KernelServesThreadsOnly,
        other => blocked(Question::Permitted)(other),
    })?;
    let offered = kernel
        .offered_by_kvm()
        .map_err(blocked(Question::OfferedByKvm))?;
    if !offered.contains(component) {
        return Err(Outcome::NotOfferedByKvm { offered });
    }
    kernel.request(component).map_err(|error| match error {
        SystemError::EINVAL => Outcome::KernelServesThreadsOnly,
        SystemError::EBUSY => Outcome::TooLate,
        SystemError::EOPNOTSUPP => Outcome::NotOnDemand,
        other => blocked(Question::Request)(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use SystemError as E;

    const XCR0_WITH_TILES: u64 = 0x602e7;
    const TILES: Component = Component::TileData;

    /// A kernel as the table in the module's tests describes it. It is a stand-in for kernels that are
    /// not at hand: what it answers was read in their sources, and only the row of this machine's
    /// kernel can be held against a real one (tests/handshake.rs).
    #[derive(Clone, Copy)]
    struct AnswersOf {
        kernel: &'static str,
        managed: Result<u64, E>,
        permitted: Result<u64, E>,
        offered: Result<u64, E>,
        request: Result<(), E>,
        outcome: Outcome,
        /// How often it is asked for the component.
        requests: usize,
    }

    impl Kernel for AnswersOf {
        fn managed(&mut self) -> Result<ComponentSet, E> {
            self.managed.map(ComponentSet::from_bits)
        }
        fn offered_by_kvm(&mut self) -> Result<ComponentSet, E> {
            self.offered.map(ComponentSet::from_bits)
        }
        fn request(&mut self, _: Component) -> Result<(), E> {
            self.request
        }
        fn permitted(&mut self) -> Result<ComponentSet, E> {
            self.permitted.map(ComponentSet::from_bits)
        }
    }

    const GRANTS: AnswersOf = AnswersOf {
        kernel: "5.17 and later, before the first vCPU",
        managed: Ok(XCR0_WITH_TILES),
        permitted: Ok(0x202e7),
        offered: Ok(XCR0_WITH_TILES),
        request: Ok(()),
        outcome: Outcome::Granted,
        requests: 1,
    };

    const KERNELS: [AnswersOf; 12] = [
        AnswersOf {
            kernel: "5.15",
            managed: Err(E::EINVAL),
            permitted: Err(E::EINVAL),
            offered: Err(E::EINVAL),
            request: Err(E::EINVAL),
            outcome: Outcome::KernelManagesNone,
            requests: 0,
        },
        AnswersOf {
            kernel: "5.16",
            permitted: Err(E::EINVAL),
            offered: Err(E::EINVAL),
            request: Err(E::EINVAL),
            outcome: Outcome::KernelServesThreadsOnly,
            requests: 0,
            ..GRANTS
        },
        AnswersOf {
            kernel: "one that lists permissions and takes no request",
            request: Err(E::EINVAL),
            outcome: Outcome::KernelServesThreadsOnly,
            ..GRANTS
        },
        GRANTS,
        AnswersOf {
            kernel: "5.17 and later, asked a second time",
            permitted: Ok(XCR0_WITH_TILES),
            ..GRANTS
        },
        AnswersOf {
            kernel: "5.17 and later, after the first vCPU, permitted before it",
            permitted: Ok(XCR0_WITH_TILES),
            ..GRANTS
        },
        AnswersOf {
            kernel: "5.17 and later, after the first vCPU",
            request: Err(E::EBUSY),
            outcome: Outcome::TooLate,
            ..GRANTS
        },
        AnswersOf {
            kernel: "any from 5.17 on, on a CPU without AMX",
            managed: Ok(0xe7),
            permitted: Ok(0xe7),
            offered: Ok(0xe7),
            request: Err(E::EOPNOTSUPP),
            outcome: Outcome::NotManaged {
                managed: ComponentSet::from_bits(0xe7),
            },
            requests: 0,
        },
        AnswersOf {
            kernel: "one that manages the component and does not lend it on demand",
            request: Err(E::EOPNOTSUPP),
            outcome: Outcome::NotOnDemand,
            ..GRANTS
        },
        AnswersOf {
            kernel: "one whose KVM leaves tiles out",
            offered: Ok(0x2e7),
            outcome: Outcome::NotOfferedByKvm {
                offered: ComponentSet::from_bits(0x2e7),
            },
            requests: 0,
            ..GRANTS
        },
        AnswersOf {
            kernel: "one behind a seccomp filter that refuses arch_prctl",
            managed: Err(E::EPERM),
            outcome: Outcome::Blocked {
                question: Question::Managed,
                error: E::EPERM,
            },
            requests: 0,
            ..GRANTS
        },
        AnswersOf {
            kernel: "one behind a seccomp filter that refuses the request alone",
            request: Err(E::ENOSYS),
            outcome: Outcome::Blocked {
                question: Question::Request,
                error: E::ENOSYS,
            },
            ..GRANTS
        },
    ];

    #[test]
    fn every_kernel_from_5_15_on_has_its_own_outcome() {
        for mut answers in KERNELS {
            assert_eq!(
                ask(&mut answers, TILES),
                answers.outcome,
                "{}",
                answers.kernel
            );
        }
    }

    #[test]
    fn outcomes_are_one_line_each() {
        for answers in KERNELS {
            let line = answers.outcome.to_string();
            assert!(!line.is_empty() && !line.contains('\n'), "{line}");
        }
        let number = SystemError::from_number(12);
        assert_eq!(number.number(), 12);
        assert!(number.to_string().contains("memory"), "{number}");
    }

    /// Counts the requests, and answers like `GRANTS` otherwise.
    struct Counted(AnswersOf, usize);

    impl Kernel for Counted {
        fn managed(&mut self) -> Result<ComponentSet, E> {
            self.0.managed()
        }
        fn offered_by_kvm(&mut self) -> Result<ComponentSet, E> {
            self.0.offered_by_kvm()
        }
        fn request(&mut self, component: Component) -> Result<(), E> {
            self.1 += 1;
            self.0.request(component)
        }
        fn permitted(&mut self) -> Result<ComponentSet, E> {
            self.0.permitted()
        }
    }

    #[test]
    fn nothing_is_requested_that_kvm_could_not_give() {
        for answers in KERNELS {
            let mut counted = Counted(answers, 0);
            ask(&mut counted, TILES);
            assert_eq!(counted.1, answers.requests, "{}", answers.kernel);
        }
    }
}
