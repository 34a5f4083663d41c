//! A thread that is scheduled: a host task and the vCPU it runs, if it runs one.

use std::collections::VecDeque;

use fpstate::{AreaStorage, BoxedArea, CpuId, Expansion, GuestFeatures, GuestFpu, ThreadFpu};

use super::backend::{Backend, Filler, GuestKind};

/// After its last run, and before.
const FORMER_AREAS: usize = 2;
/// How often one slice reads the task's registers back.
pub(crate) const CHECKS: usize = 3;

/// A host task and the vCPU it runs.
#[derive(Debug)]
pub(crate) struct Tenant<'e, B: Backend> {
    pub(crate) task: HostTask<'e, B>,
    pub(crate) vcpu: Option<Vcpu<'e, B>>,
    /// The CPU it ran on last.
    pub(crate) last_cpu: Option<CpuId>,
}

/// An extended state of its own, and a pattern in it.
#[derive(Debug)]
pub(crate) struct HostTask<'e, B: Backend> {
    pub(crate) number: u32,
    pub(crate) thread: ThreadFpu<'e, BoxedArea>,
    pub(crate) values: Box<TaskValues<B>>,
}

/// What the task's registers should hold, and what they held.
#[derive(Debug)]
pub(crate) struct TaskValues<B: Backend> {
    /// What they hold while the task is not running.
    pub(crate) held: B::Values,
    /// What the task puts there next.
    pub(crate) next: B::Values,
    /// What they held at each check of a slice.
    pub(crate) found: [B::Values; CHECKS],
    pub(crate) kept: B::KeptByKernel,
    /// Number of `next`.
    generation: u64,
    seed: u64,
}

impl<B: Backend> TaskValues<B> {
    pub(crate) fn new(backend: &B, seed: u64) -> Self {
        let initial = backend.initial_values();
        Self {
            held: initial.clone(),
            next: initial.clone(),
            found: std::array::from_fn(|_| initial.clone()),
            kept: B::KeptByKernel::default(),
            generation: 0,
            seed,
        }
    }

    /// The task is about to put a new pattern into its registers.
    pub(crate) fn choose_next(&mut self, backend: &B) {
        self.generation += 1;
        let pattern = backend.pattern(Filler::Host, self.seed, self.generation);
        self.next = backend.with_on_demand_of(pattern, &self.held);
    }

    /// A new program begins: the initial configuration.
    pub(crate) fn begin_program(&mut self, backend: &B) {
        self.held = backend.initial_values();
        self.kept = B::KeptByKernel::default();
    }
}

/// A vCPU.
#[derive(Debug)]
pub(crate) struct Vcpu<'e, B: Backend> {
    pub(crate) number: u32,
    pub(crate) kind: GuestKind,
    /// Its state between runs.
    pub(crate) guest: GuestFpu<'e, BoxedArea>,
    pub(crate) code: B::Guest,
    /// What its CPUID offers; `None` for what its state has room for.
    pub(crate) features: Option<GuestFeatures>,
    /// What its state has to grow for before its next run.
    pub(crate) pending: Option<Expansion<'e>>,
    /// Number of the pattern it holds.
    pub(crate) generation: u64,
    /// What its area held after its last runs, newest last, for
    /// [`StaleAfterMigration`](crate::InjectedFault::StaleAfterMigration); empty otherwise.
    pub(crate) former_areas: VecDeque<BoxedArea>,
}

impl<B: Backend> Vcpu<'_, B> {
    /// Whether it is known what the area held before its last run, when it was as long as it is now.
    pub(crate) fn has_former_area(&self) -> bool {
        match (self.former_areas.front(), self.former_areas.back()) {
            (Some(former), Some(last)) if self.former_areas.len() == FORMER_AREAS => {
                former.bytes().len() == last.bytes().len()
            }
            (_, _) => false,
        }
    }

    /// Keeps one more of what the area held.
    pub(crate) fn remember(&mut self, area: BoxedArea) {
        if self.former_areas.len() == FORMER_AREAS {
            self.former_areas.pop_front();
        }
        self.former_areas.push_back(area);
    }
}

/// What the steps of a slice work on.
#[derive(Debug)]
pub(crate) struct Operands<'a, B: Backend> {
    pub(crate) own: &'a mut [u8],
    /// The guest's area, where a guest runs.
    pub(crate) guest: Option<&'a mut [u8]>,
    pub(crate) former: Option<&'a mut [u8]>,
    pub(crate) values: &'a mut TaskValues<B>,
    pub(crate) kernel_values: &'a mut B::Values,
    #[cfg_attr(
        not(all(target_arch = "x86_64", target_os = "linux")),
        expect(
            dead_code,
            reason = "the model's guests take their steps outside the script"
        )
    )]
    pub(crate) code: Option<&'a mut B::Guest>,
}

impl<B: Backend> Tenant<'_, B> {
    /// The operands of a script that was put together for this tenant.
    pub(crate) fn operands<'a>(&'a mut self, kernel_values: &'a mut B::Values) -> Operands<'a, B> {
        let (own, guest) = self.task.thread.areas();
        let values = &mut *self.task.values;
        let (former, code) = match &mut self.vcpu {
            Some(vcpu) => (
                vcpu.former_areas.front_mut().map(AreaStorage::bytes_mut),
                Some(&mut vcpu.code),
            ),
            None => (None, None),
        };
        Operands {
            own,
            guest,
            former,
            values,
            kernel_values,
            code,
        }
    }
}
