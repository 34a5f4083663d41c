//! One CPU.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fpstate::{
    BoxedArea, CpuFpu, Decided, Fpstate, GuestFeatures, GuestFpu, Identities, KernelSection,
    Layout, Restoring, Switch, ThreadFpu,
};

use super::backend::{Backend, Comparison, Filler, GuestKind};
use super::script::{Omit, Outcome, Script};
use super::slice_error::SliceError;
use super::task_slice::{Checks, Holding};
use super::tenant::{HostTask, TaskValues, Tenant, Vcpu};
use crate::config::{GuestMix, RunConfig};
use crate::fault_injection::Injector;
use crate::report::{Corruption, Counts};

/// Corruptions described in a report; all are counted.
pub(crate) const MOST_REPORTED: usize = 16;

/// Layouts of states that have not grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layouts<'e> {
    /// Of a thread's own state.
    pub(crate) thread: Layout<'e>,
    /// Of a guest's.
    pub(crate) guest: Layout<'e>,
}

/// A guest's code, and what CPUID offers it; `None` for what its state has room for.
pub(crate) type NewGuest<G> = (G, Option<GuestFeatures>);

/// What the CPUs share.
#[derive(Debug)]
pub(crate) struct Machine<'e, B: Backend> {
    layouts: Layouts<'e>,
    pub(crate) identities: &'e Identities,
    pub(crate) queue: Mutex<VecDeque<Box<Tenant<'e, B>>>>,
    pub(crate) entries: AtomicU64,
    pub(crate) corruptions: AtomicU64,
}

impl<'e, B: Backend> Machine<'e, B> {
    /// A machine without tenants.
    pub(crate) fn new(layouts: Layouts<'e>, identities: &'e Identities) -> Self {
        Self {
            layouts,
            identities,
            queue: Mutex::new(VecDeque::new()),
            entries: AtomicU64::new(0),
            corruptions: AtomicU64::new(0),
        }
    }

    /// Lets a tenant wait for each task of a run; `new_guest` makes guests.
    pub(crate) fn admit(
        &self,
        backend: &B,
        config: &RunConfig,
        guests: GuestMix,
        mut new_guest: impl FnMut(GuestKind) -> Result<NewGuest<B::Guest>, SliceError>,
    ) -> Result<(), SliceError> {
        for number in 0..config.vcpus() + config.plain_tasks() {
            let values = Box::new(TaskValues::new(backend, config.seed_of_task(number)));
            let task = HostTask {
                number,
                thread: ThreadFpu::new(self.new_state()?),
                values,
            };
            let vcpu = match config.guest_of_task(number, guests) {
                Some(kind) => {
                    let (code, features) = new_guest(kind)?;
                    Some(Vcpu {
                        number,
                        kind,
                        guest: self.new_vcpu(features, self.guest_area()?)?,
                        code,
                        features,
                        pending: None,
                        generation: 0,
                        former_areas: VecDeque::new(),
                    })
                }
                None => None,
            };
            self.put_back(Box::new(Tenant {
                task,
                vcpu,
                last_cpu: None,
            }));
        }
        Ok(())
    }

    /// A thread's state in its initial configuration.
    pub(crate) fn new_state(&self) -> Result<Fpstate<'e, BoxedArea>, SliceError> {
        let layout = self.layouts.thread;
        let area = BoxedArea::for_layout(&layout).map_err(|_| SliceError::NoMemory)?;
        Fpstate::new(layout, area, self.identities)
            .map_err(|refused| SliceError::State(refused.error))
    }

    /// Memory for a guest's state.
    pub(crate) fn guest_area(&self) -> Result<BoxedArea, SliceError> {
        BoxedArea::for_layout(&self.layouts.guest).map_err(|_| SliceError::NoMemory)
    }

    /// A vCPU in `area`, which another one may have had, whose XCR0 and IA32_XSS have what it is
    /// offered.
    pub(crate) fn new_vcpu(
        &self,
        features: Option<GuestFeatures>,
        area: BoxedArea,
    ) -> Result<GuestFpu<'e, BoxedArea>, SliceError> {
        let fpstate = Fpstate::new(self.layouts.guest, area, self.identities)
            .map_err(|refused| SliceError::State(refused.error))?;
        let Some(features) = features else {
            return Ok(GuestFpu::new(fpstate));
        };
        let mut guest = GuestFpu::offered(fpstate, features).map_err(|(error, _)| error)?;
        guest.write_xcr0(features.user())?;
        guest.write_xss(features.supervisor())?;
        Ok(guest)
    }

    /// Takes a waiting tenant.
    pub(crate) fn take_tenant(&self, random: &mut fastrand::Rng) -> Option<Box<Tenant<'e, B>>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let index = random.usize(..queue.len().max(1));
        queue.swap_remove_back(index)
    }

    /// Lets a tenant wait.
    pub(crate) fn put_back(&self, tenant: Box<Tenant<'e, B>>) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(tenant);
    }
}

/// Whether the thread ran on another CPU before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Migrated {
    Yes,
    No,
}

/// What a script that was put together will have done once it is carried out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) checks: Checks,
    pub(super) holding: Holding,
    pub(super) guest: Option<GuestPlan>,
    /// The counts without that way back, which may be decided again.
    pub(super) counted: Counts,
}

/// The way back from a guest, if it comes back by its own call.
#[derive(Debug)]
pub(super) struct GuestPlan {
    pub(super) restoring: Restoring,
    pub(super) leave: Decided,
    /// What the leave leaves out on purpose.
    pub(super) omit: Omit,
    /// The save that follows, carried out ahead of its decision.
    pub(super) at_end: Switch,
}

/// One CPU at work.
#[derive(Debug)]
pub(crate) struct Worker<'w, 'e, B: Backend> {
    pub(crate) machine: &'w Machine<'e, B>,
    pub(crate) backend: B,
    pub(crate) cpu: CpuFpu<B::Processor>,
    /// The engine's own code uses the registers: open whenever no script is under way.
    pub(crate) section: Option<KernelSection>,
    pub(crate) script: Script,
    pub(crate) random: fastrand::Rng,
    pub(crate) injector: Injector,
    pub(crate) counts: Counts,
    pub(crate) corruptions: Vec<Corruption>,
    /// What kernel sections put into the registers.
    pub(crate) kernel_values: B::Values,
}

impl<'w, 'e, B: Backend> Worker<'w, 'e, B> {
    /// A CPU with nothing to do, whose random choices derive from `seed`.
    pub(crate) fn new(
        machine: &'w Machine<'e, B>,
        backend: B,
        cpu: CpuFpu<B::Processor>,
        config: &RunConfig,
        seed: u64,
    ) -> Self {
        let kernel_values = backend.pattern(Filler::Host, seed, u64::MAX);
        Self {
            machine,
            backend,
            cpu,
            section: None,
            script: Script::default(),
            random: fastrand::Rng::with_seed(seed),
            injector: Injector::new(config.inject(), config.fault_odds(), seed),
            counts: Counts::default(),
            corruptions: Vec::new(),
            kernel_values,
        }
    }

    /// Puts a slice of `tenant` together.
    pub(crate) fn begin(&mut self, tenant: &mut Tenant<'e, B>) -> Result<Plan, SliceError> {
        let migrated = match tenant.last_cpu.replace(self.cpu.id()) {
            Some(last) if last != self.cpu.id() => Migrated::Yes,
            Some(_) | None => Migrated::No,
        };
        if migrated == Migrated::Yes {
            let in_guest = tenant.task.thread.running_guest().is_some();
            self.counts.migrations += 1;
            self.counts.migrations_in_guest += u64::from(in_guest);
        }
        if let Some(section) = self.section.take() {
            self.cpu.end_kernel_section(section)?;
        }
        self.script.clear();
        let Tenant { task, vcpu, .. } = tenant;
        if vcpu.is_none() {
            self.begin_or_fork(task)?;
        }
        if task.thread.running_guest().is_none() {
            self.backend
                .use_on_demand(task, &mut self.cpu, &mut self.counts)?;
        }
        task.values.choose_next(&self.backend);
        match vcpu {
            Some(vcpu) => self.begin_guest_slice(task, vcpu, migrated),
            None => self.begin_task_slice(task),
        }
    }

    /// Notes and compares what a script did that was carried out.
    pub(crate) fn finish(
        &mut self,
        tenant: &mut Tenant<'e, B>,
        plan: Plan,
        outcome: Outcome,
    ) -> Result<(), SliceError> {
        let Plan {
            checks,
            holding,
            guest,
            counted: _,
        } = plan;
        match (&mut tenant.vcpu, guest) {
            (Some(vcpu), Some(guest)) => {
                self.finish_guest_slice(&mut tenant.task, vcpu, (checks, holding), guest, outcome)
            }
            (_, None) | (None, _) => {
                self.finish_task(&mut tenant.task, &checks, holding);
                Ok(())
            }
        }
    }

    /// Compares what a check read with what it should have read.
    pub(super) fn check(
        &mut self,
        owner: impl FnOnce() -> String,
        after: &str,
        expected: &B::Values,
        found: &B::Values,
    ) {
        let Comparison {
            checked,
            mismatches,
            first,
        } = self.backend.compare(expected, found);
        self.counts.registers_checked += u64::from(checked);
        let Some(first) = first else {
            return;
        };
        self.counts.corruptions += 1;
        self.machine.corruptions.fetch_add(1, Ordering::Relaxed);
        if self.corruptions.len() < MOST_REPORTED {
            self.corruptions.push(Corruption {
                owner: owner(),
                after: after.to_owned(),
                register: first.register,
                expected: first.expected,
                found: first.found,
                registers: mismatches,
            });
        }
    }

    /// The end of a tenant's life: out of the guest, memory given back.
    pub(crate) fn retire(&mut self, tenant: Tenant<'e, B>) -> Result<(), SliceError> {
        let mut thread = tenant.task.thread;
        if let Some(mut vcpu) = tenant.vcpu
            && thread.running_guest().is_some()
        {
            thread.leave_guest(&mut vcpu.guest, &mut self.cpu, Restoring::Deferred)?;
        }
        thread
            .exit(&mut self.cpu)
            .map(drop)
            .map_err(|(error, _)| SliceError::Life(error))
    }
}
