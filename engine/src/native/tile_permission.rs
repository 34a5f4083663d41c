//! Asks the kernel for the permission to use tiles.

#![expect(unsafe_code, reason = "a system call")]

use fpstate_arch::{Component, Enumeration};
use nix::errno::Errno;
use nix::libc;

use crate::report::TileGuests;

/// arch/x86/include/uapi/asm/prctl.h
const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;

/// Asks for tile data, where the CPU has it. The process keeps the permission.
pub(super) fn ask_for_tiles(cpu: &Enumeration) -> TileGuests {
    let has_tile_data = cpu.xfd_components().contains(Component::TileData);
    if !has_tile_data || cpu.tiles().palette_1().is_none() {
        return TileGuests::NoAmx;
    }
    let component = libc::c_ulong::from(Component::TileData.number());
    // SAFETY: arch_prctl with this operation takes a number and touches no memory of the process.
    let done = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, component) };
    match Errno::result(done) {
        Ok(_) => TileGuests::ModelOnly,
        Err(errno) => TileGuests::Refused {
            errno: errno as i32,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::{CpuidRegisters, CpuidSource};

    struct NoLeaf;

    impl CpuidSource for NoLeaf {
        fn cpuid(&mut self, _leaf: u32, _subleaf: u32) -> CpuidRegisters {
            CpuidRegisters::default()
        }
    }

    #[test]
    fn the_kernel_is_not_asked_where_the_cpu_has_no_tiles() {
        let cpu = Enumeration::read(NoLeaf);
        assert_eq!(ask_for_tiles(&cpu), TileGuests::NoAmx);
    }
}
