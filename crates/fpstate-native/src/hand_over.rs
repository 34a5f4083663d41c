//! Registers that outlive a function call where the compiler uses them too.
//!
//! Between two instructions that a process executes through [`Processor`](fpstate_arch::Processor)
//! compiled code runs, and it uses vector registers and MXCSR as it likes. So the registers'
//! contents are handed over in memory: a block restores them from there, executes the instruction,
//! saves them again if it changed them, and leaves the registers to the compiler as the compiler
//! expects them.
//!
//! A block is one `asm!`: nothing that is compiled comes in between.

use core::arch::asm;
use core::mem::offset_of;
use core::ptr;

use fpstate_arch::{ComponentSet, Fault, LegacyRegion};

use crate::initial_image::INITIAL_IMAGE;
use crate::register_moves::{MovePlan, Outcome, restore_by_moves, save_by_moves};

/// How the registers' contents lie in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// These components, by XSAVE64 in the standard format.
    Xsave(ComponentSet),
    /// x87 and SSE by FXSAVE64: the CPU has no XSAVE, or the operating system does not use it.
    Fxsave,
}

/// The memory with the contents of the registers.
///
/// # Invariants
/// 1. `memory` is aligned to 64 and has room for what `form` says, in that format.
/// 2. It holds an image that XRSTOR64, or FXRSTOR64, takes without an exception.
#[derive(Debug)]
pub(crate) struct HandOver<'m> {
    memory: &'m mut [u8],
    form: Form,
}

impl<'m> HandOver<'m> {
    /// The registers in the initial configuration.
    ///
    /// # Safety
    /// 1. `memory` is aligned to 64 and has room for what `form` says, in that format: 512 bytes,
    ///    or 576 and the extended components.
    /// 2. For [`Form::Xsave`] the CPU has XSAVE, CR4.OSXSAVE is 1, the components are in XCR0,
    ///    x87 and SSE are among them, and IA32_XFD disables none while the value lives.
    pub(crate) unsafe fn initial(memory: &'m mut [u8], form: Form) -> Self {
        memory.fill(0);
        if let Some(legacy) = memory.first_chunk_mut() {
            LegacyRegion::INITIAL.write_to(legacy);
        }
        Self { memory, form }
    }

    /// Hands over `components` too; they are initial. Without effect on [`Form::Fxsave`].
    ///
    /// # Safety
    /// As [`initial`](Self::initial), 1 and 2, for the larger set.
    pub(crate) const unsafe fn include(&mut self, components: ComponentSet) {
        if let Form::Xsave(own) = self.form {
            // Their bits in XSTATE_BV are 0: XSAVE64 of the smaller set never wrote them.
            self.form = Form::Xsave(own.union(components));
        }
    }

    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    /// Executes `block` with the registers as handed over, `area` in its operand and `set` in
    /// EDX:EAX; returns EDX:EAX, which only XGETBV changes.
    ///
    /// # Errors
    /// #UD if the block needs XSAVE and the registers are handed over without.
    ///
    /// # Safety
    /// The conditions of the block's instruction, but for what becomes of the registers.
    pub(crate) unsafe fn execute(
        &mut self,
        block: Block,
        area: *mut u8,
        set: ComponentSet,
    ) -> Result<ComponentSet, Fault> {
        let frame = Frame {
            area,
            ..Frame::with(set)
        };
        // SAFETY: the caller's.
        let frame = unsafe { self.run(block, frame) }?;
        Ok(ComponentSet::from_halves(frame.low, frame.high))
    }

    /// Executes `block`, which calls a routine of register moves by `plan`, with the registers as
    /// handed over and `area` in its operand.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    ///
    /// # Safety
    /// The conditions of the routine, but for what becomes of the registers.
    pub(crate) unsafe fn execute_moves(
        &mut self,
        block: Block,
        area: *mut u8,
        plan: &MovePlan,
        in_use: Option<ComponentSet>,
    ) -> Result<Outcome, Fault> {
        let frame = Frame {
            area,
            plan,
            status: u64::from(in_use.is_some()),
            ..Frame::with(in_use.unwrap_or(ComponentSet::EMPTY))
        };
        // SAFETY: the caller's.
        let frame = unsafe { self.run(block, frame) }?;
        Ok(Outcome {
            in_use: ComponentSet::from_halves(frame.low, frame.high).bits(),
            status: frame.status,
        })
    }

    /// # Safety
    /// The conditions of the block's instruction, with the operands in `frame`.
    unsafe fn run(&mut self, block: Block, frame: Frame) -> Result<Frame, Fault> {
        let (code, own) = match self.form {
            Form::Xsave(own) => (block.over_xsave, own),
            Form::Fxsave => (
                block.over_fxsave.ok_or(Fault::InvalidOpcode)?,
                ComponentSet::LEGACY,
            ),
        };
        let (own_low, own_high) = own.halves();
        let mut frame = Frame {
            hand_over: self.memory.as_mut_ptr(),
            own_low,
            own_high,
            ..frame
        };
        // SAFETY: 1: invariants 1 and 2, for memory borrowed exclusively; the block keeps them, for
        // it only puts there what XSAVE64 (FXSAVE64) writes. 2: `INITIAL` is such an image.
        // 3: the caller's.
        unsafe { code(&mut frame) };
        Ok(frame)
    }
}

/// What a block works on; RDI points to it from its first instruction to its last.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    hand_over: *mut u8,
    initial: *const u8,
    area: *mut u8,
    own_low: u32,
    own_high: u32,
    low: u32,
    high: u32,
    /// The compiler's MXCSR and x87 control word, while the block runs.
    mxcsr: u32,
    fcw: u16,
    /// Of a block that calls a routine: its plan; whether what is in use is known, and then what
    /// the routine came to.
    plan: *const MovePlan,
    status: u64,
}

impl Frame {
    /// `set` in EDX:EAX, and no other operand.
    const fn with(set: ComponentSet) -> Self {
        let (low, high) = set.halves();
        Self {
            hand_over: ptr::null_mut(),
            initial: INITIAL_IMAGE.0.as_ptr(),
            area: ptr::null_mut(),
            own_low: 0,
            own_high: 0,
            low,
            high,
            mxcsr: 0,
            fcw: 0,
            plan: ptr::null(),
            status: 0,
        }
    }
}

// A routine's answer is stored over both halves at once.
const _: () = assert!(offset_of!(Frame, low) + 4 == offset_of!(Frame, high));

// The blocks read pointers of eight bytes: not for the x32 ABI.
const _: () = assert!(size_of::<*mut u8>() == 8);

/// # Safety
/// 1. `hand_over` is an image, in the form of the block, that its restoring instruction takes, and
///    memory that its saving instruction can write.
/// 2. `initial` is an image that the restoring instruction takes, with x87 and SSE in their initial
///    configuration.
/// 3. `area` and EDX:EAX, in `low` and `high`, meet the conditions of the block's own instruction,
///    with the registers as handed over.
type Code = unsafe fn(&mut Frame);

/// An instruction with what goes before and after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    over_xsave: Code,
    /// `None` for an instruction of the XSAVE family.
    over_fxsave: Option<Code>,
}

macro_rules! code {
    ($name:ident: $restore:literal $(, $instruction:literal)+ $(; $operand:ident = sym $routine:path)?) => {
        // Not inlined: for the caller it is a function, which by the ABI keeps no vector register.
        #[inline(never)]
        unsafe fn $name(frame: &mut Frame) {
            // SAFETY:
            // Memory: the conditions 1 to 3 of `Code`; what a block pushes it pops.
            // Registers: every register a component has is clobbered (`sysv64` preserves no vector,
            // mask, tile or x87 register). The x87 stack is empty at the end, by the initial image;
            // that image also has no pending exception, so FLDCW raises none. MXCSR and the x87
            // control word are the compiler's again.
            unsafe {
                asm!(
                    "stmxcsr [rdi + {mxcsr}]",
                    "fnstcw [rdi + {fcw}]",
                    "mov rsi, [rdi + {hand_over}]",
                    "mov eax, [rdi + {own_low}]",
                    "mov edx, [rdi + {own_high}]",
                    concat!($restore, " [rsi]"),
                    "mov rcx, [rdi + {area}]",
                    "mov eax, [rdi + {low}]",
                    "mov edx, [rdi + {high}]",
                    $($instruction,)+
                    "mov rsi, [rdi + {initial}]",
                    "mov eax, [rdi + {own_low}]",
                    "mov edx, [rdi + {own_high}]",
                    concat!($restore, " [rsi]"),
                    "ldmxcsr [rdi + {mxcsr}]",
                    "fldcw [rdi + {fcw}]",
                    in("rdi") frame,
                    hand_over = const offset_of!(Frame, hand_over),
                    initial = const offset_of!(Frame, initial),
                    area = const offset_of!(Frame, area),
                    own_low = const offset_of!(Frame, own_low),
                    own_high = const offset_of!(Frame, own_high),
                    low = const offset_of!(Frame, low),
                    high = const offset_of!(Frame, high),
                    mxcsr = const offset_of!(Frame, mxcsr),
                    fcw = const offset_of!(Frame, fcw),
                    $(
                        $operand = sym $routine,
                        plan = const offset_of!(Frame, plan),
                        status = const offset_of!(Frame, status),
                    )?
                    clobber_abi("sysv64"),
                );
            }
        }
    };
}

/// The instruction reads the registers.
macro_rules! saving {
    ($block:ident: $over_xsave:ident, $instruction:literal) => {
        code!($over_xsave: "xrstor64", $instruction);
        pub(crate) const $block: Block = Block {
            over_xsave: $over_xsave,
            over_fxsave: None,
        };
    };
    ($block:ident: $over_xsave:ident, $over_fxsave:ident, $instruction:literal) => {
        code!($over_xsave: "xrstor64", $instruction);
        code!($over_fxsave: "fxrstor64", $instruction);
        pub(crate) const $block: Block = Block {
            over_xsave: $over_xsave,
            over_fxsave: Some($over_fxsave),
        };
    };
}

/// The instruction changes the registers: they are handed over anew.
macro_rules! restoring {
    ($block:ident: $over_xsave:ident, $instruction:literal) => {
        code!(
            $over_xsave: "xrstor64", $instruction,
            "mov eax, [rdi + {own_low}]", "mov edx, [rdi + {own_high}]", "xsave64 [rsi]"
        );
        pub(crate) const $block: Block = Block {
            over_xsave: $over_xsave,
            over_fxsave: None,
        };
    };
    ($block:ident: $over_xsave:ident, $over_fxsave:ident, $instruction:literal) => {
        code!(
            $over_xsave: "xrstor64", $instruction,
            "mov eax, [rdi + {own_low}]", "mov edx, [rdi + {own_high}]", "xsave64 [rsi]"
        );
        code!($over_fxsave: "fxrstor64", $instruction, "fxsave64 [rsi]");
        pub(crate) const $block: Block = Block {
            over_xsave: $over_xsave,
            over_fxsave: Some($over_fxsave),
        };
    };
}

saving!(XSAVE: xsave_over_xsave, "xsave64 [rcx]");
saving!(XSAVEOPT: xsaveopt_over_xsave, "xsaveopt64 [rcx]");
saving!(XSAVEC: xsavec_over_xsave, "xsavec64 [rcx]");
restoring!(XRSTOR: xrstor_over_xsave, "xrstor64 [rcx]");
saving!(FXSAVE: fxsave_over_xsave, fxsave_over_fxsave, "fxsave64 [rcx]");
restoring!(FXRSTOR: fxrstor_over_xsave, fxrstor_over_fxsave, "fxrstor64 [rcx]");
saving!(STMXCSR: stmxcsr_over_xsave, stmxcsr_over_fxsave, "stmxcsr [rcx]");
saving!(FNSTCW: fnstcw_over_xsave, fnstcw_over_fxsave, "fnstcw [rcx]");
restoring!(LDMXCSR: ldmxcsr_over_xsave, ldmxcsr_over_fxsave, "ldmxcsr [rcx]");
restoring!(
    FILD: fild_over_xsave, fild_over_fxsave,
    "fnclex; emms; fild dword ptr [rdi + {mxcsr}]"
);
restoring!(TILERELEASE: tilerelease_over_xsave, "tilerelease");
restoring!(FNINIT: fninit_over_xsave, fninit_over_fxsave, "fninit");
code!(
    xgetbv_in_use_over_xsave: "xrstor64",
    "mov ecx, 1", "xgetbv", "mov [rdi + {low}], eax", "mov [rdi + {high}], edx"
);
pub(crate) const XGETBV_IN_USE: Block = Block {
    over_xsave: xgetbv_in_use_over_xsave,
    over_fxsave: None,
};

code!(
    save_by_moves_over_xsave: "xrstor64",
    "push rdi", "mov rsi, [rdi + {plan}]", "mov rdi, rcx", "call {routine}", "pop rdi",
    "mov [rdi + {low}], rax", "mov [rdi + {status}], rdx";
    routine = sym save_by_moves
);
pub(crate) const SAVE_BY_MOVES: Block = Block {
    over_xsave: save_by_moves_over_xsave,
    over_fxsave: None,
};
code!(
    restore_by_moves_over_xsave: "xrstor64",
    "push rdi", "mov rsi, [rdi + {plan}]", "mov rdx, [rdi + {low}]", "mov r8, rcx",
    "mov rcx, [rdi + {status}]", "mov rdi, r8", "call {routine}", "pop rdi",
    "mov [rdi + {low}], rax", "mov [rdi + {status}], rdx",
    "mov rsi, [rdi + {hand_over}]",
    "mov eax, [rdi + {own_low}]", "mov edx, [rdi + {own_high}]", "xsave64 [rsi]";
    routine = sym restore_by_moves
);
pub(crate) const RESTORE_BY_MOVES: Block = Block {
    over_xsave: restore_by_moves_over_xsave,
    over_fxsave: None,
};
