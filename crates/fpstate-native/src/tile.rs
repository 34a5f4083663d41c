//! TILERELEASE (SDM 2).

use core::arch::asm;

/// TILERELEASE: tile configuration and tile data to their initial configuration.
///
/// # Safety
/// 1. The CPU has AMX-TILE, CR4.OSXSAVE is 1 and XCR0\[18:17\] is 11b; otherwise #UD.
/// 2. No code has a live value in a tile.
#[inline]
pub unsafe fn tilerelease() {
    // SAFETY: 1, 2: the caller's. The instruction touches no memory.
    unsafe {
        asm!(
            "tilerelease",
            clobber_abi("sysv64"),
            options(nostack, preserves_flags, nomem),
        );
    }
}
