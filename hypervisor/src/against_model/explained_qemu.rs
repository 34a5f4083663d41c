//! Differences of QEMU 10.0, TCG.

use fpstate_arch::{Component, Format};

use super::explained::{Explained, Seen};
use super::tested::{Operand, Tested};

/// All of them.
pub const ALL: &[Explained] = &[
    Explained {
        name: "qemu-keeps-no-fop-fip-and-fdp",
        manual: "SDM 1, 8.1.8: the processor stores pointers to the last non-control instruction; 13.5.1 \
                 and 10.5.1 place them in bytes 23:6",
        covers: |seen| {
            seen.legacy_offset().is_some_and(|offset| match offset {
                6..8 => seen.difference.emulator == 0 || seen.is_unwritten_by_emulator(),
                8..24 => seen.difference.emulator == 0,
                _ => false,
            })
        },
    },
    Explained {
        name: "qemu-keeps-reserved-bits-of-fcw",
        manual: "SDM 1, 8.1.5, figure 8-6: bits 7:6 and 15:13 are reserved; what becomes of them is \
                 open. Zen 4 drops them",
        covers: |seen| {
            let bits = seen.difference.model ^ seen.difference.emulator;
            seen.legacy_offset().is_some_and(|offset| match offset {
                0 => bits & 0x3f == 0,
                1 => bits & 0x1f == 0,
                _ => false,
            })
        },
    },
    Explained {
        name: "qemu-keeps-fsw-es-and-b-as-loaded",
        manual: "SDM 1, 8.1.3.3: ES is set if an exception flag is set that FCW does not mask; B mirrors \
                 ES. Zen 4 derives both at a restore",
        covers: |seen| {
            let bits = seen.difference.model ^ seen.difference.emulator;
            matches!(seen.legacy_offset(), Some(2..4)) && bits == 0x80
        },
    },
    Explained {
        name: "qemu-writes-initial-bndregs-with-xsaveopt",
        manual: "SDM 1, 13.9: XSAVEOPT does not save component i if XINUSE[i] = 0",
        covers: |seen| {
            seen.case.tested == Tested::Xsaveopt
                && seen.is_in_area()
                && matches!(seen.component(), Some((Component::BndRegs, _)))
                && seen.is_unwritten_by_model()
                && seen.difference.emulator == 0
        },
    },
    Explained {
        name: "qemu-leaves-reserved-bytes-alone",
        manual: "SDM 1, table 10-2 and 13.5.4: the six bytes above each ST register, and BNDCSR's \
                 bytes 63:16, are reserved",
        covers: |seen| {
            let above_st = |offset| (32..160).contains(&offset) && offset % 16 >= 10;
            let reserved = seen.legacy_offset().is_some_and(above_st)
                || matches!(seen.component(), Some((Component::BndCsr, 16..)));
            seen.is_in_area() && reserved && seen.is_unwritten_by_emulator()
        },
    },
    Explained {
        name: "qemu-saves-mxcsr-for-sse-alone",
        manual: "SDM 1, 13.7: XSAVE writes MXCSR and MXCSR_MASK if RFBM[1] or RFBM[2] is 1",
        covers: |seen| {
            seen.is_in_area()
                && matches!(seen.case.tested, Tested::Xsave | Tested::Xsaveopt)
                && has_avx_alone(seen)
                && matches!(seen.legacy_offset(), Some(24..32))
                && seen.is_unwritten_by_emulator()
        },
    },
    Explained {
        name: "qemu-restores-mxcsr-for-sse-alone",
        manual: "SDM 1, 13.8.1: XRSTOR loads MXCSR if RFBM[1] or RFBM[2] is 1",
        covers: |seen| {
            !seen.is_in_area()
                && seen.case.tested == Tested::Xrstor
                && has_avx_alone(seen)
                && matches!(seen.legacy_offset(), Some(24..28))
        },
    },
    Explained {
        name: "qemu-accepts-reserved-bits-of-mxcsr",
        manual: "SDM 2, XRSTOR and FXRSTOR: #GP(0) for an attempt to write reserved bits of MXCSR",
        covers: |seen| {
            let loads_mxcsr = match seen.case.tested.operand() {
                Operand::Fxrestored => true,
                Operand::Restored => seen.header().format() == Format::Standard,
                Operand::Saved | Operand::Fxsaved | Operand::None => false,
            };
            seen.is_only_refused_by_model() && loads_mxcsr && seen.area_has_reserved_mxcsr_bit()
        },
    },
];

/// RFBM\[2:1\] = 10B.
fn has_avx_alone(seen: &Seen<'_>) -> bool {
    let requested = seen.case.requested();
    requested.contains(Component::Avx) && !requested.contains(Component::Sse)
}
