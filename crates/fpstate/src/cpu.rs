//! `CpuFpu`: whose state the registers of one CPU hold.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::error_pointers::ErrorPointers;
use fpstate_arch::fault::Fault;
use fpstate_arch::moved::MOVABLE;
use fpstate_arch::processor::Processor;
use fpstate_arch::xcr0::Xcr0;
use fpstate_arch::xfd::Xfd;
use fpstate_arch::xss::Xss;

use crate::decision::require_host_control;
use crate::instructions::SwitchInstructions;
use crate::ownership::{CpuId, StateId};
use crate::state::Fpstate;
use crate::storage::AreaStorage;
use crate::switch::{ControlOwner, CpuFacts, RegisterContent, Restore, Save, Switch};
use crate::switch_error::SwitchError;
use crate::transfer::BeyondMoves;

/// One CPU's extended state as a resource: its processor, what its registers hold, what is in its
/// IA32_XFD.
///
/// A kernel keeps one per CPU and reaches it with preemption (and interrupts that use the FPU)
/// disabled: `&mut CpuFpu` is Linux's `fpregs_lock()`. With a ring-0 processor, which must stay on
/// its CPU, it is neither `Send` nor `Sync`; per-CPU storage that guarantees this may say so. A CPU that comes online gets a new one, so
/// nothing from before it went offline can look loaded.
#[derive(Debug)]
pub struct CpuFpu<P> {
    pub(crate) processor: P,
    pub(crate) id: CpuId,
    pub(crate) registers: RegisterContent,
    /// How often the registers changed hands; wraps.
    pub(crate) uses: u32,
    pub(crate) beyond_moves: BeyondMoves,
    pub(crate) switched: ComponentSet,
    /// The host's XCR0.
    pub(crate) xcr0: Xcr0,
    /// The host's IA32_XSS.
    pub(crate) xss: Xss,
    /// IA32_XFD: register and shadow are equal (invariant I10).
    pub(crate) xfd: Xfd,
    pub(crate) instructions: SwitchInstructions,
    pub(crate) control: ControlOwner,
}

impl<P: Processor> CpuFpu<P> {
    /// Which CPU it is.
    #[must_use]
    #[inline]
    pub const fn id(&self) -> CpuId {
        self.id
    }

    /// What it switches with.
    #[must_use]
    #[inline]
    pub const fn instructions(&self) -> SwitchInstructions {
        self.instructions
    }

    /// The components it switches: XCR0 and IA32_XSS, without PKRU.
    #[must_use]
    pub const fn switched_components(&self) -> ComponentSet {
        self.switched
    }

    /// What its registers hold.
    #[must_use]
    #[inline]
    pub const fn registers(&self) -> RegisterContent {
        self.registers
    }

    /// What the switch decisions need to know.
    #[must_use]
    #[inline]
    pub const fn facts(&self) -> CpuFacts {
        CpuFacts {
            id: self.id,
            registers: self.registers,
            switched: self.switched,
            xfd: self.xfd,
            instructions: self.instructions,
            control: self.control,
        }
    }

    /// The processor, for what is not a switch: CPUID, XGETBV. Whoever changes registers through
    /// it must say so with [`registers_taken`](Self::registers_taken).
    pub const fn processor(&mut self) -> &mut P {
        &mut self.processor
    }

    /// The processor, for the end of this object's life.
    pub fn into_processor(self) -> P {
        self.processor
    }

    /// IA32_XFD was written by something else, a guest to which it is passed through: reads it back,
    /// before anything is saved or restored (invariant I10).
    ///
    /// # Errors
    /// The processor's fault.
    pub fn read_xfd_back(&mut self) -> Result<(), Fault> {
        if self.instructions.has_xfd() {
            let disabled = self.processor.read_xfd()?;
            // What the register holds is by definition supported.
            self.xfd = Xfd::new(disabled, disabled).unwrap_or_default();
        }
        Ok(())
    }

    /// IA32_XFD changes while the state that it is for stays in the registers.
    pub(crate) fn write_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        if self.instructions.has_xfd() && self.xfd != xfd {
            self.rewrite_xfd(xfd)?;
        }
        Ok(())
    }

    /// Writes IA32_XFD whatever the shadow says.
    pub(crate) fn rewrite_xfd(&mut self, xfd: Xfd) -> Result<(), Fault> {
        self.processor.write_xfd(xfd)?;
        self.xfd = xfd;
        Ok(())
    }

    /// Something else used the registers (invariant I5): the idle loop initialised them, firmware
    /// ran. What they held a copy of is restored from memory when it is needed again.
    ///
    /// # Errors
    /// [`SwitchError::WouldDiscard`] if they held the only copy of a state: it should have been
    /// saved before. [`SwitchError::KernelSection`] inside a section, which covers any use.
    /// [`SwitchError::GuestControl`] while a guest's XCR0 is loaded.
    pub const fn registers_taken(&mut self) -> Result<(), SwitchError> {
        if let Err(error) = require_host_control(self.facts()) {
            return Err(error);
        }
        match self.registers {
            RegisterContent::OnlyCopyOf(state) => Err(SwitchError::WouldDiscard {
                state,
                cpu: self.id,
            }),
            RegisterContent::Kernel => Err(SwitchError::KernelSection { cpu: self.id }),
            RegisterContent::CopyOf(_) | RegisterContent::Nobody => {
                self.set_registers(RegisterContent::Nobody);
                Ok(())
            }
        }
    }

    /// Drops what the registers hold, even a state's only copy, and even inside a kernel section
    /// whose token was lost. For cleaning up after a thread that was killed or a vCPU that was torn
    /// down; gives what was dropped. The state of it, if it still lives, takes its initial
    /// configuration with [`ThreadFpu::discard_active`](crate::ThreadFpu::discard_active).
    pub const fn discard_registers(&mut self) -> RegisterContent {
        let dropped = self.registers;
        self.set_registers(RegisterContent::Nobody);
        dropped
    }

    /// Makes sure that the registers are nobody's if they are `state`'s: it is about to be edited
    /// beyond recognition or to die.
    pub(crate) fn forget(&mut self, state: StateId) {
        if self.registers.owner() == Some(state) {
            self.set_registers(RegisterContent::Nobody);
        }
    }

    /// The host's XCR0.
    pub(crate) const fn host_xcr0(&self) -> Xcr0 {
        self.xcr0
    }

    /// The host's IA32_XSS.
    pub(crate) const fn host_xss(&self) -> Xss {
        self.xss
    }

    /// XCR0 and IA32_XSS are a guest's from here on, or the host's again.
    pub(crate) const fn set_control(&mut self, control: ControlOwner) {
        self.control = control;
    }

    /// The kernel takes the registers, or gives them back.
    #[inline(always)]
    pub(crate) const fn set_registers(&mut self, registers: RegisterContent) {
        self.registers = registers;
        self.beyond_moves = BeyondMoves::Unknown;
        self.uses = self.uses.wrapping_add(1);
    }

    /// How often the registers changed hands.
    pub(crate) const fn uses(&self) -> u32 {
        self.uses
    }

    /// Carries out `switch` through the processor, and notes it.
    #[inline(always)]
    pub(crate) fn carry_out<S: AreaStorage>(
        &mut self,
        switch: Switch,
        mut outgoing: Option<&mut Fpstate<'_, S>>,
        incoming: Option<&mut Fpstate<'_, S>>,
    ) -> Result<(), SwitchError> {
        let Switch { save, xfd, restore } = switch;
        let mut in_use = None;
        match (save, &mut outgoing) {
            (Save::Registers { rfbm, .. }, Some(outgoing)) => {
                // Noted before the stores of the registers: the note is read by the next switch, which
                // may come before those have left the store queue.
                self.note_save(save, Some(outgoing));
                let (with, area) = (&self.instructions, outgoing.save_target());
                in_use = match with.save_registers(&mut self.processor, area, rfbm) {
                    Ok(in_use) => in_use,
                    Err(fault) => {
                        self.take_back_save(outgoing);
                        return Err(SwitchError::Fault(fault));
                    }
                };
            }
            (Save::ControlWords, Some(outgoing)) => {
                let mxcsr = self.processor.stmxcsr().map_err(SwitchError::Fault)?;
                let fcw = self.processor.fnstcw().map_err(SwitchError::Fault)?;
                outgoing.keep_control_words(mxcsr, fcw);
                in_use = self.in_use_by_caller();
                self.note_save(save, Some(outgoing));
            }
            (Save::Registers { .. } | Save::ControlWords, None)
            | (Save::AlreadyInMemory | Save::Deferred | Save::Nothing, _) => {}
        }
        if let Some(xfd) = xfd {
            self.processor.write_xfd(xfd).map_err(SwitchError::Fault)?;
        }
        self.note_xfd(xfd);
        let mut beyond_moves = BeyondMoves::Unknown;
        if let (
            Restore::Area {
                rfbm,
                error_pointers,
                ..
            },
            Some(incoming),
        ) = (restore, &incoming)
        {
            let overwritten = match error_pointers {
                ErrorPointers::Restored => Ok(()),
                ErrorPointers::LeftAlone => self.processor.overwrite_error_pointers(),
            };
            let (with, area) = (&self.instructions, incoming.restore_source());
            let restored = overwritten
                .and_then(|()| with.restore_and_tell(&mut self.processor, area, rfbm, in_use));
            match restored {
                Ok(found) => beyond_moves = found,
                Err(fault) => {
                    // The registers may be half of one and half of another (invariant I38).
                    self.set_registers(RegisterContent::Nobody);
                    return Err(SwitchError::Fault(fault));
                }
            }
        }
        self.note_restore(restore, incoming);
        self.beyond_moves = beyond_moves;
        Ok(())
    }

    /// A save that was noted did not happen: the registers still hold the only copy.
    #[cold]
    fn take_back_save<S: AreaStorage>(&mut self, state: &mut Fpstate<'_, S>) {
        state.in_use_on(self.id);
        self.set_registers(RegisterContent::OnlyCopyOf(state.id()));
    }

    /// What may be in use of a caller that keeps the control words alone: what moves cover, if nothing
    /// else was when it got the registers. Compiled code may use APX's registers too.
    #[inline(always)]
    const fn in_use_by_caller(&self) -> Option<ComponentSet> {
        match self.beyond_moves {
            BeyondMoves::Initial if !self.switched.contains(Component::Apx) => {
                Some(self.switched.intersection(MOVABLE))
            }
            BeyondMoves::Initial | BeyondMoves::Unknown => None,
        }
    }

    /// Notes that `switch` was carried out by somebody else.
    pub(crate) fn note<S: AreaStorage>(
        &mut self,
        switch: Switch,
        outgoing: Option<&mut Fpstate<'_, S>>,
        incoming: Option<&mut Fpstate<'_, S>>,
    ) {
        self.note_save(switch.save, outgoing);
        self.note_xfd(switch.xfd);
        self.note_restore(switch.restore, incoming);
    }

    #[inline(always)]
    fn note_save<S: AreaStorage>(&mut self, save: Save, state: Option<&mut Fpstate<'_, S>>) {
        match (save, state) {
            (Save::Registers { .. }, Some(state)) => {
                state.saved_from(self.id);
                self.set_registers(RegisterContent::CopyOf(state.id()));
            }
            (Save::ControlWords, Some(state)) => {
                state.kept_in_memory();
                self.set_registers(RegisterContent::Nobody);
            }
            (Save::Registers { .. } | Save::ControlWords, None)
            | (Save::AlreadyInMemory | Save::Deferred | Save::Nothing, _) => {}
        }
    }

    #[inline(always)]
    const fn note_xfd(&mut self, xfd: Option<Xfd>) {
        if let Some(xfd) = xfd {
            self.xfd = xfd;
        }
    }

    #[inline(always)]
    fn note_restore<S: AreaStorage>(
        &mut self,
        restore: Restore,
        state: Option<&mut Fpstate<'_, S>>,
    ) {
        match (restore, state) {
            (Restore::Area { .. } | Restore::AlreadyInRegisters, Some(state)) => {
                state.in_use_on(self.id);
                self.set_registers(RegisterContent::OnlyCopyOf(state.id()));
            }
            // The hardware puts a sealed state there by itself.
            (Restore::Nothing, Some(_)) => self.set_registers(RegisterContent::Nobody),
            (Restore::Deferred, _) | (_, None) => {}
        }
    }
}

#[cfg(feature = "explore")]
impl<P: Processor + Clone> CpuFpu<P> {
    /// A copy, of the processor too, for a copy of the whole world that it is in.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            processor: self.processor.clone(),
            ..*self
        }
    }

    /// The processor, to look at.
    #[must_use]
    pub const fn observed(&self) -> &P {
        &self.processor
    }
}
