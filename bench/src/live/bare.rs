//! The instructions themselves, for the designs that are not the library's: the one file here with
//! unsafe code.

#![expect(unsafe_code, reason = "bare instructions are what is measured")]

use std::arch::asm;

use fpstate::{Restoring, SaveInstruction};
use fpstate_arch::{ComponentSet, Fault};
use fpstate_native::LiveProcessor;
use fpstate_native::xsave_family::{xrstor64, xsave64, xsavec64, xsaveopt64};
use xsave::XSave;

use crate::bench_error::BenchError;
use crate::image::{Image, Mover};
use crate::live::this_cpu::ThisCpu;
use crate::policy::{Policy, PolicyError};

/// The time-stamp counter, nothing before or after it under way.
#[inline]
pub(super) fn timestamp() -> u64 {
    // SAFETY: 1: an ordinary process of Linux; nothing here asks the kernel to forbid RDTSC.
    unsafe { fpstate_native::timestamp() }
}

/// LFENCE: what comes after does not begin before what was before has executed.
#[inline]
pub(super) fn fence() {
    // SAFETY: every x86-64 CPU has it; it changes nothing.
    unsafe { asm!("lfence", options(nostack, preserves_flags)) };
}

/// The registers of this thread.
#[inline]
pub(super) fn live_processor() -> LiveProcessor {
    // SAFETY: 1, 2: x86-64 Linux, on one CPU. 3: a program of rustc's, for Linux's System V ABI, that
    // knows nothing of tiles. 4: what is loaded has the MXCSR and the x87 control word that a program
    // begins with (`Scenario::fill`); x87 registers that are not empty disturb x87 code alone,
    // and there is none in a Rust program without `extern` code, nor in the loops here, which end by
    // loading the initial configuration (`OwnRegisters`).
    unsafe { LiveProcessor::assume_caller_saved() }
}

/// The best XSAVE form here and XRSTOR, as a kernel has them inline: nothing is checked that need not
/// be.
#[derive(Debug)]
pub(super) struct BareInstructions {
    save: SaveInstruction,
    rfbm: ComponentSet,
    area_len: usize,
}

impl BareInstructions {
    /// For this CPU.
    ///
    /// # Errors
    /// As [`ThisCpu::layout`].
    pub(super) fn new(cpu: &ThisCpu) -> Result<Self, BenchError> {
        Ok(Self {
            save: cpu.instructions().save(),
            rfbm: cpu.switched(),
            area_len: cpu.layout()?.area_len(),
        })
    }

    #[inline]
    fn require_length(&self, image: &Image) -> Result<(), PolicyError> {
        let (reach, len) = (self.area_len, image.bytes().len());
        if len < reach {
            return Err(PolicyError::Fault(Fault::OutsideArea { reach, len }));
        }
        Ok(())
    }
}

impl Mover for BareInstructions {
    #[inline]
    fn save(&mut self, image: &mut Image) -> Result<(), PolicyError> {
        self.require_length(image)?;
        let area = image.save_target().as_mut_ptr();
        match self.save {
            // SAFETY: 1: as long as this CPU's layout for these components. 2: boxed areas are aligned
            // to 64. 3: `ThisCpu` chose it from this CPU's CPUID, and XGETBV answered there.
            SaveInstruction::Xsavec => unsafe { xsavec64(area, self.rfbm) },
            // SAFETY: the same.
            SaveInstruction::Xsaveopt => unsafe { xsaveopt64(area, self.rfbm) },
            // SAFETY: the same.
            SaveInstruction::Xsave => unsafe { xsave64(area, self.rfbm) },
            SaveInstruction::Fxsave | SaveInstruction::Xsaves => {
                return Err(PolicyError::Fault(Fault::InvalidOpcode));
            }
        }
        Ok(())
    }

    #[inline]
    fn restore(&mut self, image: &Image) -> Result<(), PolicyError> {
        self.require_length(image)?;
        // SAFETY: 1: as above. 2: as above. 3: an `Image` was made of an area of the library's and
        // is written by saves alone; what XFD disables is not switched here. 4: as `live_processor`.
        unsafe { xrstor64(image.bytes().as_ptr(), self.rfbm) };
        Ok(())
    }

    /// REP MOVSB, as Linux copies on CPUs that have it fast (ERMS); a C library's copy would use the
    /// registers.
    #[inline]
    fn copy(&mut self, from: &Image, to: &mut Image) {
        let len = from.bytes().len().min(to.bytes().len());
        // SAFETY: both have `len` bytes, and are two since one is borrowed mutably. The direction flag
        // is clear, as the ABI has it.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rsi") from.bytes().as_ptr() => _,
                inout("rdi") to.save_target().as_mut_ptr() => _,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// The crate `xsave`: XSAVE and XRSTOR of all components, in an area of a fixed length.
#[derive(Debug)]
pub(super) struct CrateXsave {
    thread: Box<XSave>,
    vcpus: Vec<Box<XSave>>,
}

impl CrateXsave {
    /// `None` where XCR0 has more than its area holds: there its safe functions write beyond it.
    pub(super) fn new(cpu: &ThisCpu) -> Option<Self> {
        let needed = usize::try_from(cpu.enumeration().standard_len_for_xcr0()).ok()?;
        (needed <= size_of::<XSave>()).then(|| Self {
            thread: Box::default(),
            vcpus: Vec::new(),
        })
    }

    /// Where the thread's registers go.
    pub(super) fn thread(&mut self) -> &mut XSave {
        &mut self.thread
    }

    /// One more vCPU.
    pub(super) fn push(&mut self, vcpu: Box<XSave>) {
        self.vcpus.push(vcpu);
    }
}

/// Not inlined: the crate does not tell the compiler that its XRSTOR replaces registers; across a
/// call nothing is in those.
#[inline(never)]
fn load(state: &XSave) {
    state.load();
    // SAFETY: no instruction.
    unsafe { asm!("", clobber_abi("sysv64"), options(nostack, preserves_flags)) };
}

impl Policy for CrateXsave {
    #[inline]
    fn enter(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        self.thread.save();
        load(guest);
        Ok(())
    }

    #[inline]
    fn leave(&mut self, vcpu: usize, _: Restoring) -> Result<(), PolicyError> {
        let guest = self
            .vcpus
            .get_mut(vcpu)
            .ok_or(PolicyError::NoSuchVcpu { vcpu })?;
        guest.save();
        load(&self.thread);
        Ok(())
    }

    fn use_registers(&mut self) -> Result<(), PolicyError> {
        load(&self.thread);
        Ok(())
    }

    fn switch_out(&mut self) -> Result<(), PolicyError> {
        self.thread.save();
        Ok(())
    }

    fn registers_taken(&mut self) -> Result<(), PolicyError> {
        Ok(())
    }
}
