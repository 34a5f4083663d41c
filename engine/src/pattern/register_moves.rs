//! The assembly, safe to call: load a pattern, wait, store what is found.

#![expect(unsafe_code, reason = "calls the assembly of `moves`")]

use super::hold_control::HoldControl;
use super::moves::{self, HoldRoutine, LoadRoutine, StoreRoutine};
use super::register_image::RegisterImage;
use super::register_width::RegisterWidth;

/// The routines for one width; who holds it holds the proof that this CPU executes them.
#[derive(Clone, Copy, Debug)]
pub struct RegisterMoves {
    width: RegisterWidth,
    load: LoadRoutine,
    store: StoreRoutine,
    hold: HoldRoutine,
}

impl RegisterMoves {
    /// The routines for `width`, or `None` where the CPU does not have it.
    #[must_use]
    pub fn for_width(width: RegisterWidth) -> Option<Self> {
        let (load, store, hold): (LoadRoutine, StoreRoutine, HoldRoutine) = match width {
            RegisterWidth::Xmm => (
                moves::load_registers_xmm,
                moves::store_registers_xmm,
                moves::hold_xmm,
            ),
            RegisterWidth::Ymm => (
                moves::load_registers_ymm,
                moves::store_registers_ymm,
                moves::hold_ymm,
            ),
            RegisterWidth::ZmmShortOpmasks => (
                moves::load_registers_zmm_short_opmasks,
                moves::store_registers_zmm_short_opmasks,
                moves::hold_zmm_short_opmasks,
            ),
            RegisterWidth::Zmm => (
                moves::load_registers_zmm,
                moves::store_registers_zmm,
                moves::hold_zmm,
            ),
        };
        width.is_available().then_some(Self {
            width,
            load,
            store,
            hold,
        })
    }

    /// The width of the registers moved.
    #[must_use]
    pub const fn width(self) -> RegisterWidth {
        self.width
    }

    /// `load_registers_…`, for assembly that goes on with the values live.
    #[must_use]
    pub const fn load_routine(self) -> LoadRoutine {
        self.load
    }

    /// `store_registers_…`, for assembly that comes with the values live.
    #[must_use]
    pub const fn store_routine(self) -> StoreRoutine {
        self.store
    }

    /// Loads `pattern` into the registers, waits as `how` says, and stores the registers into
    /// `found`. FCW and MXCSR are back at the ABI's initial values afterwards.
    ///
    /// Bytes of `found` that the width does not reach keep their value. Needs less than 128 bytes
    /// of stack besides what the exit function needs.
    pub fn hold(self, pattern: &RegisterImage, found: &mut RegisterImage, how: &HoldControl) {
        // SAFETY:
        // 1. The width is available: `for_width` has asked.
        // 2. The pointers come from references, `found` from an exclusive one.
        // 3. The image's MXCSR is from `Patterns`, from the initial configuration or from STMXCSR.
        // And the exit function is callable: promised to `HoldControl::exit`.
        unsafe { (self.hold)(pattern, found, how) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::comparison::{Comparison, compare};
    use crate::pattern::generate::Patterns;
    use crate::pattern::hold_control::ExitFunction;
    use std::arch::naked_asm;
    use std::ffi::c_void;
    use std::ptr;

    fn available_moves() -> impl Iterator<Item = RegisterMoves> {
        RegisterWidth::ALL
            .into_iter()
            .filter_map(RegisterMoves::for_width)
    }

    /// DAZ is on every x86-64 CPU these tests run on.
    fn patterns(width: RegisterWidth) -> Patterns {
        Patterns::new(width, 0xffff)
    }

    fn full_pattern(width: RegisterWidth) -> RegisterImage {
        (0..)
            .map(|generation| patterns(width).pattern(3, generation))
            .find(|image| image.in_use() == width.components() && image.st_is_occupied(7))
            .unwrap()
    }

    #[test]
    fn a_pattern_loaded_is_the_pattern_stored_in_every_register() {
        for moves in available_moves() {
            let patterns = patterns(moves.width());
            for generation in 0..2000 {
                let pattern = patterns.pattern(1, generation);
                // Another pattern, so that a register not stored is seen.
                let mut found = patterns.pattern(2, generation);
                moves.hold(&pattern, &mut found, &HoldControl::spin(generation));
                let comparison = compare(&pattern, &found, moves.width());
                assert_eq!(comparison.first, None, "{moves:?} {generation}");
                assert_eq!(comparison.checked, moves.width().registers_per_check());
            }
        }
    }

    #[test]
    fn the_initial_configuration_can_be_loaded_too() {
        for moves in available_moves() {
            let initial = RegisterImage::initial_configuration();
            let mut found = full_pattern(moves.width());
            moves.hold(&initial, &mut found, &HoldControl::spin(0));
            assert_eq!(compare(&initial, &found, moves.width()).first, None);
        }
    }

    #[test]
    fn what_was_stored_can_be_loaded_again() {
        for moves in available_moves() {
            let pattern = full_pattern(moves.width());
            let mut first = RegisterImage::initial_configuration();
            moves.hold(&pattern, &mut first, &HoldControl::spin(0));
            let mut second = RegisterImage::initial_configuration();
            moves.hold(&first, &mut second, &HoldControl::spin(0));
            assert_eq!(compare(&pattern, &second, moves.width()).first, None);
        }
    }

    #[test]
    fn rust_code_after_a_hold_has_the_control_registers_of_the_abi() {
        for moves in available_moves() {
            let mut image = full_pattern(moves.width());
            let pattern = image;
            moves.hold(&pattern, &mut image, &HoldControl::spin(0));
            // SAFETY: the width is available, and the pointer is from an exclusive reference.
            unsafe { (moves.store_routine())(&raw mut image) };
            let initial = RegisterImage::initial_configuration();
            assert_eq!(image.tag_word(), initial.tag_word());
            assert_eq!((image.fcw(), image.fsw()), (initial.fcw(), initial.fsw()));
            assert_eq!(image.mxcsr().bits() & !0x3f, initial.mxcsr().bits());
        }
    }

    #[test]
    fn the_exit_function_gets_its_context_on_an_aligned_stack() {
        #[unsafe(naked)]
        unsafe extern "sysv64" fn note_the_stack(_context: *mut c_void) {
            naked_asm!("mov [rdi], rsp", "ret")
        }
        for moves in available_moves() {
            let (pattern, mut stack) = (full_pattern(moves.width()), 0u64);
            let mut found = RegisterImage::initial_configuration();
            let context = (&raw mut stack).cast();
            // SAFETY: 1. `note_the_stack` writes eight bytes to `stack`. 2. It uses no float.
            let how = unsafe { HoldControl::exit(10, note_the_stack, context) };
            moves.hold(&pattern, &mut found, &how);
            // The call has pushed eight bytes.
            assert_eq!(stack % 16, 8);
            assert_eq!(compare(&pattern, &found, moves.width()).first, None);
        }
    }

    /// Defines a function that changes one thing in the registers, for the tests to find.
    macro_rules! change {
        ($name:ident, $($text:literal),+) => {
            #[unsafe(naked)]
            unsafe extern "sysv64" fn $name(_context: *mut c_void) {
                naked_asm!($($text,)+ "ret")
            }
        };
    }
    change!(clear_xmm3, "pxor xmm3, xmm3");
    change!(clear_upper_half_of_ymm7, "vmovaps xmm7, xmm7");
    change!(clear_upper_halves, "vzeroupper");
    change!(clear_zmm19, "vpxord zmm19, zmm19, zmm19");
    change!(clear_upper_half_of_zmm5, "vmovaps ymm5, ymm5");
    change!(clear_k3, "kxorw k3, k3, k3");
    change!(
        negate_st2, "fincstp", "fincstp", "fchs", "fdecstp", "fdecstp"
    );
    change!(empty_st4, "ffree st(4)");
    change!(empty_x87, "emms");
    change!(rotate_x87, "fincstp");
    change!(
        flip_rounding,
        "push rax",
        "fnstcw [rsp]",
        "xor word ptr [rsp], 0x400",
        "fldcw [rsp]",
        "pop rax"
    );
    change!(
        flip_ftz,
        "push rax",
        "stmxcsr [rsp]",
        "xor word ptr [rsp], 0x8000",
        "ldmxcsr [rsp]",
        "pop rax"
    );
    change!(
        flip_sticky_flag,
        "sub rsp, 40",
        "fnstenv [rsp]",
        "xor word ptr [rsp + 4], 0x20",
        "fldenv [rsp]",
        "add rsp, 40"
    );

    fn hold_across(moves: RegisterMoves, change: ExitFunction) -> Comparison {
        let pattern = full_pattern(moves.width());
        let mut found = RegisterImage::initial_configuration();
        // SAFETY: the functions of `change!` need no context and compute with no float.
        let how = unsafe { HoldControl::exit(0, change, ptr::null_mut()) };
        moves.hold(&pattern, &mut found, &how);
        compare(&pattern, &found, moves.width())
    }

    fn first_mismatch(width: RegisterWidth, change: ExitFunction) -> Option<String> {
        let moves = RegisterMoves::for_width(width)?;
        let mismatch = hold_across(moves, change).first.unwrap();
        Some(mismatch.register.to_string())
    }

    #[test]
    fn a_register_changed_between_load_and_store_is_named() {
        use RegisterWidth::{Xmm, Ymm, Zmm, ZmmShortOpmasks};
        let changes: [(RegisterWidth, ExitFunction, &str); 17] = [
            (Xmm, clear_xmm3, "XMM3"),
            (Xmm, negate_st2, "ST2"),
            (Xmm, empty_st4, "ST4"),
            (Xmm, empty_x87, "ST0"),
            (Xmm, rotate_x87, "ST0"),
            (Xmm, flip_rounding, "FCW"),
            (Xmm, flip_ftz, "MXCSR"),
            (Xmm, flip_sticky_flag, "FSW"),
            (Ymm, clear_xmm3, "YMM3"),
            (Ymm, clear_upper_half_of_ymm7, "YMM7"),
            (Ymm, clear_upper_halves, "YMM0"),
            (Zmm, clear_zmm19, "ZMM19"),
            (Zmm, clear_upper_half_of_zmm5, "ZMM5"),
            (Zmm, clear_k3, "K3"),
            (Zmm, clear_upper_halves, "ZMM0"),
            (ZmmShortOpmasks, clear_k3, "K3"),
            (ZmmShortOpmasks, flip_ftz, "MXCSR"),
        ];
        for (width, change, name) in changes {
            // `None` where the CPU lacks the width.
            if let Some(found) = first_mismatch(width, change) {
                assert_eq!(found, name, "{width:?}");
            }
        }
    }

    #[test]
    fn a_change_beyond_the_width_is_no_mismatch() {
        if RegisterWidth::Zmm.is_available() {
            let narrow = RegisterMoves::for_width(RegisterWidth::Ymm).unwrap();
            assert!(hold_across(narrow, clear_zmm19).is_equal());
            assert!(hold_across(narrow, clear_k3).is_equal());
        }
    }
}
