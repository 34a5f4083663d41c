//! Creation, fork, exec, exit.

use fpstate::{ForkError, GuestFpu, ThreadFpu};
use fpstate_arch::Component;

use super::{Event, Guest, Mode, Step, Thread, World};
use crate::user_code::UserCode;

impl<'e, P: UserCode> World<'e, P> {
    pub(super) fn new_thread(&mut self, slot: usize) {
        let (components, memory) = (self.some_components(), self.memory());
        let own = self.machine.state(components, memory);
        let id = own.id();
        self.reference.insert(id, self.machine.initial_contents());
        self.tell(format_args!("thread {slot} begins with {id}: {components}"));
        self.threads[slot] = Some(Thread {
            fpu: ThreadFpu::new(own),
            guest: None,
            on_cpu: None,
            last_cpu: None,
        });
    }

    /// The last slot's guests are confidential.
    pub(super) fn new_guest(&mut self, slot: usize) {
        let (components, memory) = (self.some_components(), self.memory());
        let state = self.machine.state(components, memory);
        let id = state.id();
        self.tell(format_args!("guest {slot} begins with {id}: {components}"));
        let fpu = if slot + 1 == self.guests.len() {
            let area = state.in_memory().expect("a new state is in memory");
            self.sealed.insert(id, area.bytes().to_vec());
            GuestFpu::confidential(state)
        } else {
            self.reference.insert(id, self.machine.initial_contents());
            GuestFpu::new(state)
        };
        self.guests[slot] = Some(Guest { fpu });
    }

    pub(super) fn create_or_replace(&mut self) -> Step {
        let empty = |world: &Self, slot: usize| world.threads[slot].is_none();
        if let (true, Some(slot)) = (self.random.bool(), self.any_slot(self.threads.len(), empty)) {
            self.new_thread(slot);
            return Ok(());
        }
        let slot = self.random.usize(0..self.guests.len());
        let guest = self.guests[slot].take().expect("a guest");
        let (id, in_use) = (guest.fpu.id(), guest.fpu.fpstate().is_none());
        match guest.fpu.into_storage() {
            Ok(_) if in_use => Err(format!("the guest of {id} ended while a thread ran it")),
            Ok(memory) => {
                self.freed.push(memory);
                self.reference.remove(&id);
                self.sealed.remove(&id);
                self.new_guest(slot);
                Ok(())
            }
            Err(fpu) => {
                self.guests[slot] = Some(Guest { fpu });
                Ok(())
            }
        }
    }

    pub(super) fn fork(&mut self, cpu: usize, thread: usize) -> Step {
        let empty = |world: &Self, slot: usize| world.threads[slot].is_none();
        let Some(slot) = self.any_slot(self.threads.len(), empty) else {
            return Ok(());
        };
        let (components, memory) = (self.some_components(), self.memory());
        let child = self.machine.state(components, memory);
        let id = child.id();
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} forks thread {slot} with {id}: {components}"
        ));
        let on = &mut self.cpus[cpu];
        let parent = self.threads[thread].as_mut().expect("a thread");
        on.mode = Mode::Kernel;
        let fpu = match parent.fpu.fork(&mut on.fpu, child) {
            Ok(fpu) => fpu,
            Err((ForkError::Save(error), _)) => return self.excuse(error),
            Err((error, _)) => return Err(error.to_string()),
        };
        let mut values = self.reference[&parent.fpu.own().id()].clone();
        let event = match parent.guest {
            Some(_) => Event::ForkedInGuest,
            None => Event::Forked,
        };
        self.count(event);
        // Nor are a PASID and on-demand components (Linux `fpu_clone()`).
        let lost = self.machine.components().difference(components);
        let lost = lost.union(self.machine.on_demand_components());
        values.initialise(lost.with(Component::Pasid));
        self.reference.insert(id, values);
        self.threads[slot] = Some(Thread {
            fpu,
            guest: None,
            on_cpu: None,
            last_cpu: None,
        });
        Ok(())
    }

    pub(super) fn exec(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        if current.guest.is_some() {
            return Ok(());
        }
        let former = self
            .machine
            .exec(&mut current.fpu, &mut on.fpu)
            .map_err(|error| error.to_string())?;
        self.freed.extend(former);
        on.mode = Mode::Kernel;
        let id = current.fpu.own().id();
        self.reference.insert(id, self.machine.initial_contents());
        self.tell(format_args!(
            "CPU {cpu}: thread {thread} starts a new program"
        ));
        self.count(Event::Executed);
        Ok(())
    }

    pub(super) fn exit(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let ending = self.threads[thread].take().expect("a thread");
        let (id, in_guest) = (ending.fpu.own().id(), ending.guest.is_some());
        match ending.fpu.exit(&mut on.fpu) {
            Ok(_) if in_guest => return Err("a thread ended in its guest".into()),
            Ok(memory) => {
                self.freed.push(memory);
                self.reference.remove(&id);
                (on.current, on.mode) = (None, Mode::Kernel);
                self.tell(format_args!("CPU {cpu}: thread {thread} ends"));
                self.count(Event::Ended);
            }
            Err((_, fpu)) if in_guest => self.threads[thread] = Some(Thread { fpu, ..ending }),
            Err((error, _)) => return Err(error.to_string()),
        }
        Ok(())
    }
}
