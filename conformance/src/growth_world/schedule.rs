//! Which action comes next, and how one is done.

use fastrand::Rng;

use super::actions::{Action, Deed, Needs, Performed};
use super::{GrowthWorld, Hardware, Step};

impl<P: Hardware> GrowthWorld<'_, P> {
    /// The next action of this world's seed. It depends on what the world has come to, on nothing
    /// else but the seed and how many were chosen before.
    pub fn choose(&mut self) -> Action {
        let cpu = self.schedule.usize(0..self.cpus.len());
        let dice = self.schedule.u8(0..100);
        let seed = self.schedule.u64(..);
        let deed = match self.cpus[cpu].current {
            None => while_idle(dice),
            Some(thread) if self.thread(thread).guest.is_some() => in_guest(dice),
            Some(_) => outside_guests(dice),
        };
        let cpu = u16::try_from(cpu).expect("fewer CPUs");
        Action { deed, cpu, seed }
    }

    /// Does `action`, unless the world is not as it needs it.
    ///
    /// # Errors
    /// What went wrong.
    pub fn perform(&mut self, action: Action) -> Result<Performed, String> {
        let Action { deed, cpu, seed } = action;
        self.random = Rng::with_seed(seed);
        let decisions = self.random.fork();
        self.lender.decide_by(decisions);
        self.touched.clear();
        let cpu = usize::from(cpu);
        if cpu >= self.cpus.len() || !self.has(deed.needs(), cpu) {
            return Ok(Performed::Skipped);
        }
        self.touch_cpu(cpu);
        let done = match self.cpus[cpu].current {
            None => self.on_cpu(deed, cpu),
            Some(thread) => self.by_thread(deed, cpu, thread),
        };
        self.touch_cpu(cpu);
        done.map(|()| Performed::Done)
    }

    fn has(&self, needs: Needs, cpu: usize) -> bool {
        let current = self.cpus[cpu].current.map(|slot| self.thread(slot));
        match needs {
            Needs::Nothing => true,
            Needs::IdleCpu => current.is_none(),
            Needs::Thread => current.is_some(),
            Needs::ThreadInGuest => current.is_some_and(|thread| thread.guest.is_some()),
            Needs::ThreadOutsideGuests => current.is_some_and(|thread| thread.guest.is_none()),
        }
    }

    fn by_thread(&mut self, deed: Deed, cpu: usize, thread: usize) -> Step {
        match deed {
            Deed::SwitchAway => self.switch_away(cpu, thread),
            Deed::LeaveGuest => self.leave_guest(cpu, thread),
            Deed::RunGuest => self.run_guest(cpu, thread),
            Deed::InitRunningGuest => self.init_running_guest(cpu, thread),
            Deed::EnterGuest => self.enter_guest(cpu, thread),
            Deed::UserCode => self.user_code(cpu, thread),
            Deed::Signal => self.signal(cpu, thread),
            Deed::Sigreturn => self.sigreturn(cpu, thread),
            Deed::Exec => self.exec(cpu, thread),
            Deed::Grow => self.grow(cpu, thread),
            Deed::ReleaseThread => self.release_thread(cpu, thread),
            Deed::Request => self.request(cpu, thread),
            Deed::Fork => self.fork(cpu, thread),
            Deed::Exit => self.exit(cpu, thread),
            Deed::Misuse => self.misuse(cpu, thread),
            Deed::Schedule
            | Deed::Idle
            | Deed::Sleep
            | Deed::Restart
            | Deed::KernelSection
            | Deed::GrowIdleGuest
            | Deed::ReleaseGuest
            | Deed::GrowWaitingThread
            | Deed::Vmm
            | Deed::Create => self.on_cpu(deed, cpu),
        }
    }

    fn on_cpu(&mut self, deed: Deed, cpu: usize) -> Step {
        match deed {
            Deed::Schedule => self.schedule(cpu),
            Deed::Idle => self.idle(cpu),
            Deed::Sleep => self.sleep(cpu),
            Deed::Restart => self.restart(cpu),
            Deed::KernelSection => self.kernel_section(cpu),
            Deed::GrowIdleGuest => self.grow_idle_guest(),
            Deed::ReleaseGuest => self.release_guest(),
            Deed::GrowWaitingThread => self.grow_a_waiting_thread(cpu),
            Deed::Vmm => self.vmm(),
            Deed::Create => self.create(),
            Deed::SwitchAway
            | Deed::LeaveGuest
            | Deed::RunGuest
            | Deed::InitRunningGuest
            | Deed::EnterGuest
            | Deed::UserCode
            | Deed::Signal
            | Deed::Sigreturn
            | Deed::Exec
            | Deed::Grow
            | Deed::ReleaseThread
            | Deed::Request
            | Deed::Fork
            | Deed::Exit
            | Deed::Misuse => Err(format!("{} on an idle CPU", deed.name())),
        }
    }
}

const fn while_idle(dice: u8) -> Deed {
    match dice {
        0..50 => Deed::Schedule,
        50..56 => Deed::KernelSection,
        56..66 => Deed::Idle,
        66..70 => Deed::Sleep,
        70..73 => Deed::Restart,
        73..76 => Deed::Create,
        76..84 => Deed::GrowIdleGuest,
        84..86 => Deed::ReleaseGuest,
        86..90 => Deed::GrowWaitingThread,
        _ => Deed::Vmm,
    }
}

const fn in_guest(dice: u8) -> Deed {
    match dice {
        10..18 => Deed::LeaveGuest,
        18..58 => Deed::RunGuest,
        97 => Deed::InitRunningGuest,
        other => with_any_thread(other),
    }
}

const fn outside_guests(dice: u8) -> Deed {
    match dice {
        10..22 => Deed::EnterGuest,
        22..50 => Deed::UserCode,
        50..54 => Deed::Signal,
        54..58 => Deed::Sigreturn,
        86 => Deed::Exec,
        other => with_any_thread(other),
    }
}

const fn with_any_thread(dice: u8) -> Deed {
    match dice {
        0..10 => Deed::SwitchAway,
        10..72 => Deed::Grow,
        72..77 => Deed::KernelSection,
        77..80 => Deed::ReleaseThread,
        80..83 => Deed::Request,
        83..86 => Deed::Fork,
        87 => Deed::Exit,
        86 | 88..90 | 94..96 => Deed::ReleaseGuest,
        90..94 => Deed::Vmm,
        96 => Deed::GrowIdleGuest,
        97 => Deed::GrowWaitingThread,
        _ => Deed::Misuse,
    }
}
