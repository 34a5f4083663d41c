//! Switches, kernel sections, idle, sleep, hotplug.

use fpstate::KernelUse;
use fpstate_arch::{Component, ComponentSet};
use fpstate_model::Pke;

use super::{GrowthEvent, GrowthNegligence, GrowthWorld, Hardware, Mode, Step, start};
use crate::user_code::UserCode;

/// What vector code uses.
const VECTORS: ComponentSet = ComponentSet::LEGACY
    .with(Component::Avx)
    .with(Component::Opmask)
    .with(Component::ZmmHi256)
    .with(Component::Hi16Zmm);

impl<P: Hardware> GrowthWorld<'_, P> {
    /// The idle `cpu` takes a thread that is ready, wherever it ran before.
    pub(super) fn schedule(&mut self, cpu: usize) -> Step {
        let ready = |world: &Self, slot: usize| {
            let thread = world.threads[slot].as_ref();
            thread.is_some_and(|thread| thread.on_cpu.is_none())
        };
        let Some(next) = self.any_thread(ready) else {
            return self.create();
        };
        self.take(cpu, next);
        Ok(())
    }

    pub(super) fn take(&mut self, cpu: usize, next: usize) {
        self.tell(format_args!("CPU {cpu}: takes thread {next}"));
        self.cpus[cpu].current = Some(next);
        self.cpus[cpu].mode = Mode::Kernel;
        let taken = self.threads[next].as_mut().expect("a thread");
        taken.on_cpu = Some(cpu);
        if taken.last_cpu.replace(cpu).is_some_and(|last| last != cpu) {
            self.count(GrowthEvent::Migrated);
        }
    }

    pub(super) fn switch_away(&mut self, cpu: usize, thread: usize) -> Step {
        self.switch_out(cpu, thread)?;
        if self.random.bool() {
            self.schedule(cpu)
        } else {
            Ok(())
        }
    }

    pub(super) fn switch_out(&mut self, cpu: usize, thread: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: switches thread {thread} out"));
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        current
            .fpu
            .save_before_switch(&mut on.fpu)
            .map_err(|error| format!("refused: {error}"))?;
        current.on_cpu = None;
        (on.current, on.mode) = (None, Mode::Kernel);
        if current.guest.is_some() {
            self.count(GrowthEvent::PreemptedInGuest);
        }
        Ok(())
    }

    pub(super) fn kernel_section(&mut self, cpu: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: kernel section"));
        let on = &mut self.cpus[cpu];
        on.mode = Mode::Kernel;
        let section = match on.current {
            Some(slot) => {
                let current = self.threads[slot].as_mut().expect("a thread");
                on.fpu
                    .begin_kernel_section(&mut current.fpu, KernelUse::FloatVectors)
                    .map(|(section, _)| section)
            }
            None => on.fpu.begin_kernel_thread_section(KernelUse::FloatVectors),
        };
        let section = section.map_err(|error| error.to_string())?;
        self.scribble(cpu, VECTORS);
        let ended = self.cpus[cpu].fpu.end_kernel_section(section);
        self.count(GrowthEvent::KernelSection);
        ended.map_err(|error| error.to_string())
    }

    /// Something that is nobody's state uses `components` of `cpu`.
    fn scribble(&mut self, cpu: usize, components: ComponentSet) {
        let mut values = self.initial.clone();
        values.write_all(components, &mut self.random, self.kind.error_pointers);
        let processor = self.cpus[cpu].fpu.processor();
        processor.write_all(components, &values);
    }

    /// No thread runs: tiles are released so that the CPU can sleep deeply.
    pub(super) fn idle(&mut self, cpu: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: idles"));
        let on = &mut self.cpus[cpu].fpu;
        let released = on.release_tiles().map_err(|error| error.to_string())?;
        let registers = on.processor().model().registers();
        let initial = |component| registers.is_initial(component);
        if !ComponentSet::TILES.iter().all(initial) {
            return Err(format!("tiles in use while CPU {cpu} idles"));
        }
        if !released.is_empty() {
            self.count(GrowthEvent::IdleReleasedTiles);
        }
        Ok(())
    }

    /// The idle `cpu` loses all its registers and gets them back.
    pub(super) fn sleep(&mut self, cpu: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: sleeps"));
        self.reset_processor(cpu);
        let on = &mut self.cpus[cpu];
        let processor = on.fpu.processor();
        processor.model().set_cr4_pke(Pke::Set);
        self.kind.write_pkru(processor, on.pkru);
        if self.negligence != GrowthNegligence::WakesWithoutResume {
            on.fpu.resume().map_err(|error| error.to_string())?;
        }
        self.count(GrowthEvent::Slept);
        Ok(())
    }

    /// As after RESET, with what firmware left in the registers.
    fn reset_processor(&mut self, cpu: usize) {
        let pristine = self.pristine.clone();
        *self.cpus[cpu].fpu.processor().model() = pristine;
        self.scribble(cpu, self.all);
    }

    /// The idle `cpu` goes offline and comes back.
    pub(super) fn restart(&mut self, cpu: usize) -> Step {
        self.tell(format_args!("CPU {cpu}: goes offline and comes back"));
        self.reset_processor(cpu);
        let before = self.cpus.remove(cpu);
        let (number, pkru) = (before.fpu.id().number(), before.pkru);
        let processor = before.fpu.into_processor().into_inner();
        let after = start(
            &self.kind,
            &self.offer,
            &self.identities,
            processor,
            number,
            pkru,
        );
        self.cpus.insert(cpu, after);
        self.count(GrowthEvent::Restarted);
        Ok(())
    }
}
