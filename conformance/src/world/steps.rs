//! What user code, the scheduler and the hypervisor do.

use fpstate::{
    BoxedArea, CpuFpu, EnterError, KernelSection, KernelUse, LeaveError, Restore, Restoring,
    StateId, SwitchError, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Mxcsr};

use super::{Event, Mode, Negligence, Step, World, is_sealed, start};
use crate::generators;
use crate::user_code::UserCode;

impl<P: UserCode> World<'_, P> {
    /// One random step on `cpu`.
    pub(super) fn step(&mut self, cpu: usize) -> Step {
        let dice = self.random.u8(0..100);
        let Some(thread) = self.cpus[cpu].current else {
            return match dice {
                0..60 => self.schedule(cpu),
                60..75 => self.kernel_section(cpu),
                75..80 => self.restart(cpu),
                80..90 => self.create_or_replace(),
                _ => self.edit(),
            };
        };
        match dice {
            0..28 => self.user_code(cpu, thread),
            28..44 => self.switch_away(cpu, thread),
            44..66 => match self.thread(thread).guest {
                None => self.enter_guest(cpu, thread),
                Some(_) => self.leave_guest(cpu, thread),
            },
            66..72 => self.kernel_section(cpu),
            72..78 => self.edit(),
            78..82 => self.image_instead_of_save(cpu, thread),
            82..88 => self.fork(cpu, thread),
            88..90 => self.exec(cpu, thread),
            90..96 => self.exit(cpu, thread),
            96..97 => self.create_or_replace(),
            _ => self.misuse(cpu, thread),
        }
    }

    /// `Ok(())` for a fault in a world where instructions may fault.
    pub(super) fn excuse(&mut self, error: SwitchError) -> Step {
        match (error, self.disturbance) {
            (SwitchError::Fault(_), Some(_)) => {
                self.count(Event::Faulted);
                Ok(())
            }
            (error, _) => Err(format!("refused: {error}")),
        }
    }

    /// The current thread of `cpu` goes on in user mode, or in its guest. `mode` is
    /// [`Mode::Kernel`] still if a fault prevented it.
    pub(super) fn use_registers(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        if on.mode == Mode::Kernel && self.negligence != Negligence::ForgetsToRestore {
            let event = match current.fpu.restore_before_use(&mut on.fpu) {
                Ok(switch) if switch.restore == Restore::AlreadyInRegisters => {
                    Event::RestoreSkipped
                }
                Ok(_) => Event::Restored,
                Err(error) => return self.excuse(error),
            };
            self.count(event);
        }
        self.cpus[cpu].mode = Mode::User;
        if is_sealed(self.thread(thread).fpu.active()) {
            self.count(Event::ConfidentialRun);
            self.clobber(cpu);
        }
        self.check_visible(cpu)
    }

    fn user_code(&mut self, cpu: usize, thread: usize) -> Step {
        self.use_registers(cpu, thread)?;
        let state = self.thread(thread).fpu.active();
        let (id, components) = (state.id(), state.components());
        if self.cpus[cpu].mode == Mode::Kernel || is_sealed(state) {
            return Ok(());
        }
        self.write_some(cpu, id, components);
        self.count(Event::Write);
        Ok(())
    }

    /// The code that `id` belongs to writes some of `components`.
    pub(super) fn write_some(&mut self, cpu: usize, id: StateId, components: ComponentSet) {
        let processor = self.cpus[cpu].fpu.processor();
        let values = self.reference.get_mut(&id).expect("a reference");
        let mut written = String::new();
        for _ in 0..self.random.u8(1..=3) {
            let component = self
                .random
                .choice(components.iter().collect::<Vec<_>>())
                .expect("x87");
            match self.random.u8(0..8) {
                0 if components.contains(Component::Sse) => {
                    let mxcsr = generators::mxcsr(&mut self.random);
                    values.set_mxcsr(mxcsr);
                    processor.ldmxcsr(mxcsr).expect("a valid MXCSR");
                    written.push_str(" MXCSR");
                }
                1 => {
                    let only = ComponentSet::only(component);
                    values.initialise(only);
                    processor.initialise(only);
                    written.push_str(&format!(" initial-{component}"));
                }
                _ => {
                    let pointers = self.machine.error_pointers;
                    values.write(component, &mut self.random, pointers);
                    processor.write(component, values);
                    written.push_str(&format!(" {component}"));
                }
            }
        }
        self.tell(format_args!("CPU {cpu}: {id} writes{written}"));
    }

    /// Something that is nobody's state uses all registers of `cpu`.
    pub(super) fn clobber(&mut self, cpu: usize) {
        let mut values = self.machine.initial_contents();
        let components = self.machine.components();
        values.write_all(components, &mut self.random, self.machine.error_pointers);
        self.cpus[cpu]
            .fpu
            .processor()
            .write_all(components, &values);
    }

    /// The idle `cpu` takes a thread that is ready, wherever it ran before.
    fn schedule(&mut self, cpu: usize) -> Step {
        let slots = self.threads.len();
        let ready = |world: &Self, slot: usize| {
            world.threads[slot]
                .as_ref()
                .is_some_and(|t| t.on_cpu.is_none())
        };
        let Some(next) = self.any_slot(slots, ready) else {
            return Ok(());
        };
        self.tell(format_args!("CPU {cpu}: takes thread {next}"));
        self.cpus[cpu].current = Some(next);
        self.cpus[cpu].mode = Mode::Kernel;
        let taken = self.threads[next].as_mut().expect("a thread");
        let before = taken.last_cpu.replace(cpu);
        taken.on_cpu = Some(cpu);
        if before.is_some_and(|before| before != cpu) {
            self.count(Event::Migrated);
        }
        Ok(())
    }

    fn switch_away(&mut self, cpu: usize, thread: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: switches thread {thread} out"));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        if let Err(error) = current.fpu.save_before_switch(&mut on.fpu) {
            return self.excuse(error);
        }
        current.on_cpu = None;
        let event = match current.guest {
            Some(_) => Event::PreemptedInGuest,
            None => Event::SwitchedOut,
        };
        (on.current, on.mode) = (None, Mode::Kernel);
        self.count(event);
        if self.random.bool() {
            return self.schedule(cpu);
        }
        Ok(())
    }

    fn some_restoring(&mut self) -> Restoring {
        if self.random.bool() {
            Restoring::Now
        } else {
            Restoring::Deferred
        }
    }

    fn enter_guest(&mut self, cpu: usize, thread: usize) -> Step {
        let free = |world: &Self, slot: usize| {
            world.guests[slot]
                .as_ref()
                .is_some_and(|g| g.fpu.fpstate().is_some())
        };
        let Some(slot) = self.any_slot(self.guests.len(), free) else {
            return Ok(());
        };
        let restoring = self.some_restoring();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} enters guest {slot}, {restoring:?}"
        ));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_mut().expect("a guest");
        on.mode = Mode::Kernel;
        match current
            .fpu
            .enter_guest(&mut guest.fpu, &mut on.fpu, restoring)
        {
            Ok(_) => current.guest = Some(slot),
            Err(EnterError::Switch(error)) => return self.excuse(error),
            Err(error) => return Err(format!("refused: {error}")),
        }
        self.count(Event::Entered);
        self.after_exchange(cpu, thread, restoring)
    }

    fn leave_guest(&mut self, cpu: usize, thread: usize) -> Step {
        let slot = self.thread(thread).guest.expect("a guest");
        let restoring = self.some_restoring();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} leaves guest {slot}, {restoring:?}"
        ));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_mut().expect("a guest");
        on.mode = Mode::Kernel;
        match current
            .fpu
            .leave_guest(&mut guest.fpu, &mut on.fpu, restoring)
        {
            Ok(_) => current.guest = None,
            Err(LeaveError::Switch(error)) => return self.excuse(error),
            Err(error) => return Err(format!("refused: {error}")),
        }
        self.count(Event::Left);
        self.after_exchange(cpu, thread, restoring)
    }

    /// After a restore at once the registers may be used without another word to the library.
    fn after_exchange(&mut self, cpu: usize, thread: usize, restoring: Restoring) -> Step {
        match restoring {
            Restoring::Deferred => Ok(()),
            Restoring::Now => {
                self.cpus[cpu].mode = Mode::User;
                self.use_registers(cpu, thread)
            }
        }
    }

    /// The kernel uses the registers, as the current thread or in between.
    fn kernel_section(&mut self, cpu: usize) -> Step {
        let uses = [
            KernelUse::IntegerVectors,
            KernelUse::FloatVectors,
            KernelUse::X87,
        ];
        let kernel_use = self.random.choice(uses).expect("a use");
        self.tell(format_args!("CPU {cpu}: kernel section for {kernel_use:?}"));
        if self.negligence == Negligence::ClobbersInSilence {
            return self.clobber_in_silence(cpu);
        }
        let on = &mut self.cpus[cpu];
        on.mode = Mode::Kernel;
        let mut current = match on.current {
            Some(slot) => self.threads[slot].as_mut().map(|t| &mut t.fpu),
            None => None,
        };
        let section = match begin_section(&mut on.fpu, current.as_deref_mut(), kernel_use) {
            Ok(section) => section,
            Err(error) => return self.excuse(error),
        };
        if kernel_use != KernelUse::IntegerVectors
            && on.fpu.processor().stmxcsr() != Ok(Mxcsr::INITIAL)
        {
            return Err("a kernel section for floating point with another MXCSR".into());
        }
        let again = begin_section(&mut on.fpu, current.as_deref_mut(), kernel_use);
        let restored = current.map(|thread| thread.restore_before_use(&mut on.fpu));
        self.clobber(cpu);
        let ended = self.cpus[cpu].fpu.end_kernel_section(section);
        let refused = Err(SwitchError::KernelSection {
            cpu: self.cpus[cpu].fpu.id(),
        });
        if again.map(drop) != refused || restored.is_some_and(|r| r.map(drop) != refused) {
            return Err("a kernel section inside a kernel section was not refused".into());
        }
        self.count(Event::KernelSection);
        ended.map_err(|other| other.to_string())
    }

    fn clobber_in_silence(&mut self, cpu: usize) -> Step {
        if let Some(thread) = self.cpus[cpu].current {
            let current = self.threads[thread].as_mut().expect("a thread");
            if let Err(error) = current.fpu.save_before_switch(&mut self.cpus[cpu].fpu) {
                return self.excuse(error);
            }
        }
        self.cpus[cpu].mode = Mode::Kernel;
        self.clobber(cpu);
        Ok(())
    }

    /// An idle CPU goes offline and comes back with other values in its registers. A fault in
    /// between would cost the CPU.
    fn restart(&mut self, cpu: usize) -> Step {
        if self.disturbance.is_some() {
            return Ok(());
        }
        self.tell(format_args!("CPU {cpu}: goes offline and comes back"));
        self.clobber(cpu);
        let before = self.cpus.remove(cpu);
        let number = before.fpu.id().number();
        let processor = before.fpu.into_processor();
        let after = start(self.machine, processor, number, &mut self.random);
        self.cpus.insert(cpu, after);
        self.count(Event::Restarted);
        Ok(())
    }
}

/// A kernel section on a user thread, or on a kernel thread.
fn begin_section<P: UserCode>(
    cpu: &mut CpuFpu<P>,
    current: Option<&mut ThreadFpu<'_, BoxedArea>>,
    kernel_use: KernelUse,
) -> Result<KernelSection, SwitchError> {
    match current {
        Some(thread) => cpu
            .begin_kernel_section(thread, kernel_use)
            .map(|(section, _)| section),
        None => cpu.begin_kernel_thread_section(kernel_use),
    }
}
