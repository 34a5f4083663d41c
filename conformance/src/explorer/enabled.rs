//! What can happen next, and how it is done.

use super::action::Action;
use super::scope::Kind;
use super::world::{Mode, Step, World};

impl World<'_> {
    /// Everything that can happen next.
    pub(super) fn enabled(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for cpu in 0..self.cpus.len() {
            self.on_cpu(cpu, &mut actions);
        }
        actions
    }

    fn on_cpu(&self, cpu: usize, actions: &mut Vec<Action>) {
        let on = &self.cpus[cpu];
        if on.fpu.is_none() {
            actions.push(Action::Online { cpu });
            return;
        }
        if self.scope.has(Kind::KernelSections) {
            actions.push(Action::KernelSection { cpu });
        }
        if self.scope.has(Kind::Sleep) {
            actions.push(Action::Sleep { cpu });
        }
        match on.current {
            None => self.without_thread(cpu, actions),
            Some(_) => {
                actions.push(Action::SwitchOut { cpu });
                match on.mode {
                    Mode::Kernel => actions.push(Action::Return { cpu }),
                    Mode::User => actions.push(Action::Write { cpu }),
                }
            }
        }
    }

    fn without_thread(&self, cpu: usize, actions: &mut Vec<Action>) {
        for (thread, waiting) in self.threads.iter().enumerate() {
            if waiting.as_ref().is_some_and(|t| t.on_cpu.is_none()) {
                actions.push(Action::SwitchIn { cpu, thread });
            }
        }
        if self.scope.has(Kind::Idle) {
            actions.push(Action::Idle { cpu });
        }
        if self.scope.has(Kind::Hotplug) {
            actions.push(Action::Offline { cpu });
        }
    }

    pub(super) fn perform(&mut self, action: Action) -> Step {
        match action {
            Action::SwitchIn { cpu, thread } => self.switch_in(cpu, thread),
            Action::SwitchOut { cpu } => self.switch_out(cpu),
            Action::Return { cpu } => self.return_to_user(cpu),
            Action::Write { cpu } => self.write(cpu),
            Action::KernelSection { cpu } => self.kernel_section(cpu),
            Action::Idle { cpu } => self.idle(cpu),
            Action::Sleep { cpu } => self.sleep(cpu),
            Action::Offline { cpu } => self.offline(cpu),
            Action::Online { cpu } => self.online(cpu),
        }
    }
}
