//! Which emulator, and what it is asked for if nobody says.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::emulation::{Boot, Emulation, EmulationError};
use crate::{bochs, qemu};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Machine {
    /// QEMU without KVM: qemu-system-x86_64
    Qemu,
    /// Bochs 3
    Bochs,
}

impl Machine {
    pub(crate) fn default_cpu(self) -> &'static str {
        match self {
            Self::Qemu => "max",
            Self::Bochs => "sapphire_rapids",
        }
    }

    /// Many times what it takes; a machine that hangs must end all the same.
    pub(crate) fn default_limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Qemu => 300,
            Self::Bochs => 900,
        })
    }

    pub(crate) fn prepare(self, boot: &Boot<'_>) -> Result<Emulation, EmulationError> {
        match self {
            Self::Qemu => qemu::prepare(boot),
            Self::Bochs => bochs::prepare(boot),
        }
    }
}
