//! Switches, kernel sections, idle, sleep, hotplug.

use fpstate::{CpuFpu, KernelUse, Restore, SwitchError};
use fpstate_arch::{ComponentSet, Processor};
use fpstate_model::ModelCpu;

use super::piece::Piece;
use super::scope::Negligence;
use super::small_cpu::{HOST_PKRU, OF_THREADS};
use super::values::KERNELS;
use super::witness::Witness;
use super::world::{Mode, Step, Thread, World};

impl<'e> World<'e> {
    pub(super) fn fpu(&mut self, cpu: usize) -> &mut CpuFpu<Witness<ModelCpu>> {
        self.cpus[cpu].fpu.as_mut().expect("online")
    }

    /// The CPU and its current thread.
    pub(super) fn parts(
        &mut self,
        cpu: usize,
    ) -> (&mut CpuFpu<Witness<ModelCpu>>, &mut Thread<'e>) {
        let on = &mut self.cpus[cpu];
        let slot = on.current.expect("a current thread");
        let thread = self.threads[slot].as_mut().expect("a thread");
        (on.fpu.as_mut().expect("online"), thread)
    }

    /// Memory for an area.
    pub(super) fn lend(&mut self) -> Piece {
        self.free.pop().expect("memory")
    }

    pub(super) fn switch_in(&mut self, cpu: usize, slot: usize) -> Step {
        let on = &mut self.cpus[cpu];
        (on.current, on.mode) = (Some(slot), Mode::Kernel);
        self.threads[slot].as_mut().expect("a thread").on_cpu = Some(cpu);
        Ok(())
    }

    pub(super) fn switch_out(&mut self, cpu: usize) -> Step {
        let (fpu, thread) = self.parts(cpu);
        let saved = thread.fpu.save_before_switch(fpu);
        saved.map_err(|error| format!("the save is refused: {error}"))?;
        thread.on_cpu = None;
        let on = &mut self.cpus[cpu];
        (on.current, on.mode) = (None, Mode::Kernel);
        Ok(())
    }

    pub(super) fn return_to_user(&mut self, cpu: usize) -> Step {
        let (fpu, thread) = self.parts(cpu);
        let restored = thread.fpu.restore_before_use(fpu);
        let switch = restored.map_err(|error| format!("the restore is refused: {error}"))?;
        self.restored(cpu, switch.restore)
    }

    /// The active state of the current thread is in the registers now.
    pub(super) fn restored(&mut self, cpu: usize, restore: Restore) -> Step {
        self.cpus[cpu].mode = Mode::User;
        let whose = self.active_on(cpu);
        match restore {
            Restore::Area { .. } => self.expected_mut(whose).loaded(),
            Restore::AlreadyInRegisters if self.expected(whose).is_set_aside() => {
                return Err(format!(
                    "I4: {whose:?} was edited in memory and is not loaded"
                ));
            }
            Restore::AlreadyInRegisters | Restore::Deferred | Restore::Nothing => {}
        }
        Ok(())
    }

    pub(super) fn write(&mut self, cpu: usize) -> Step {
        let whose = self.active_on(cpu);
        self.write_as(cpu, whose, OF_THREADS)
    }

    /// Begins, is refused a second one, uses every register, ends. Nothing else could happen on this
    /// CPU meanwhile, and nothing elsewhere reaches what it uses.
    pub(super) fn kernel_section(&mut self, cpu: usize) -> Step {
        if self.negligence == Negligence::UsesRegistersUnsaid && self.cpus[cpu].current.is_none() {
            self.scribble(cpu, KERNELS);
            return Ok(());
        }
        let kernel_use = KernelUse::X87;
        let begun = if self.cpus[cpu].current.is_some() {
            let (fpu, thread) = self.parts(cpu);
            let begun = fpu.begin_kernel_section(&mut thread.fpu, kernel_use);
            begun.map(|(section, _)| section)
        } else {
            self.fpu(cpu).begin_kernel_thread_section(kernel_use)
        };
        let section = begun.map_err(|error| format!("a kernel section is refused: {error}"))?;
        self.cpus[cpu].mode = Mode::Kernel;
        let nested = self.fpu(cpu).begin_kernel_thread_section(kernel_use);
        if !matches!(nested, Err(SwitchError::KernelSection { .. })) {
            return Err(format!("I46: in a kernel section {nested:?}"));
        }
        if self.cpus[cpu].current.is_some() {
            let (fpu, thread) = self.parts(cpu);
            let restored = thread.fpu.restore_before_use(fpu);
            if !matches!(restored, Err(SwitchError::KernelSection { .. })) {
                return Err(format!("I46: in a kernel section {restored:?}"));
            }
        }
        self.scribble(cpu, KERNELS);
        let ended = self.fpu(cpu).end_kernel_section(section);
        ended.map_err(|error| error.to_string())
    }

    pub(super) fn idle(&mut self, cpu: usize) -> Step {
        let negligent = self.negligence == Negligence::IdlesUnsaid;
        let fpu = self.fpu(cpu);
        if negligent {
            let released = fpu.processor().tilerelease();
            return released.map_err(|fault| fault.to_string());
        }
        fpu.release_tiles()
            .map_err(|error| format!("idling is refused: {error}"))?;
        let in_use = fpu.observed().inner.tracked().in_use;
        if in_use.intersects(ComponentSet::TILES) {
            return Err("idle: tiles are still in use".into());
        }
        Ok(())
    }

    pub(super) fn sleep(&mut self, cpu: usize) -> Step {
        if self.cpus[cpu].current.is_some() {
            let (fpu, thread) = self.parts(cpu);
            let saved = thread.fpu.save_before_switch(fpu);
            saved.map_err(|error| format!("the save is refused: {error}"))?;
            self.cpus[cpu].mode = Mode::Kernel;
        }
        let pristine = self.machine.pristine.clone();
        let negligent = self.negligence == Negligence::WakesWithoutXfd;
        let fpu = self.fpu(cpu);
        let model = &mut fpu.processor().inner;
        *model = pristine;
        model.wrpkru(HOST_PKRU).expect("protection keys");
        if negligent {
            // All but IA32_XFD.
            return self.wake_without_xfd(cpu);
        }
        fpu.resume()
            .map_err(|error| format!("resume is refused: {error}"))
    }

    fn wake_without_xfd(&mut self, cpu: usize) -> Step {
        let registers = self.machine.offer.control_registers();
        let fpu = self.fpu(cpu);
        fpu.registers_taken().map_err(|error| error.to_string())?;
        let model = &mut fpu.processor().inner;
        let woken = model.xsetbv(registers.xcr0);
        woken
            .and_then(|()| model.write_xss(registers.xss))
            .map_err(|fault| fault.to_string())
    }

    pub(super) fn offline(&mut self, cpu: usize) -> Step {
        self.cpus[cpu].fpu = None;
        Ok(())
    }

    pub(super) fn online(&mut self, cpu: usize) -> Step {
        self.cpus[cpu].fpu = Some(self.bring_up(cpu));
        Ok(())
    }
}
