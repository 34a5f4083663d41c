//! A VM entry, and what the VMM does after the exit.

use fpstate::{AfterExit, Interception, StateId};
use fpstate_arch::{Component, ComponentSet, Pkru};
use fpstate_model::{Osxsave, Pke, TaskSwitched};

use super::guest_code::{Control, Doing, Exit, NotAvailable, Run};
use super::reference::GuestReference;
use super::{GrowthEvent, GrowthWorld, Hardware, Mode, Step, TILE_DATA};

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// The guest that the current thread runs executes something.
    pub(super) fn run_guest(&mut self, cpu: usize, thread: usize) -> Step {
        self.use_registers(cpu, thread)?;
        self.check_moves()?;
        let slot = self.thread(thread).guest.expect("a guest");
        let reference = self.guests[slot].as_ref().expect("a guest").reference;
        let id = self.guests[slot].as_ref().expect("a guest").fpu.id();
        let advised = self.advised_interception(id, &reference);
        let control = self.some_control(advised, &reference);
        let mut program = Vec::new();
        for _ in 0..self.random.u8(1..6) {
            program.push(self.some_doing(id, &reference, control));
        }
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_mut().expect("a guest");
        let interception = current.fpu.guest_xfd_interception(&guest.fpu);
        if interception != Ok(advised) {
            return Err(format!("IA32_XFD of {id} is {interception:?}"));
        }
        let mut entry = current
            .fpu
            .load_guest_registers(&mut guest.fpu, &mut on.fpu)
            .map_err(|error| format!("entry: {error}"))?;
        let mut run = Run {
            processor: entry.processor(),
            all: self.all,
            kind: self.kind,
            control,
            guest: &mut guest.reference,
            expected: self.expected.get_mut(&id).expect("a reference"),
            uses: [0; 3],
        };
        let exit = run.run(&program)?;
        let uses = run.uses;
        let after = entry
            .load_host_registers(control.vm_exit(exit))
            .map_err(|error| format!("exit: {error}"))?;
        let events = [
            GrowthEvent::GuestTileDataUsed,
            GrowthEvent::XfdWrittenPassedThrough,
            GrowthEvent::InvalidOpcode,
        ];
        for (event, count) in events.into_iter().zip(uses) {
            *self.tally.entry(event).or_default() += count;
        }
        self.tell(format_args!("CPU {cpu}: guest {slot}, {id}: {exit:?}"));
        self.after_exit(slot, exit, after)?;
        self.intercepted(cpu, thread, slot, exit)
    }

    fn advised_interception(&self, id: StateId, reference: &GuestReference) -> Interception {
        if self.expected[&id].grown.is_empty() || reference.features.on_demand().is_empty() {
            Interception::Intercepted
        } else {
            Interception::PassedThrough
        }
    }

    fn some_control(&mut self, advised: Interception, guest: &GuestReference) -> Control {
        Control {
            osxsave: match self.random.u8(0..12) {
                0 => Osxsave::Clear,
                // CPUID does not announce XSAVE, so the bit is reserved.
                _ if !guest.has_xsave() => Osxsave::Clear,
                _ => Osxsave::Set,
            },
            pke: match self.random.u8(0..2) {
                0 => Pke::Clear,
                _ => Pke::Set,
            },
            ts: match self.random.u8(0..12) {
                0 => TaskSwitched::Set,
                _ => TaskSwitched::Clear,
            },
            // To intercept is always right.
            interception: match self.random.u8(0..6) {
                0 => Interception::Intercepted,
                _ => advised,
            },
        }
    }

    fn some_doing(&mut self, id: StateId, reference: &GuestReference, control: Control) -> Doing {
        match self.random.u8(0..16) {
            0..2 => Doing::WriteXfd(self.some_xfd()),
            2 => Doing::ReadXfdErr,
            3 if control.pke == Pke::Set && self.kind.has_pkru() => {
                Doing::Wrpkru(Pkru::from_bits(self.random.u32(..)))
            }
            _ => {
                let supervisor = reference.features.supervisor();
                Doing::Code(self.some_code(id, reference.xcr0, supervisor))
            }
        }
    }

    /// A value for IA32_XFD or IA32_XFD_ERR, legal or not.
    pub(super) fn some_xfd(&mut self) -> ComponentSet {
        match self.random.u8(0..8) {
            0 => ComponentSet::TILES,
            1 | 2 => TILE_DATA,
            _ => ComponentSet::EMPTY,
        }
    }

    /// What the library says must be done about the exit, and what should be.
    fn after_exit(&mut self, slot: usize, exit: Exit, after: AfterExit<'e>) -> Step {
        let guest = self.guests[slot].as_mut().expect("a guest");
        let event = match (exit, after) {
            (Exit::Interrupt | Exit::WriteXfd(_), AfterExit::Nothing) => return Ok(()),
            (
                Exit::NotAvailable(NotAvailable::TaskSwitched | NotAvailable::ByGuest),
                AfterExit::InjectDeviceNotAvailable,
            ) => GrowthEvent::NotAvailableInjected,
            (Exit::NotAvailable(NotAvailable::ByHost), AfterExit::Expand(expansion))
                if expansion.state() == guest.fpu.id() =>
            {
                guest.pending = Some(expansion);
                GrowthEvent::GuestNeedsRoom
            }
            (exit, after) => return Err(format!("after {exit:?}: {after:?}")),
        };
        self.count(event);
        Ok(())
    }

    /// The exit's own business, and now and then another register that the guest writes.
    fn intercepted(&mut self, cpu: usize, thread: usize, slot: usize, exit: Exit) -> Step {
        if let Exit::WriteXfd(value) = exit {
            return self.write_guest_xfd(cpu, thread, slot, value);
        }
        if exit == Exit::Interrupt {
            return match self.random.u8(0..8) {
                0 => self.write_some_register(slot),
                1..4 => self.enable_everything(slot),
                _ => Ok(()),
            };
        }
        if self.random.u8(0..8) == 0 {
            // Preempted in the kernel, then a signal or a growth from there.
            return self.kernel_section(cpu);
        }
        Ok(())
    }

    fn write_guest_xfd(
        &mut self,
        cpu: usize,
        thread: usize,
        slot: usize,
        value: ComponentSet,
    ) -> Step {
        if self.random.u8(0..4) == 0 {
            self.kernel_section(cpu)?;
        }
        self.check_moves()?;
        let guest = self.guests[slot].as_ref().expect("a guest");
        let legal = guest.reference.features.on_demand().contains_all(value);
        let id = guest.fpu.id();
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let written = current.fpu.write_guest_xfd(&guest.fpu, &mut on.fpu, value);
        if written.is_ok() != legal {
            return Err(format!("I40: IA32_XFD of {id} := {value}: {written:?}"));
        }
        if !legal {
            self.count(GrowthEvent::ValueRefused);
            return Ok(());
        }
        if !current.fpu.is_in_registers_of(&on.fpu) {
            on.mode = Mode::Kernel;
        }
        self.expected(id).wrote_xfd_while_running(value);
        self.count(GrowthEvent::XfdWrittenIntercepted);
        Ok(())
    }

    /// INIT of the guest that the current thread runs.
    pub(super) fn init_running_guest(&mut self, cpu: usize, thread: usize) -> Step {
        let slot = self.thread(thread).guest.expect("a guest");
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        let guest = self.guests[slot].as_ref().expect("a guest");
        let id = guest.fpu.id();
        on.mode = Mode::Kernel;
        current
            .fpu
            .init_guest(&guest.fpu, &mut on.fpu)
            .map_err(|error| format!("INIT: {error}"))?;
        self.tell(format_args!("CPU {cpu}: INIT of guest {slot}"));
        self.expected(id).initialised(AFFECTED_BY_INIT);
        self.count(GrowthEvent::Initialised);
        Ok(())
    }
}

/// SDM 3, table 10-1.
pub(super) const AFFECTED_BY_INIT: ComponentSet = ComponentSet::MPX
    .with(Component::CetU)
    .with(Component::CetS);
