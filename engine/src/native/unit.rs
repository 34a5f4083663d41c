//! The one assembly unit: carries out steps, enters a guest and comes back.
//!
//! Between the first step and the last no compiled code runs, so the registers hold what the steps
//! put there. The unit itself uses general-purpose registers only.
//!
//! A guest comes back in two ways. By its own call of `fpstate_exit_to_host`, which continues with
//! the step after the guest's: the vector registers are the guest's until a step saves them. Or
//! because a timer signal took it off: the signal handler then leaves to `fpstate_preempted`, which
//! ends the script; the guest's registers are in the signal frame.

#![expect(
    unsafe_code,
    reason = "entry code: assembly that replaces the register state"
)]

use std::arch::global_asm;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr;

use fpstate_arch::ComponentSet;
use fpstate_native::register_moves::{MovePlan, Outcome as Moved, restore_by_moves, save_by_moves};

use crate::pattern::moves::{LoadRoutine, StoreRoutine};
use crate::pattern::{ExitFunction, RegisterImage};
use crate::schedule::script::Outcome;

/// What one step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum StepKind {
    /// Back to Rust.
    End,
    /// XSAVE64 to `pointer`.
    Xsave,
    /// XSAVEOPT64 to `pointer`.
    Xsaveopt,
    /// XSAVEC64 to `pointer`.
    Xsavec,
    /// XRSTOR64 from `pointer`.
    Xrstor,
    /// Registers to `pointer` by the moves that the plan at `routine` is for; then not the next step, which
    /// is the instruction for what they do not cover.
    MovesOut,
    /// `pointer` to registers, likewise.
    MovesIn,
    /// FNCLEX, EMMS, FILD.
    Fild,
    /// Calls `routine` with `pointer`.
    Call,
    /// Enters the guest whose block is at `pointer`.
    Guest,
}

/// One step, as the assembly reads it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Step {
    kind: StepKind,
    rfbm_low: u32,
    rfbm_high: u32,
    reserved: u32,
    pointer: *mut c_void,
    routine: *const c_void,
}

impl Step {
    pub(super) const END: Self = Self::new(
        StepKind::End,
        ComponentSet::EMPTY,
        ptr::null_mut(),
        ptr::null(),
    );

    const fn new(
        kind: StepKind,
        rfbm: ComponentSet,
        pointer: *mut c_void,
        routine: *const c_void,
    ) -> Self {
        let (rfbm_low, rfbm_high) = rfbm.halves();
        Self {
            kind,
            rfbm_low,
            rfbm_high,
            reserved: 0,
            pointer,
            routine,
        }
    }

    /// An instruction on the area at `area`.
    pub(super) const fn instruction(kind: StepKind, area: *mut c_void, rfbm: ComponentSet) -> Self {
        Self::new(kind, rfbm, area, ptr::null())
    }

    /// Moves in place of the next step, an instruction on `area`, if they cover what it does.
    pub(super) const fn moves(kind: StepKind, area: *mut c_void, plan: *const MovePlan) -> Self {
        Self::new(kind, ComponentSet::EMPTY, area, plan.cast())
    }

    /// The error pointers are nobody's from here on.
    pub(super) const OVERWRITE_ERROR_POINTERS: Self = Self::new(
        StepKind::Fild,
        ComponentSet::EMPTY,
        ptr::null_mut(),
        ptr::null(),
    );

    /// Code that puts the image into the registers.
    pub(super) fn load(routine: LoadRoutine, image: *mut RegisterImage) -> Self {
        let routine = routine as *const c_void;
        Self::new(StepKind::Call, ComponentSet::EMPTY, image.cast(), routine)
    }

    /// Code that writes the registers to the image and leaves them to nobody.
    pub(super) fn store(routine: StoreRoutine, image: *mut RegisterImage) -> Self {
        let routine = routine as *const c_void;
        Self::new(StepKind::Call, ComponentSet::EMPTY, image.cast(), routine)
    }

    pub(super) const fn guest(block: *mut GuestBlock) -> Self {
        Self::new(
            StepKind::Guest,
            ComponentSet::EMPTY,
            block.cast(),
            ptr::null(),
        )
    }
}

/// How a guest is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Resume {
    /// By returning from its own call: callee-saved registers and return address on its stack.
    Return,
    /// By IRETQ: all registers in [`GuestBlock::interrupted`].
    Interrupted,
}

/// General-purpose registers of a guest taken off by a signal, in the order the unit pops them,
/// and the frame of IRETQ behind them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Interrupted {
    pub(super) r15: i64,
    pub(super) r14: i64,
    pub(super) r13: i64,
    pub(super) r12: i64,
    pub(super) rbp: i64,
    pub(super) rbx: i64,
    pub(super) r11: i64,
    pub(super) r10: i64,
    pub(super) r9: i64,
    pub(super) r8: i64,
    pub(super) rax: i64,
    pub(super) rcx: i64,
    pub(super) rdx: i64,
    pub(super) rsi: i64,
    pub(super) rdi: i64,
    pub(super) rip: i64,
    pub(super) cs: i64,
    pub(super) rflags: i64,
    pub(super) rsp: i64,
    pub(super) ss: i64,
}

/// What the unit and the signal handler need to know of a guest.
#[derive(Debug)]
#[repr(C)]
pub(super) struct GuestBlock {
    /// The host's stack while the guest runs.
    pub(super) host_rsp: u64,
    /// The guest's stack while it does not, for [`Resume::Return`].
    pub(super) guest_rsp: u64,
    pub(super) resume: Resume,
    /// 1 from before the guest's first instruction until after its last. The unit's own
    /// instructions do not count: the handler knows them by their addresses.
    pub(super) in_guest: u64,
    /// The step after the guest's.
    pub(super) next_step: *const Step,
    pub(super) interrupted: Interrupted,
}

impl Default for GuestBlock {
    /// A guest without a stack, which cannot be entered yet.
    fn default() -> Self {
        Self {
            host_rsp: 0,
            guest_rsp: 0,
            resume: Resume::Return,
            in_guest: 0,
            next_step: ptr::null(),
            interrupted: Interrupted::default(),
        }
    }
}

unsafe extern "sysv64" {
    fn fpstate_carry_out(steps: *const Step) -> u64;
    fn fpstate_exit_to_host(block: *mut c_void);
    fn fpstate_preempted();
    fn fpstate_guest_start();
    static fpstate_unit_end: u8;
}

/// Carries out `steps`, which end with [`Step::END`].
///
/// # Safety
/// 1. Each instruction's area is aligned to 64, long enough for its RFBM, and nobody else's while
///    this runs; an area to restore holds an image that XRSTOR accepts.
/// 2. Each register image is valid and nobody else's while this runs, and the CPU has the registers
///    of its routine.
/// 3. A guest's block has a stack that its code may use, and the guest runs on no other thread.
/// 4. Signal handlers run on an alternate stack.
/// 5. A plan of moves is for this CPU and its XCR0, its reach is within the area, and the step behind is the
///    instruction.
pub(super) unsafe fn carry_out(steps: &[Step]) -> Outcome {
    // SAFETY: 1. to 5. are the caller's promises. The unit ends with the ABI's MXCSR and x87
    // control word, and all other registers it changes are caller-saved or put back.
    let outcome = unsafe { fpstate_carry_out(steps.as_ptr()) };
    if outcome == 0 {
        Outcome::Completed
    } else {
        Outcome::Preempted
    }
}

/// The call by which a guest comes back; its argument is the guest's [`GuestBlock`].
pub(super) const EXIT_TO_HOST: ExitFunction = fpstate_exit_to_host;

/// Where a guest begins, with arguments in callee-saved registers: calls R12 with R13, then R14
/// with RBX, and never returns.
pub(super) fn guest_start() -> u64 {
    address_of(fpstate_guest_start)
}

/// Where the signal handler leaves to.
pub(super) fn preempted() -> u64 {
    address_of(fpstate_preempted)
}

/// Whether `rip` is in the unit, where a guest cannot be taken off.
pub(super) fn contains(rip: u64) -> bool {
    let start = fpstate_carry_out as *const () as u64;
    let end = &raw const fpstate_unit_end as u64;
    (start..end).contains(&rip)
}

fn address_of(routine: unsafe extern "sysv64" fn()) -> u64 {
    routine as *const () as u64
}

const _: () = assert!(size_of::<Step>() == 32 && offset_of!(Step, pointer) == 16);
const _: () = assert!(offset_of!(Step, routine) == 24 && offset_of!(Step, rfbm_low) == 4);
const _: () = assert!(offset_of!(GuestBlock, interrupted) == 40);
const _: () = assert!(offset_of!(Interrupted, rip) == 15 * 8);

global_asm!(
    ".pushsection .text.fpstate_unit, \"ax\", @progbits",
    ".globl fpstate_carry_out",
    "fpstate_carry_out:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    // Keeps calls aligned to 16, and is where MXCSR is loaded from at the end.
    "sub rsp, 8",
    "mov rbx, rdi",
    "2:", // the next step
    "mov ecx, [rbx]",
    "mov eax, [rbx + 4]",
    "mov edx, [rbx + 8]",
    "mov rdi, [rbx + 16]",
    "mov rsi, [rbx + 24]",
    "add rbx, 32",
    "cmp ecx, {xrstor}",
    "je 3f",
    "cmp ecx, {xsavec}",
    "je 4f",
    "cmp ecx, {call}",
    "je 5f",
    "cmp ecx, {guest}",
    "je 6f",
    "cmp ecx, {xsave}",
    "je 7f",
    "cmp ecx, {xsaveopt}",
    "je 8f",
    "cmp ecx, {fild}",
    "je 12f",
    "cmp ecx, {moves_out}",
    "je 13f",
    "cmp ecx, {moves_in}",
    "je 14f",
    "xor eax, eax",
    "jmp 9f",
    "3:",
    "xrstor64 [rdi]",
    "jmp 2b",
    "4:",
    "xsavec64 [rdi]",
    "jmp 2b",
    "5:",
    "call rsi",
    "jmp 2b",
    "7:",
    "xsave64 [rdi]",
    "jmp 2b",
    "8:",
    "xsaveopt64 [rdi]",
    "jmp 2b",
    "13:",
    "call {save_by_moves}",
    "cmp edx, {done}",
    "jne 2b",
    "add rbx, 32", // without the instruction
    "jmp 2b",
    "14:", // what is in use is not known
    "xor edx, edx",
    "xor ecx, ecx",
    "call {restore_by_moves}",
    "cmp edx, {done}",
    "jne 2b",
    "add rbx, 32",
    "jmp 2b",
    "12:", // of whatever the stack has
    "fnclex",
    "emms",
    "fild dword ptr [rsp]",
    "jmp 2b",
    "6:", // into the guest
    "mov [rdi + {next_step}], rbx",
    "mov [rdi + {host_rsp}], rsp",
    "mov qword ptr [rdi + {in_guest}], 1",
    "cmp qword ptr [rdi + {resume}], {interrupted_kind}",
    "je 10f",
    "mov rsp, [rdi + {guest_rsp}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    "10:", // the block serves as the stack: signals come on an alternate one
    "lea rsp, [rdi + {interrupted}]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "iretq",
    ".globl fpstate_exit_to_host",
    "fpstate_exit_to_host:",
    "push rbp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rdi + {guest_rsp}], rsp",
    "mov qword ptr [rdi + {resume}], {return_kind}",
    "mov qword ptr [rdi + {in_guest}], 0",
    "mov rsp, [rdi + {host_rsp}]",
    "mov rbx, [rdi + {next_step}]",
    "jmp 2b",
    ".globl fpstate_preempted",
    "fpstate_preempted:",
    "mov eax, 1",
    "9:", // back to Rust: the ABI's control registers
    "fninit",
    "mov dword ptr [rsp], 0x1f80",
    "ldmxcsr [rsp]",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl fpstate_guest_start",
    "fpstate_guest_start:",
    "mov rdi, r13",
    "call r12",
    "mov rdi, rbx",
    "call r14",
    "ud2",
    ".globl fpstate_unit_end",
    "fpstate_unit_end:",
    ".popsection",
    xsave = const StepKind::Xsave as u32,
    xsaveopt = const StepKind::Xsaveopt as u32,
    xsavec = const StepKind::Xsavec as u32,
    xrstor = const StepKind::Xrstor as u32,
    fild = const StepKind::Fild as u32,
    moves_out = const StepKind::MovesOut as u32,
    moves_in = const StepKind::MovesIn as u32,
    save_by_moves = sym save_by_moves,
    restore_by_moves = sym restore_by_moves,
    done = const Moved::DONE,
    call = const StepKind::Call as u32,
    guest = const StepKind::Guest as u32,
    return_kind = const Resume::Return as u32,
    interrupted_kind = const Resume::Interrupted as u32,
    host_rsp = const offset_of!(GuestBlock, host_rsp),
    guest_rsp = const offset_of!(GuestBlock, guest_rsp),
    resume = const offset_of!(GuestBlock, resume),
    in_guest = const offset_of!(GuestBlock, in_guest),
    next_step = const offset_of!(GuestBlock, next_step),
    interrupted = const offset_of!(GuestBlock, interrupted),
);
