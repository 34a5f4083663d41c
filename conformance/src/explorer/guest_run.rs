//! A VM entry, what the guest does, and what comes of the exit.
//!
//! All of it is one step: from the load of the guest's registers to that of the host's, interrupts are off, and
//! the entry borrows CPU, thread and guest, so whatever happens elsewhere happens before or after.

use fpstate::{AfterExit, Interception, Residence, VmExit};
use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xcr0, Xfd, Xss};
use fpstate_model::{ModelCpu, TaskSwitched};

use super::action::Given;
use super::small_cpu::{GUEST_PKRU, OF_GUESTS, TILE_DATA};
use super::threads::need_tiles;
use super::values::{ALL, INITIAL, KERNELS};
use super::world::{Step, Whose, World};

const BY_TS: VmExit = VmExit::DeviceNotAvailable { guest_cr0: 1 << 3 };
const BY_XFD: VmExit = VmExit::DeviceNotAvailable { guest_cr0: 0 };

impl<'e> World<'e> {
    /// The guest finds its own registers, does something, and exits.
    fn run(
        &mut self,
        cpu: usize,
        doing: impl FnOnce(&mut ModelCpu) -> VmExit,
    ) -> Result<AfterExit<'e>, String> {
        let (slot, guest) = (self.current(cpu), self.guest_on(cpu));
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        let thread = self.threads[slot].as_mut().expect("a thread");
        let guest = &mut self.guests[guest.expect("a guest")];
        let registers = guest.registers;
        let expected = (
            Ok(registers.xcr0),
            Ok(registers.xss),
            Ok(guest.expected.register_xfd()),
            Ok(registers.xfd_err),
            Ok(registers.pkru),
        );
        let is_sealed = thread.fpu.active().residence() == Residence::Sealed;
        let mut entry = thread
            .fpu
            .load_guest_registers(&mut guest.fpu, fpu)
            .map_err(|error| format!("VM entry: {error}"))?;
        let model = &mut entry.processor().inner;
        let found = (
            model.xgetbv(),
            model.read_xss(),
            model.read_xfd(),
            model.read_xfd_err().map(|err| err.components()),
            model.rdpkru(),
        );
        // The hardware loads a confidential guest's registers, behind the host's back.
        if found != expected && !is_sealed {
            return Err(format!("at the VM entry {found:?} instead of {expected:?}"));
        }
        let exit = doing(model);
        entry
            .load_host_registers(exit)
            .map_err(|error| format!("VM exit: {error}"))
    }

    /// The same where the exit needs nothing.
    fn run_plainly(&mut self, cpu: usize, doing: impl FnOnce(&mut ModelCpu)) -> Step {
        let exit = |model: &mut ModelCpu| {
            doing(model);
            VmExit::Other
        };
        match self.run(cpu, exit)? {
            AfterExit::Nothing => Ok(()),
            AfterExit::InjectDeviceNotAvailable | AfterExit::Expand(_) => {
                Err("an interrupt is taken for a #NM".into())
            }
        }
    }

    pub(super) fn guest_writes(&mut self, cpu: usize) -> Step {
        let whose = self.active_on(cpu);
        if self.state(whose).residence() == Residence::Sealed {
            return self.confidential_guest_runs(cpu);
        }
        self.guest_fills(cpu, OF_GUESTS)
    }

    /// The hardware puts back neither the registers nor XCR0, IA32_XSS and PKRU (invariant I30).
    fn confidential_guest_runs(&mut self, cpu: usize) -> Step {
        let machine = self.machine;
        let mut left = Ok(());
        self.run_plainly(cpu, |model| {
            machine.alphabet.write(model, ALL, KERNELS);
            left = model
                .xsetbv(Xcr0::AFTER_RESET)
                .and_then(|()| model.write_xss(Xss::AFTER_RESET))
                .and_then(|()| model.wrpkru(GUEST_PKRU));
        })?;
        left.map_err(|fault| fault.to_string())
    }

    fn guest_fills(&mut self, cpu: usize, components: ComponentSet) -> Step {
        let whose = self.active_on(cpu);
        let (machine, value) = (self.machine, self.fresh(whose));
        self.run_plainly(cpu, |model| {
            machine.alphabet.write(model, components, value);
        })?;
        self.expected_mut(whose).wrote(components, value);
        Ok(())
    }

    pub(super) fn guest_releases_tiles(&mut self, cpu: usize) -> Step {
        let whose = self.active_on(cpu);
        let mut released = Ok(());
        self.run_plainly(cpu, |model| released = model.tilerelease())?;
        released.map_err(|fault| fault.to_string())?;
        self.expected_mut(whose).wrote(ComponentSet::TILES, INITIAL);
        Ok(())
    }

    pub(super) fn guest_uses_tiles(&mut self, cpu: usize) -> Step {
        let (whose, machine) = (self.active_on(cpu), self.machine);
        let expected = *self.expected(whose);
        if !expected.register_xfd().intersects(TILE_DATA) {
            return self.guest_fills(cpu, TILE_DATA);
        }
        let mut found = Ok(());
        let after = self.run(cpu, |model| {
            found = need_tiles(machine, model);
            BY_XFD
        })?;
        if found != Err(Fault::DeviceNotAvailable) {
            return Err(format!("I13: the guest uses tile data: {found:?}"));
        }
        let id = self.state(whose).id();
        let slot = self.guest_on(cpu).expect("a guest");
        let guest = &mut self.guests[slot];
        match after {
            AfterExit::InjectDeviceNotAvailable if expected.xfd.intersects(TILE_DATA) => {
                guest.registers.xfd_err = TILE_DATA;
                Ok(())
            }
            AfterExit::Expand(expansion)
                if !expected.xfd.intersects(TILE_DATA) && expansion.state() == id =>
            {
                guest.pending = Some(expansion);
                Ok(())
            }
            AfterExit::Nothing | AfterExit::InjectDeviceNotAvailable | AfterExit::Expand(_) => {
                Err(format!("I14: after #NM of {whose:?}: {after:?}"))
            }
        }
    }

    /// The #NM is not about IA32_XFD, and IA32_XFD_ERR stays the guest's.
    pub(super) fn guest_finds_ts(&mut self, cpu: usize) -> Step {
        let mut found = Ok(());
        let after = self.run(cpu, |model| {
            model.set_cr0_ts(TaskSwitched::Set);
            found = model.stmxcsr().map(|_| ());
            model.set_cr0_ts(TaskSwitched::Clear);
            BY_TS
        })?;
        match (found, after) {
            (Err(Fault::DeviceNotAvailable), AfterExit::InjectDeviceNotAvailable) => Ok(()),
            (found, after) => Err(format!("CR0.TS: {found:?}, then {after:?}")),
        }
    }

    pub(super) fn guest_writes_xfd(&mut self, cpu: usize, given: Given) -> Step {
        let slot = self.guest_on(cpu).expect("a guest");
        let guest = &self.guests[slot];
        let on_demand = guest.registers.features.on_demand();
        let advised = if guest.expected.grown.is_empty() || on_demand.is_empty() {
            Interception::Intercepted
        } else {
            Interception::PassedThrough
        };
        let thread = self.thread(self.current(cpu));
        let found = thread.fpu.guest_xfd_interception(&guest.fpu);
        if found != Ok(advised) {
            return Err(format!("IA32_XFD of guest {slot} is {found:?}"));
        }
        let xfd = match (advised, Xfd::new(xfd_value(given), TILE_DATA)) {
            (Interception::PassedThrough, Ok(xfd)) => xfd,
            // #GP, and no exit.
            (Interception::PassedThrough, Err(_)) => return self.run_plainly(cpu, |_| {}),
            (Interception::Intercepted, _) => {
                self.run_plainly(cpu, |_| {})?;
                return self.emulate_xfd(cpu, given);
            }
        };
        let mut written = Ok(());
        self.run_plainly(cpu, |model| written = model.write_xfd(xfd))?;
        written.map_err(|fault| fault.to_string())?;
        let expected = self.expected_mut(Whose::Guest(slot));
        expected.wrote_xfd_while_running(xfd.components());
        Ok(())
    }

    pub(super) fn emulate_xfd(&mut self, cpu: usize, given: Given) -> Step {
        let (slot, current) = (self.guest_on(cpu).expect("a guest"), self.current(cpu));
        let fpu = self.cpus[cpu].fpu.as_mut().expect("online");
        let thread = self.threads[current].as_mut().expect("a thread");
        let guest = &mut self.guests[slot];
        let value = xfd_value(given);
        let legal = guest.registers.features.on_demand().contains_all(value);
        let written = thread.fpu.write_guest_xfd(&guest.fpu, fpu, value);
        if written.is_ok() != legal {
            return Err(format!("I40: IA32_XFD := {value}: {written:?}"));
        }
        if legal {
            guest.expected.wrote_xfd_while_running(value);
        }
        Ok(())
    }
}

/// For IA32_XFD and IA32_XFD_ERR.
pub(super) fn xfd_value(given: Given) -> ComponentSet {
    match given {
        Given::Least => ComponentSet::EMPTY,
        Given::Most => TILE_DATA,
        Given::Illegal => ComponentSet::only(Component::TileConfig),
    }
}
