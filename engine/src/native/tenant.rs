//! A thread that is scheduled, with or without a vCPU.

use fpstate::CpuId;

use super::host_task::HostTask;
use super::vcpu::Vcpu;

/// A host task and the vCPU it runs, if it runs one.
#[derive(Debug)]
pub(super) struct Tenant<'e> {
    pub(super) task: HostTask<'e>,
    pub(super) vcpu: Option<Vcpu<'e>>,
    /// The CPU it ran on last.
    pub(super) last_cpu: Option<CpuId>,
}
