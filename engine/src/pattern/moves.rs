//! The assembly: every register from an image, every register into an image, and the two around a
//! wait.
//!
//! Three routines for each [`RegisterWidth`](super::RegisterWidth):
//!
//! * `load_registers_…` fills every register and returns with the values live. No Rust code can
//!   follow it: the x87 stack is full, MXCSR and FCW round as the pattern says, and the compiler
//!   takes the vector registers for its own.
//! * `store_registers_…` writes every register to the image and leaves an empty x87 stack, FCW and
//!   MXCSR as the ABI wants them and clean upper halves: Rust code can follow.
//! * `hold_…` is a load, then the wait of a [`HoldControl`], then a store, in one routine. Rust
//!   calls it through [`RegisterMoves`](super::RegisterMoves).
//!
//! They use no red zone, no absolute address and no memory but the stack and their arguments.
//!
//! # Safety
//!
//! All of them need:
//! 1. their width to be available ([`RegisterWidth::is_available`](super::RegisterWidth)), else
//!    they raise #UD;
//! 2. valid pointers, and exclusive ones where they write;
//! 3. an MXCSR in the image that the CPU accepts, else LDMXCSR raises #GP; every image from
//!    [`Patterns`](super::Patterns) with the right MXCSR_MASK has one.

#![expect(
    unsafe_code,
    reason = "the moves between registers and memory are assembly"
)]

use std::arch::naked_asm;
use std::mem::offset_of;

use super::hold_control::HoldControl;
use super::register_image::{RegisterImage, VectorForm};

/// The type of `load_registers_…`.
pub type LoadRoutine = unsafe extern "sysv64" fn(*const RegisterImage);
/// The type of `store_registers_…`.
pub type StoreRoutine = unsafe extern "sysv64" fn(*mut RegisterImage);
/// The type of `hold_…`.
pub type HoldRoutine =
    unsafe extern "sysv64" fn(*const RegisterImage, *mut RegisterImage, *const HoldControl);

/// Moves vectors 0 to 15 from the image at RDI.
macro_rules! load_first_16 {
    ($move:literal, $register:literal) => {
        concat!(
            ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
            $move,
            " ",
            $register,
            "\\r, [rdi + {vectors} + 64*\\r]\n",
            ".endr\n"
        )
    };
}

/// Moves vectors 0 to 15 to the image at RDI.
macro_rules! store_first_16 {
    ($move:literal, $register:literal) => {
        concat!(
            ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
            $move,
            " [rdi + {vectors} + 64*\\r], ",
            $register,
            "\\r\n",
            ".endr\n"
        )
    };
}

/// Vectors 0 to 15 by the image's vector form; VZEROALL makes the rest initial.
macro_rules! load_by_form {
    ($whole:literal) => {
        concat!(
            "vzeroall\n",
            "cmp dword ptr [rdi + {form}], {form_xmm}\n",
            "jb 5f\n",
            "je 4f\n",
            "cmp dword ptr [rdi + {form}], {form_ymm}\n",
            "je 3f\n",
            load_first_16!("vmovups", $whole),
            "jmp 5f\n",
            "3:\n",
            load_first_16!("vmovups", "ymm"),
            "jmp 5f\n",
            "4:\n",
            load_first_16!("movups", "xmm"),
            "5:\n",
        )
    };
}

macro_rules! load_hi16_zmm_and_opmasks {
    ($kmov:literal) => {
        concat!(
            ".irp r, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n",
            "vmovups zmm\\r, [rdi + {vectors} + 64*\\r]\n",
            ".endr\n",
            ".irp r, 0,1,2,3,4,5,6,7\n",
            $kmov,
            " k\\r, [rdi + {opmasks} + 8*\\r]\n",
            ".endr\n"
        )
    };
}

macro_rules! store_hi16_zmm_and_opmasks {
    ($kmov:literal) => {
        concat!(
            ".irp r, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n",
            "vmovups [rdi + {vectors} + 64*\\r], zmm\\r\n",
            ".endr\n",
            ".irp r, 0,1,2,3,4,5,6,7\n",
            $kmov,
            " [rdi + {opmasks} + 8*\\r], k\\r\n",
            ".endr\n"
        )
    };
}

/// The x87 state and MXCSR from the image at RDI. Uses RAX and 32 bytes of stack.
///
/// The first FLDENV empties the stack at the image's TOP, eight FLDs bring TOP round to the same
/// place, and the second one sets what FLD changed and empties the registers that the tag word
/// calls empty. FLD of 80 bits converts nothing. An untouched empty stack ends with FNINIT: with the
/// zeros loaded before, that is the initial configuration (XINUSE\[0\] becomes 0; seen on AMD).
macro_rules! load_x87_and_mxcsr {
    () => {
        "
        ldmxcsr [rdi + {mxcsr}]
        fninit
        sub rsp, 32
        xor eax, eax
        mov [rsp + 12], rax
        mov [rsp + 20], rax
        mov ax, [rdi + {fcw}]
        mov [rsp], eax
        mov ax, [rdi + {fsw}]
        mov [rsp + 4], eax
        mov dword ptr [rsp + 8], 0xffff
        fldenv [rsp]
        .irp r, 7,6,5,4,3,2,1,0
        fld tbyte ptr [rdi + {st} + 16*\\r]
        .endr
        mov ax, [rdi + {tag_word}]
        mov [rsp + 8], eax
        fldenv [rsp]
        cmp ax, -1
        jne 6f
        cmp word ptr [rdi + {fsw}], 0
        jne 6f
        fninit
        fldcw [rsp]
        6:
        add rsp, 32
        "
    };
}

/// MXCSR and the x87 state to the image at RDI, and then the state that the ABI wants. Uses RAX and
/// 32 bytes of stack. FNSTENV gives FCW, FSW and the tag word as they are before the pops.
macro_rules! store_x87_and_mxcsr {
    () => {
        "
        stmxcsr [rdi + {mxcsr}]
        mov dword ptr [rdi + {form}], {form_whole}
        sub rsp, 32
        fnstenv [rsp]
        mov ax, [rsp]
        mov [rdi + {fcw}], ax
        mov ax, [rsp + 4]
        mov [rdi + {fsw}], ax
        mov ax, [rsp + 8]
        mov [rdi + {tag_word}], ax
        .irp r, 0,1,2,3,4,5,6,7
        fstp tbyte ptr [rdi + {st} + 16*\\r]
        .endr
        fninit
        mov dword ptr [rsp], 0x1f80
        ldmxcsr [rsp]
        add rsp, 32
        "
    };
}

/// Keeps the arguments across the call and aligns the stack for it.
macro_rules! hold_begin {
    () => {
        "
        push rbx
        push rbp
        sub rsp, 8
        mov rbx, rsi
        mov rbp, rdx
        "
    };
}

/// The wait: `spins` turns, then the exit function, if there is one.
macro_rules! hold_wait {
    () => {
        "
        mov rcx, [rbp + {spins}]
        test rcx, rcx
        jz 9f
        8:
        dec rcx
        jnz 8b
        9:
        mov rax, [rbp + {exit}]
        test rax, rax
        jz 2f
        mov rdi, [rbp + {context}]
        call rax
        2:
        mov rdi, rbx
        "
    };
}

macro_rules! hold_end {
    () => {
        "
        add rsp, 8
        pop rbp
        pop rbx
        ret
        "
    };
}

/// One routine of these texts. The comment at its end is there because every operand must be named.
macro_rules! routine {
    ($($text:expr),*) => {
        naked_asm!(
            $($text,)*
            "# {vectors} {opmasks} {st} {fcw} {fsw} {tag_word} {mxcsr} {form}",
            "# {form_xmm} {form_ymm} {form_whole} {spins} {exit} {context}",
            vectors = const offset_of!(RegisterImage, vectors),
            opmasks = const offset_of!(RegisterImage, opmasks),
            st = const offset_of!(RegisterImage, st),
            fcw = const offset_of!(RegisterImage, fcw),
            fsw = const offset_of!(RegisterImage, fsw),
            tag_word = const offset_of!(RegisterImage, tag_word),
            mxcsr = const offset_of!(RegisterImage, mxcsr),
            form = const offset_of!(RegisterImage, vector_form),
            form_xmm = const VectorForm::Xmm as u32,
            form_ymm = const VectorForm::Ymm as u32,
            form_whole = const VectorForm::Whole as u32,
            spins = const offset_of!(HoldControl, spins),
            exit = const offset_of!(HoldControl, exit),
            context = const offset_of!(HoldControl, context),
        )
    };
}

/// The three routines of one width, from the text of its loads and its stores.
macro_rules! routines {
    ($width:literal, $load:ident, $store:ident, $hold:ident,
     $load_vectors:expr, $store_vectors:expr, $clean:literal) => {
        #[doc = concat!("Loads every register of ", $width, " and returns with the values live.")]
        ///
        /// # Safety
        /// The module's conditions; and the caller is assembly that expects its registers changed.
        #[unsafe(naked)]
        pub unsafe extern "sysv64" fn $load(_image: *const RegisterImage) {
            routine!($load_vectors, load_x87_and_mxcsr!(), "ret")
        }

        #[doc = concat!("Stores every register of ", $width, " and makes them fit for Rust code.")]
        ///
        /// # Safety
        /// The module's conditions.
        #[unsafe(naked)]
        pub unsafe extern "sysv64" fn $store(_image: *mut RegisterImage) {
            routine!($store_vectors, store_x87_and_mxcsr!(), $clean, "ret")
        }

        #[doc = concat!("Loads every register of ", $width, ", waits as told, and stores them.")]
        ///
        /// # Safety
        /// The module's conditions, and the conditions of [`HoldControl::exit`].
        #[unsafe(naked)]
        pub unsafe extern "sysv64" fn $hold(
            _pattern: *const RegisterImage,
            _found: *mut RegisterImage,
            _how: *const HoldControl,
        ) {
            routine!(
                hold_begin!(),
                $load_vectors,
                load_x87_and_mxcsr!(),
                hold_wait!(),
                $store_vectors,
                store_x87_and_mxcsr!(),
                $clean,
                hold_end!()
            )
        }
    };
}

routines!(
    "XMM",
    load_registers_xmm,
    store_registers_xmm,
    hold_xmm,
    load_first_16!("movups", "xmm"),
    store_first_16!("movups", "xmm"),
    ""
);

routines!(
    "YMM",
    load_registers_ymm,
    store_registers_ymm,
    hold_ymm,
    load_by_form!("ymm"),
    store_first_16!("vmovups", "ymm"),
    "vzeroupper"
);

routines!(
    "ZMM without AVX512BW",
    load_registers_zmm_short_opmasks,
    store_registers_zmm_short_opmasks,
    hold_zmm_short_opmasks,
    concat!(load_by_form!("zmm"), load_hi16_zmm_and_opmasks!("kmovw")),
    concat!(
        store_first_16!("vmovups", "zmm"),
        store_hi16_zmm_and_opmasks!("kmovw")
    ),
    "vzeroupper"
);

routines!(
    "ZMM",
    load_registers_zmm,
    store_registers_zmm,
    hold_zmm,
    concat!(load_by_form!("zmm"), load_hi16_zmm_and_opmasks!("kmovq")),
    concat!(
        store_first_16!("vmovups", "zmm"),
        store_hi16_zmm_and_opmasks!("kmovq")
    ),
    "vzeroupper"
);
