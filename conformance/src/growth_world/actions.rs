//! What is done in a world, as data: a schedule that can be written down, cut short and run again.

use std::fmt;
use std::str::FromStr;

macro_rules! deeds {
    ($($(#[$doc:meta])+ $name:ident $text:literal, $needs:ident;)+) => {
        /// What a CPU of a world does next.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Deed { $($(#[$doc])+ $name,)+ }

        impl Deed {
            /// All deeds.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As an [`Action`] is written.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What must be the case on its CPU.
            pub(super) const fn needs(self) -> Needs {
                match self { $(Self::$name => Needs::$needs,)+ }
            }
        }
    };
}

/// What must be the case on the CPU where something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    IdleCpu,
    Thread,
    ThreadInGuest,
    ThreadOutsideGuests,
}

deeds! {
    /// The idle CPU takes a thread.
    Schedule "schedule", IdleCpu;
    /// The kernel uses registers.
    KernelSection "kernel-section", Nothing;
    /// The CPU that nobody runs on releases tiles.
    Idle "idle", IdleCpu;
    /// The idle CPU loses its registers.
    Sleep "sleep", IdleCpu;
    /// The idle CPU goes offline and comes back.
    Restart "restart", IdleCpu;
    /// A thread or vCPU begins.
    Create "create", Nothing;
    /// A guest that no thread runs grows.
    GrowIdleGuest "grow-idle-guest", Nothing;
    /// A guest gives memory back.
    ReleaseGuest "release-guest", Nothing;
    /// A thread that does not run here grows.
    GrowWaitingThread "grow-waiting-thread", Nothing;
    /// The VMM writes to a guest.
    Vmm "vmm", Nothing;
    /// The current thread is switched out.
    SwitchAway "switch-away", Thread;
    /// The current thread leaves its guest.
    LeaveGuest "leave-guest", ThreadInGuest;
    /// The current thread's guest runs.
    RunGuest "run-guest", ThreadInGuest;
    /// The current thread enters a guest.
    EnterGuest "enter-guest", ThreadOutsideGuests;
    /// The current thread executes code of its own.
    UserCode "user-code", ThreadOutsideGuests;
    /// The current thread gets a signal.
    Signal "signal", ThreadOutsideGuests;
    /// The current thread's handler returns.
    Sigreturn "sigreturn", ThreadOutsideGuests;
    /// The current thread, or its guest, grows for what it needs.
    Grow "grow", Thread;
    /// The current thread gives memory back.
    ReleaseThread "release-thread", Thread;
    /// The current thread's process asks for tiles.
    Request "request", Thread;
    /// The current thread forks.
    Fork "fork", Thread;
    /// The current thread starts a new program.
    Exec "exec", ThreadOutsideGuests;
    /// The current thread ends.
    Exit "exit", Thread;
    /// The current thread's guest gets INIT.
    InitRunningGuest "init-running-guest", ThreadInGuest;
    /// What must be refused.
    Misuse "misuse", Thread;
}

/// One step of a schedule. Whatever else it decides it decides by its own seed, so it does the same
/// in a schedule from which others were taken out, as far as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// What is done.
    pub deed: Deed,
    /// Where.
    pub cpu: u16,
    /// Of all its decisions.
    pub seed: u64,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It was done.
    Done,
    /// It could not be: the world is not as it needs it, as happens in a schedule cut short.
    Skipped,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deed, cpu, seed } = self;
        write!(f, "{} {cpu} {seed:#018x}", deed.name())
    }
}

/// What is wrong with the text of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionError {
    /// It does not have the three words `DEED CPU SEED`.
    Words(usize),
    /// No deed has this name.
    Deed(String),
    /// This is not the number of a CPU.
    Cpu(String),
    /// This is not a seed: `0x` and hexadecimal digits.
    Seed(String),
}

impl fmt::Display for ActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(found) => write!(f, "{found} words instead of DEED CPU SEED"),
            Self::Deed(found) => write!(f, "no deed is called {found:?}"),
            Self::Cpu(found) => write!(f, "{found:?} is not the number of a CPU"),
            Self::Seed(found) => write!(f, "{found:?} is not a seed, 0x and hexadecimal digits"),
        }
    }
}

impl std::error::Error for ActionError {}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let &[deed, cpu, seed] = words.as_slice() else {
            return Err(ActionError::Words(words.len()));
        };
        let digits = seed.strip_prefix("0x");
        let named = |known: &&Deed| known.name() == deed;
        Ok(Self {
            deed: *Deed::ALL
                .iter()
                .find(named)
                .ok_or_else(|| ActionError::Deed(deed.into()))?,
            cpu: cpu.parse().map_err(|_| ActionError::Cpu(cpu.into()))?,
            seed: digits
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| ActionError::Seed(seed.into()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_read_as_it_is_written() {
        for &deed in Deed::ALL {
            let action = Action {
                deed,
                cpu: 63,
                seed: 0x0123_4567_89ab_cdef,
            };
            assert_eq!(action.to_string().parse(), Ok(action));
        }
    }

    #[test]
    fn what_is_no_action_is_refused_with_what_is_wrong() {
        let refusal = |text: &str| text.parse::<Action>().unwrap_err();
        assert_eq!(refusal("grow 1"), ActionError::Words(2));
        assert_eq!(refusal("shrink 1 0x1"), ActionError::Deed("shrink".into()));
        assert_eq!(refusal("grow -1 0x1"), ActionError::Cpu("-1".into()));
        assert_eq!(refusal("grow 1 17"), ActionError::Seed("17".into()));
        assert_eq!(refusal("grow 1 0xg"), ActionError::Seed("0xg".into()));
    }
}
