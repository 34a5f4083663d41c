//! Which ports and MSRs exit: all, unless somebody says otherwise.

use alloc::boxed::Box;

use crate::page::physical;
use crate::vcpu::MsrAccess;

/// A bit for each port (AMD APM 2, 15.10.1).
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct IoPermissions([u8; 3 * 4096]);

impl IoPermissions {
    /// All ports exit.
    pub fn all_exit() -> Box<Self> {
        Box::new(Self([0xff; 3 * 4096]))
    }

    /// For the control block.
    pub fn address(&self) -> u64 {
        physical(self)
    }
}

/// Two bits for each MSR, reads and writes (AMD APM 2, 15.11).
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct MsrPermissions([u8; 2 * 4096]);

const READS: u8 = 1;
const WRITES: u8 = 2;
/// MSRs that each of the three vectors covers, from these numbers on.
const VECTORS: [u32; 3] = [0, 0xc000_0000, 0xc001_0000];
const VECTOR_MSRS: u32 = 0x2000;
const VECTOR_LEN: usize = 0x800;

impl MsrPermissions {
    /// All MSRs exit.
    pub fn all_exit() -> Box<Self> {
        Box::new(Self([0xff; 2 * 4096]))
    }

    /// For the control block.
    pub fn address(&self) -> u64 {
        physical(self)
    }

    /// Says which accesses to `msr` exit; those of MSRs that no vector covers always do.
    pub fn set(&mut self, msr: u32, access: MsrAccess) {
        let bits = match access {
            MsrAccess::PassedThrough => 0,
            MsrAccess::WritesExit => WRITES,
            MsrAccess::Exits => READS | WRITES,
        };
        for (first, vector) in VECTORS.into_iter().zip(0..) {
            if let Some(number @ 0..VECTOR_MSRS) = msr.checked_sub(first) {
                let byte = &mut self.0[vector * VECTOR_LEN + number as usize / 4];
                let shift = number % 4 * 2;
                *byte = *byte & !((READS | WRITES) << shift) | bits << shift;
            }
        }
    }
}
