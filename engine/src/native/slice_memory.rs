//! Where the steps of one slice read and write. Every pointer is taken once, before the first step
//! is put together, and no reference to what it points to is made until the script is carried out.

use std::ffi::c_void;

use super::host_task::{CHECKS, HostTask, TaskValues};
use super::script::NO_AREA;
use super::vcpu::Vcpu;
use crate::pattern::RegisterImage;

/// The areas and register images of one slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct SliceMemory {
    /// The area of the task's own state.
    pub(super) own: *mut c_void,
    /// The area of its guest's state.
    pub(super) guest: *mut c_void,
    /// What the task puts into its registers.
    pub(super) next: *mut RegisterImage,
    /// Where it writes what they held.
    pub(super) found: [*mut RegisterImage; CHECKS],
}

impl SliceMemory {
    /// For a task without a vCPU.
    pub(super) fn of_task(task: &mut HostTask<'_>) -> Self {
        let TaskValues { next, found, .. } = &mut *task.values;
        let [first, second, third] = found;
        Self {
            own: task.thread.own_area().as_mut_ptr().cast(),
            guest: NO_AREA,
            next,
            found: [first, second, third],
        }
    }

    /// For a task with a vCPU, which it is running or not.
    pub(super) fn of_task_and_vcpu(task: &mut HostTask<'_>, vcpu: &mut Vcpu<'_>) -> Self {
        let guest = match vcpu.guest.area() {
            Some(area) => area.as_mut_ptr().cast(),
            None => task.thread.active_area().as_mut_ptr().cast(),
        };
        Self {
            guest,
            ..Self::of_task(task)
        }
    }
}
