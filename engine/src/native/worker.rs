//! One CPU: an OS thread, pinned, that runs slices of tenants.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fpstate::{
    BoxedArea, CpuFpu, EnterError, ForkError, Fpstate, Identities, ImportError, KernelSection,
    Layout, LeaveError, LifeError, OtherSection, Restoring, SignalFrameError, StateError, Switch,
    SwitchError,
};
use fpstate_arch::{ComponentSet, Enumeration};
use fpstate_native::UserProcessor;

use super::guest_slice::Migrated;
use super::preemption::PreemptedImage;
use super::script::Script;
use super::tenant::Tenant;
use crate::fault_injection::Injector;
use crate::pattern::{Patterns, RegisterImage, RegisterMoves, compare};
use crate::report::{Corruption, Counts};

/// Corruptions described in a report; all are counted.
pub(super) const MOST_REPORTED: usize = 16;

/// What the CPUs share.
#[derive(Debug)]
pub(super) struct Machine<'e> {
    pub(super) enumeration: &'e Enumeration,
    pub(super) layout: Layout<'e>,
    pub(super) identities: &'e Identities,
    pub(super) patterns: Patterns,
    pub(super) moves: RegisterMoves,
    pub(super) mxcsr_mask: u32,
    /// Components that Linux switches for us, PKRU.
    pub(super) kept_elsewhere: ComponentSet,
    pub(super) queue: Mutex<VecDeque<Box<Tenant<'e>>>>,
    pub(super) stop: AtomicBool,
    pub(super) entries: AtomicU64,
    pub(super) corruptions: AtomicU64,
}

impl<'e> Machine<'e> {
    /// A state in its initial configuration.
    pub(super) fn new_state(&self) -> Result<Fpstate<'e, BoxedArea>, SliceError> {
        self.state_in(BoxedArea::for_layout(&self.layout).map_err(|_| SliceError::NoMemory)?)
    }

    /// A new state in memory that another one had.
    pub(super) fn state_in(&self, area: BoxedArea) -> Result<Fpstate<'e, BoxedArea>, SliceError> {
        Fpstate::new(self.layout, area, self.identities)
            .map_err(|refused| SliceError::State(refused.error))
    }

    /// Takes a waiting tenant.
    fn take_tenant(&self, random: &mut fastrand::Rng) -> Option<Box<Tenant<'e>>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let index = random.usize(..queue.len().max(1));
        queue.swap_remove_back(index)
    }

    fn put_back(&self, tenant: Box<Tenant<'e>>) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(tenant);
    }
}

/// One CPU at work.
#[derive(Debug)]
pub(super) struct Worker<'w, 'e> {
    pub(super) machine: &'w Machine<'e>,
    pub(super) cpu: CpuFpu<UserProcessor<'w>>,
    /// Rust code uses the registers: open whenever no script is being put together.
    pub(super) section: Option<KernelSection>,
    pub(super) script: Script,
    pub(super) image: PreemptedImage,
    pub(super) random: fastrand::Rng,
    pub(super) injector: Injector,
    pub(super) counts: Counts,
    pub(super) corruptions: Vec<Corruption>,
    /// What kernel sections put into the registers.
    pub(super) kernel_values: Box<RegisterImage>,
}

impl<'e> Worker<'_, 'e> {
    /// Runs slices until the machine stops, then ends the tenants that are left.
    pub(super) fn work(&mut self) -> Result<(), SliceError> {
        while !self.machine.stop.load(Ordering::Relaxed) {
            let Some(mut tenant) = self.machine.take_tenant(&mut self.random) else {
                std::thread::yield_now();
                continue;
            };
            let sliced = self.slice(&mut tenant);
            self.machine.put_back(tenant);
            sliced?;
        }
        self.counts.faults_injected = self.injector.injected();
        while let Some(tenant) = self.machine.take_tenant(&mut self.random) {
            self.retire(*tenant)?;
        }
        Ok(())
    }

    fn slice(&mut self, tenant: &mut Tenant<'e>) -> Result<(), SliceError> {
        let migrated = match tenant.last_cpu.replace(self.cpu.id()) {
            Some(last) if last != self.cpu.id() => Migrated::Yes,
            Some(_) | None => Migrated::No,
        };
        if migrated == Migrated::Yes {
            let in_guest = tenant.task.thread.running_guest().is_some();
            self.counts.migrations += 1;
            self.counts.migrations_in_guest += u64::from(in_guest);
        }
        self.registers_from_rust()?;
        tenant.task.values.choose_next(&self.machine.patterns);
        match &mut tenant.vcpu {
            Some(vcpu) => self.guest_slice(&mut tenant.task, vcpu, migrated),
            None => self.task_slice(&mut tenant.task),
        }
    }

    /// Rust's vector code is over until the script is carried out.
    fn registers_from_rust(&mut self) -> Result<(), SliceError> {
        match self.section.take() {
            Some(section) => Ok(self.cpu.end_kernel_section(section)?),
            None => Ok(()),
        }
    }

    /// Compares what a check read with what it should have read.
    pub(super) fn check(
        &mut self,
        owner: impl FnOnce() -> String,
        after: &str,
        expected: &RegisterImage,
        found: &RegisterImage,
    ) {
        let comparison = compare(expected, found, self.machine.moves.width());
        self.counts.registers_checked += u64::from(comparison.checked);
        let Some(first) = comparison.first else {
            return;
        };
        self.counts.corruptions += 1;
        self.machine.corruptions.fetch_add(1, Ordering::Relaxed);
        if self.corruptions.len() < MOST_REPORTED {
            self.corruptions.push(Corruption {
                owner: owner(),
                after: after.to_owned(),
                register: first.register.to_string(),
                expected: first.expected.to_string(),
                found: first.found.to_string(),
                registers: comparison.mismatches,
            });
        }
    }

    /// The end of a tenant's life: out of the guest, memory given back.
    fn retire(&mut self, tenant: Tenant<'e>) -> Result<(), SliceError> {
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

/// What can go wrong in a slice besides a corruption. None of it should ever happen: the library
/// refuses what contradicts its bookkeeping, and the engine does not contradict it.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// A switch was refused.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// Entering a guest was refused.
    #[error("entering a guest: {0}")]
    Enter(#[from] EnterError),
    /// Leaving a guest was refused.
    #[error("leaving a guest: {0}")]
    Leave(#[from] LeaveError),
    /// The signal frame of a preempted guest was not understood.
    #[error("the signal frame of a preempted guest: {0}")]
    SignalFrame(#[from] SignalFrameError),
    /// A preempted guest's image does not fit its state.
    #[error("the image of a preempted guest: {0}")]
    Import(#[from] ImportError),
    /// A thread could not fork.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// A thread could not exec or exit.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// A state could not be made.
    #[error(transparent)]
    State(#[from] StateError),
    /// A kernel section was to be ended that was not open.
    #[error(transparent)]
    KernelSection(#[from] OtherSection),
    /// What was carried out ahead of its decision is not what the library decided.
    #[error("carried out {done:?}; decided {decided:?}")]
    DoneAhead {
        /// What the script did.
        done: Switch,
        /// What the library decided afterwards.
        decided: Switch,
    },
    /// A guest was taken off without an image.
    #[error("a preempted guest left no image")]
    NoImage,
    /// The allocator refused.
    #[error("out of memory")]
    NoMemory,
    /// A vCPU was in a thread while it ended.
    #[error("a vCPU ended while a thread ran it")]
    VcpuInUse,
    /// The operating system refused.
    #[error("the operating system refused: {0}")]
    Os(#[from] nix::errno::Errno),
}
