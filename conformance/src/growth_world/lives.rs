//! Creation, permissions, fork, exec, exit.

use fpstate::{
    Fpstate, Grantee, GuestFeatures, GuestFeaturesError, GuestFpu, Layout, LifeError,
    PermissionError, SignalStacks, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet};

use super::reference::{Expected, GuestReference, Process, VcpuMade};
use super::{
    GrowthEvent, GrowthNegligence, GrowthWorld, Guest, Hardware, Lent, Mode, Step, TILE_DATA,
    Thread,
};

/// Processes at the beginning.
const FOUNDING: usize = 3;

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// One process with permissions for both, one for its threads, one without.
    pub(super) fn begin(&mut self) {
        for grants in [
            &[Grantee::Threads, Grantee::Guests][..],
            &[Grantee::Threads],
            &[],
        ] {
            let process = self.processes.len();
            self.processes.push(Process::new(&self.offer));
            for &grantee in grants {
                let asked = self.ask(process, grantee);
                assert!(
                    asked.is_ok() || self.offer.on_demand().is_empty(),
                    "{asked:?}"
                );
            }
        }
        for number in 0..self.threads.len() * 3 / 4 {
            self.create_thread(number % FOUNDING);
        }
        for number in 0..self.guests.len() {
            let process = [0, 0, 1][number % 3];
            self.create_vcpu(process).expect("a vCPU, or no memory");
        }
    }

    /// Every thread and guest ends, and everything is checked once more.
    ///
    /// # Errors
    /// What is wrong.
    pub fn end(&mut self) -> Result<(), String> {
        for cpu in 0..self.cpus.len() {
            if let Some(thread) = self.cpus[cpu].current {
                self.switch_out(cpu, thread)?;
            }
        }
        for thread in 0..self.threads.len() {
            if self.threads[thread].is_some() {
                self.take(0, thread);
                while self.thread(thread).guest.is_some() {
                    self.leave_guest(0, thread)?;
                }
                self.exit(0, thread)?;
            }
        }
        (0..self.guests.len()).try_for_each(|slot| self.end_guest(slot))?;
        self.check()
    }

    fn state(&mut self, layout: Layout<'e>) -> Option<Fpstate<'e, Lent>> {
        let Some(memory) = self.lender.lend(layout.area_len()) else {
            self.count(GrowthEvent::CreationFailed);
            return None;
        };
        let state = Fpstate::new(layout, memory, &self.identities).expect("memory that does");
        let expected = Expected::new(self.initial.clone(), &self.offer);
        self.expected.insert(state.id(), expected);
        Some(state)
    }

    fn new_thread(&mut self, slot: usize, fpu: ThreadFpu<'e, Lent>, process: usize) {
        self.threads[slot] = Some(Thread {
            fpu,
            process,
            guest: None,
            on_cpu: None,
            last_cpu: None,
            pending: None,
            frame: None,
        });
    }

    fn create_thread(&mut self, process: usize) {
        let empty = |world: &Self, slot: usize| world.threads[slot].is_none();
        let Some(slot) = self.any_thread(empty) else {
            return;
        };
        if let Some(own) = self.state(self.offer.thread_layout()) {
            self.tell(format_args!("thread {slot} begins with {}", own.id()));
            self.new_thread(slot, ThreadFpu::new(own), process);
        }
    }

    /// A thread, or a vCPU in place of an earlier one.
    pub(super) fn create(&mut self) -> Step {
        let process = self.some_process();
        if self.random.bool() {
            self.create_thread(process);
            return Ok(());
        }
        let slot = self.any_guest(|_, _| true).expect("room for a guest");
        self.end_guest(slot)?;
        self.create_vcpu(process)
    }

    /// A thread's, or one of those at the beginning: not one that has no threads any more.
    fn some_process(&mut self) -> usize {
        let some = |world: &Self, slot: usize| world.threads[slot].is_some();
        if self.random.bool()
            && let Some(slot) = self.any_thread(some)
        {
            return self.thread(slot).process;
        }
        self.random.usize(0..FOUNDING)
    }

    /// What the guest is offered depends on what its process was granted before the first vCPU.
    pub(super) fn create_vcpu(&mut self, number: usize) -> Step {
        let empty = |world: &Self, slot: usize| world.guests[slot].is_none();
        let Some(slot) = self.any_guest(empty) else {
            return Ok(());
        };
        let process = &mut self.processes[number];
        process.has_vcpu = VcpuMade::Yes;
        let (permit, granted) = (process.permissions.freeze_guests(), process.guests);
        let user = self.offer.user_components();
        let denied = self.offer.on_demand().difference(granted);
        let supervisor = match self.random.u8(0..3) {
            0 => ComponentSet::EMPTY,
            _ => self.offer.guest_supervisor(),
        };
        let features = |user| GuestFeatures::new(&self.offer, permit, user, supervisor);
        let features = match self.random.u8(0..4) {
            _ if !self.kind.has_xsave() => Ok(GuestFeatures::WITHOUT_XSAVE),
            0 if self.random.u8(0..8) == 0 => Ok(GuestFeatures::WITHOUT_XSAVE),
            0 => features(user.difference(ComponentSet::TILES)),
            _ => match features(user) {
                Err(GuestFeaturesError::NotPermitted(_)) if !denied.is_empty() => {
                    *self.tally.entry(GrowthEvent::OfferRefused).or_default() += 1;
                    features(user.difference(ComponentSet::TILES))
                }
                offered if !denied.is_empty() => return Err(format!("I20: {offered:?}")),
                offered => offered,
            },
        };
        let features = features.map_err(|error| error.to_string())?;
        let Some(state) = self.state(self.offer.guest_layout()) else {
            return Ok(());
        };
        let offered = features.on_demand();
        self.tell(format_args!("guest {slot}: {}, {offered}", state.id()));
        let fpu = GuestFpu::offered(state, features);
        self.guests[slot] = Some(Guest {
            fpu: fpu.map_err(|(error, _)| error.to_string())?,
            reference: GuestReference::after_reset(features),
            process: number,
            pending: None,
        });
        if !offered.is_empty() {
            self.count(GrowthEvent::GuestOfferedTiles);
        }
        Ok(())
    }

    fn end_guest(&mut self, slot: usize) -> Step {
        let Some(guest) = self.guests[slot].take() else {
            return Ok(());
        };
        let (id, runs) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        match guest.fpu.into_storage() {
            Ok(_) if runs => Err(format!("I27: {id} ended while a thread ran it")),
            Ok(memory) => {
                self.tell(format_args!("guest {slot} ends"));
                self.expected.remove(&id);
                self.count(GrowthEvent::GuestEnded);
                self.lender.take_back(memory)
            }
            Err(fpu) => {
                self.guests[slot] = Some(Guest { fpu, ..guest });
                Ok(())
            }
        }
    }

    /// The current thread's process asks for tiles, for its threads or its guests.
    pub(super) fn request(&mut self, cpu: usize, thread: usize) -> Step {
        let number = self.thread(thread).process;
        let grantees = [Grantee::Threads, Grantee::Guests];
        let grantee = self.random.choice(grantees).expect("two");
        let process = &self.processes[number];
        let offered = !self.offer.on_demand().is_empty();
        let frozen = grantee == Grantee::Guests
            && process.has_vcpu == VcpuMade::Yes
            && process.guests.is_empty();
        let answer = self.ask(number, grantee);
        self.tell(format_args!("CPU {cpu}: request for {grantee}: {answer:?}"));
        match answer {
            Ok(()) if offered && !frozen => Ok(()),
            Err(PermissionError::NotOnDemand { .. }) if !offered => Ok(()),
            Err(PermissionError::GuestsFrozen) if offered && frozen => {
                self.count(GrowthEvent::RequestRefused);
                Ok(())
            }
            answer => Err(format!("I21: request for {grantee}: {answer:?}")),
        }
    }

    fn ask(&mut self, number: usize, grantee: Grantee) -> Result<(), PermissionError> {
        let process = &mut self.processes[number];
        let stacks = SignalStacks::none();
        let tile_data = u32::from(Component::TileData.number());
        process
            .permissions
            .request(&self.offer, grantee, tile_data, stacks)?;
        match grantee {
            Grantee::Threads => process.threads = TILE_DATA,
            Grantee::Guests => process.guests = TILE_DATA,
        }
        Ok(())
    }

    pub(super) fn fork(&mut self, cpu: usize, thread: usize) -> Step {
        let empty = |world: &Self, slot: usize| world.threads[slot].is_none();
        let Some(slot) = self.any_thread(empty) else {
            return Ok(());
        };
        let Some(child) = self.state(self.offer.thread_layout()) else {
            return Ok(());
        };
        let id = child.id();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} forks {slot}, {id}"
        ));
        let on = &mut self.cpus[cpu];
        let parent = self.threads[thread].as_mut().expect("a thread");
        on.mode = Mode::Kernel;
        let fpu = match parent.fpu.fork(&mut on.fpu, child) {
            Ok(fpu) => fpu,
            Err((error, _)) => return Err(error.to_string()),
        };
        let (own, number) = (parent.fpu.own().id(), parent.process);
        let mut values = self.expected[&own].values.clone();
        values.initialise(TILE_DATA.with(Component::Pasid));
        self.expected.insert(id, Expected::new(values, &self.offer));
        let process = if self.random.bool() {
            let child = self.processes[number].fork();
            self.processes.push(child);
            self.processes.len() - 1
        } else {
            number
        };
        self.new_thread(slot, fpu, process);
        self.count(GrowthEvent::Forked);
        Ok(())
    }

    /// The thread starts a new program, in a process of its own, as after `vfork()`.
    pub(super) fn exec(&mut self, cpu: usize, thread: usize) -> Step {
        let current = self.threads[thread].as_mut().expect("a thread");
        let on = &mut self.cpus[cpu];
        let id = current.fpu.own().id();
        let grown = !self.expected[&id].grown.is_empty();
        let former = match current.fpu.exec(&mut on.fpu) {
            Ok(()) if !grown => None,
            Err(LifeError::Grown { .. }) if grown => {
                let Some(memory) = self.lender.lend(self.offer.thread_layout().area_len()) else {
                    self.count(GrowthEvent::ExecFailed);
                    return Ok(());
                };
                let former = current.fpu.exec_and_release(&mut on.fpu, memory);
                Some(former.map_err(|(error, _)| error.to_string())?)
            }
            other => return Err(format!("exec, grown: {grown}: {other:?}")),
        };
        on.mode = Mode::Kernel;
        current.frame = None;
        if self.negligence != GrowthNegligence::KeepsExpansionAtExec {
            current.pending = None;
        }
        let mut process = self.processes[current.process].fork();
        process.permissions.exec();
        (process.threads, process.guests) = (ComponentSet::EMPTY, ComponentSet::EMPTY);
        current.process = self.processes.len();
        self.processes.push(process);
        self.expected
            .insert(id, Expected::new(self.initial.clone(), &self.offer));
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} starts a new program"
        ));
        self.count(GrowthEvent::Executed);
        let Some(former) = former else {
            return Ok(());
        };
        self.count(GrowthEvent::ReleasedAtExec);
        self.take_back_former(former)
    }

    pub(super) fn exit(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let ending = self.threads[thread].take().expect("a thread");
        let (id, in_guest) = (ending.fpu.own().id(), ending.guest.is_some());
        match ending.fpu.exit(&mut on.fpu) {
            Ok(_) if in_guest => Err("a thread ended in its guest".into()),
            Ok(memory) => {
                if on.current == Some(thread) {
                    (on.current, on.mode) = (None, Mode::Kernel);
                }
                self.expected.remove(&id);
                self.tell(format_args!("CPU {cpu}: thread {thread} ends"));
                self.count(GrowthEvent::Ended);
                self.lender.take_back(memory)
            }
            Err((_, fpu)) if in_guest => {
                self.threads[thread] = Some(Thread { fpu, ..ending });
                Ok(())
            }
            Err((error, _)) => Err(error.to_string()),
        }
    }
}
