//! What can happen next, and how it is done.

use super::action::{Action, Given, How, Kind};
use super::scope::Role;
use super::small_cpu::TILE_DATA;
use super::world::{Mode, Step, Thread, World};
use fpstate_arch::ComponentSet;

impl World<'_> {
    /// Everything that can happen next.
    pub(super) fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for cpu in 0..self.cpus.len() {
            self.on_cpu(cpu, &mut actions);
        }
        for guest in 0..self.guests.len() {
            self.for_guest(guest, &mut actions);
        }
        for (slot, thread) in self.threads.iter().enumerate() {
            if thread.as_ref().is_some_and(|t| t.on_cpu.is_none()) {
                let given = Given::ALL.map(|given| Action::Ptrace {
                    thread: slot,
                    given,
                });
                actions.extend(given);
            }
        }
        let kinds = self.scope.kinds;
        actions.retain(|action| action.kind() == Kind::Switch || kinds.contains(&action.kind()));
        actions
    }

    fn on_cpu(&self, cpu: usize, actions: &mut Vec<Action>) {
        let on = &self.cpus[cpu];
        if on.fpu.is_none() {
            actions.push(Action::Online { cpu });
            return;
        }
        actions.extend([Action::KernelSection { cpu }, Action::Sleep { cpu }]);
        let Some(slot) = on.current else {
            self.without_thread(cpu, actions);
            return;
        };
        actions.push(Action::SwitchOut { cpu });
        if on.mode == Mode::Kernel {
            actions.extend([Action::Return { cpu }, Action::FaultingReturn { cpu }]);
        }
        let thread = self.thread(slot);
        self.growth_on(cpu, thread, actions);
        match thread.guest {
            None => self.with_thread(cpu, slot, actions),
            Some(guest) => self.with_guest(cpu, guest, actions),
        }
    }

    fn without_thread(&self, cpu: usize, actions: &mut Vec<Action>) {
        for (slot, waiting) in self.threads.iter().enumerate() {
            let Some(waiting) = waiting.as_ref().filter(|t| t.on_cpu.is_none()) else {
                continue;
            };
            actions.push(Action::SwitchIn { cpu, thread: slot });
            if waiting.pending.is_some() && !self.free.is_empty() {
                actions.push(Action::GrowWaiting { cpu, thread: slot });
            }
        }
        actions.extend([Action::Idle { cpu }, Action::Offline { cpu }]);
    }

    fn growth_on(&self, cpu: usize, thread: &Thread<'_>, actions: &mut Vec<Action>) {
        if thread.pending.is_some() {
            actions.push(Action::GiveUp { cpu });
        }
        if self.free.is_empty() {
            return;
        }
        if thread.pending.is_some() {
            actions.push(Action::Grow { cpu });
        }
        if !thread.expected.grown.is_empty() {
            actions.push(Action::Shrink { cpu });
        }
        let guest = thread.guest.map(|guest| &self.guests[guest]);
        if guest.is_some_and(|guest| guest.pending.is_some()) {
            actions.push(Action::GrowRunningGuest { cpu });
        }
    }

    fn with_thread(&self, cpu: usize, slot: usize, actions: &mut Vec<Action>) {
        if self.cpus[cpu].mode == Mode::User {
            actions.extend([
                Action::Write { cpu },
                Action::UseTiles { cpu },
                Action::ReleaseTiles { cpu },
            ]);
        }
        if matches!(self.scope.threads[slot], Role::Vcpu | Role::VcpuTiles) {
            for (guest, state) in self.guests.iter().enumerate() {
                if state.fpu.fpstate().is_some() {
                    actions.extend(How::ALL.map(|how| Action::Enter { cpu, guest, how }));
                    actions.push(Action::FaultingEnter { cpu, guest });
                }
            }
        }
        actions.extend(Given::ALL.map(|given| Action::Sigreturn { cpu, given }));
        actions.push(Action::Exit { cpu });
        let thread = self.thread(slot);
        if thread.expected.grown.is_empty() || !self.free.is_empty() {
            actions.push(Action::Exec { cpu });
        }
        if thread.granted.is_empty() && self.scope.kinds.contains(&Kind::UseTiles) {
            actions.push(Action::Ask { cpu });
        }
        self.forks(cpu, actions);
    }

    fn forks(&self, cpu: usize, actions: &mut Vec<Action>) {
        let child = self.threads.iter().position(Option::is_none);
        if let (Some(child), false) = (child, self.free.is_empty()) {
            actions.push(Action::Fork { cpu, child });
        }
    }

    fn with_guest(&self, cpu: usize, guest: usize, actions: &mut Vec<Action>) {
        actions.extend(How::ALL.map(|how| Action::Leave { cpu, how }));
        actions.extend(Given::ALL.map(|given| Action::EmulateXfd { cpu, given }));
        actions.extend([
            Action::InitRunning { cpu },
            Action::Exec { cpu },
            Action::Exit { cpu },
        ]);
        self.forks(cpu, actions);
        if !self.free.is_empty() {
            actions.push(Action::Abandon { cpu });
        }
        if self.cpus[cpu].mode == Mode::Kernel {
            actions.push(Action::ReturnByHand { cpu });
            return;
        }
        actions.push(Action::GuestWrites { cpu });
        actions.extend(Given::ALL.map(|given| Action::GuestWritesXfd { cpu, given }));
        actions.push(Action::GuestFindsTs { cpu });
        let enabled = self.guests[guest].registers.xcr0;
        if enabled.contains_all(ComponentSet::TILES) {
            actions.push(Action::GuestUsesTiles { cpu });
            actions.push(Action::GuestReleasesTiles { cpu });
        }
    }

    fn for_guest(&self, guest: usize, actions: &mut Vec<Action>) {
        let state = &self.guests[guest];
        for given in Given::ALL {
            actions.extend([
                Action::Xsetbv { guest, given },
                Action::WriteXss { guest, given },
                Action::WriteXfdErr { guest, given },
            ]);
        }
        if !state.registers.xfd_err.is_empty() {
            actions.push(Action::GuestClearsXfdErr { guest });
        }
        if state.fpu.fpstate().is_none() {
            return;
        }
        for given in Given::ALL {
            actions.extend([
                Action::VmmXfd { guest, given },
                Action::VmmImage { guest, given },
                Action::VmmOffers { guest, given },
            ]);
        }
        actions.extend([Action::Init { guest }, Action::Reset { guest }]);
        if self.free.is_empty() {
            return;
        }
        actions.push(Action::Renew { guest });
        let grown = !state.expected.grown.is_empty();
        if grown {
            actions.push(Action::ShrinkGuest { guest });
        }
        let offered = state.registers.features.on_demand() == TILE_DATA;
        if state.pending.is_some() || offered && !grown {
            actions.push(Action::GrowGuest { guest });
        }
    }

    pub(super) fn perform(&mut self, action: Action) -> Step {
        match action {
            Action::SwitchIn { cpu, thread } => self.switch_in(cpu, thread),
            Action::SwitchOut { cpu } => self.switch_out(cpu),
            Action::Return { cpu } => self.return_to_user(cpu),
            Action::ReturnByHand { cpu } => self.return_by_hand(cpu),
            Action::FaultingReturn { cpu } => self.faulting_return(cpu),
            Action::FaultingEnter { cpu, guest } => self.faulting_enter(cpu, guest),
            Action::Write { cpu } => self.write(cpu),
            Action::KernelSection { cpu } => self.kernel_section(cpu),
            Action::Idle { cpu } => self.idle(cpu),
            Action::Sleep { cpu } => self.sleep(cpu),
            Action::Offline { cpu } => self.offline(cpu),
            Action::Online { cpu } => self.online(cpu),
            Action::UseTiles { cpu } => self.use_tiles(cpu),
            Action::ReleaseTiles { cpu } => self.release_tiles(cpu),
            Action::Grow { cpu } => self.grow(cpu),
            Action::GrowRunningGuest { cpu } => self.grow_running_guest(cpu),
            Action::GiveUp { cpu } => self.give_up(cpu),
            Action::GrowWaiting { cpu, thread } => self.grow_waiting(cpu, thread),
            Action::GrowGuest { guest } => self.grow_guest(guest),
            Action::Shrink { cpu } => self.shrink(cpu),
            Action::ShrinkGuest { guest } => self.shrink_guest(guest),
            Action::Enter { cpu, guest, how } => self.enter(cpu, guest, how),
            Action::Leave { cpu, how } => self.leave(cpu, how),
            Action::GuestWrites { cpu } => self.guest_writes(cpu),
            Action::GuestUsesTiles { cpu } => self.guest_uses_tiles(cpu),
            Action::GuestFindsTs { cpu } => self.guest_finds_ts(cpu),
            Action::GuestReleasesTiles { cpu } => self.guest_releases_tiles(cpu),
            Action::GuestClearsXfdErr { guest } => self.guest_clears_xfd_err(guest),
            Action::GuestWritesXfd { cpu, given } => self.guest_writes_xfd(cpu, given),
            Action::EmulateXfd { cpu, given } => self.emulate_xfd(cpu, given),
            Action::Xsetbv { guest, given } => self.xsetbv(guest, given),
            Action::WriteXss { guest, given } => self.write_xss(guest, given),
            Action::WriteXfdErr { guest, given } => self.write_xfd_err(guest, given),
            Action::VmmXfd { guest, given } => self.vmm_xfd(guest, given),
            Action::VmmImage { guest, given } => self.vmm_image(guest, given),
            Action::VmmOffers { guest, given } => self.vmm_offers(guest, given),
            Action::InitRunning { cpu } => self.init_running(cpu),
            Action::Init { guest } => self.init(guest),
            Action::Reset { guest } => self.reset(guest),
            Action::Renew { guest } => self.renew(guest),
            Action::Abandon { cpu } => self.abandon(cpu),
            Action::Fork { cpu, child } => self.fork(cpu, child),
            Action::Exec { cpu } if self.guest_on(cpu).is_some() => self.exec_in_guest(cpu),
            Action::Exec { cpu } => self.exec(cpu),
            Action::Ask { cpu } => self.ask(cpu),
            Action::Sigreturn { cpu, given } => self.sigreturn(cpu, given),
            Action::Ptrace { thread, given } => self.ptrace(thread, given),
            Action::Exit { cpu } if self.guest_on(cpu).is_some() => self.exit_in_guest(cpu),
            Action::Exit { cpu } => self.exit(cpu),
        }
    }
}
