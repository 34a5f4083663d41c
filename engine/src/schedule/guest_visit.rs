//! Between two runs of a guest: what it has to show, and what it does next.

use fpstate::{AreaStorage, BoxedArea, GuestFpu};

use super::backend::{Backend, GuestCode, GuestKind, GuestPhase, Hold};
use super::slice_error::SliceError;
use super::tenant::Vcpu;
use super::worker::Worker;
use crate::fault_injection::InjectedFault;

/// Of a vCPU's holds, one in this many is its last.
const RENEWAL_ONE_IN: u32 = 64;

impl<'e, B: Backend> Worker<'_, 'e, B> {
    /// A guest came back by its own call.
    pub(super) fn guest_came_back(&mut self, vcpu: &mut Vcpu<'e, B>) -> Result<(), SliceError> {
        let number = vcpu.number;
        let owner = || format!("vCPU {number}");
        if self
            .injector
            .is_armed_with(InjectedFault::StaleAfterMigration)
        {
            self.remember_area(vcpu)?;
        }
        match vcpu.code.phase() {
            GuestPhase::Holding => return Ok(()),
            GuestPhase::Begun => {
                let initial = self.backend.initial_values();
                self.check(owner, "its creation", &initial, &vcpu.code.found());
            }
            GuestPhase::Held => {
                self.check(owner, "a hold", &vcpu.code.pattern(), &vcpu.code.found());
                if self.random.u32(..RENEWAL_ONE_IN) == 0 {
                    return self.renew(vcpu);
                }
            }
            GuestPhase::Answered => {
                let answers = vcpu.code.take_answers();
                self.counts.known_answers.checked += answers.checked;
                self.counts.known_answers.wrong += answers.wrong;
            }
        }
        match vcpu.kind {
            GuestKind::Pattern => self.prepare_hold(vcpu),
            GuestKind::KnownAnswer => {}
        }
        Ok(())
    }

    /// A new pattern, held across a call of the host or for a while.
    fn prepare_hold(&mut self, vcpu: &mut Vcpu<'e, B>) {
        vcpu.generation += 1;
        let pattern = self
            .backend
            .pattern(u64::from(vcpu.number), vcpu.generation);
        let how = if self.random.u32(..4) == 0 {
            Hold::ForAWhile(self.random.u64(..B::LONGEST_HOLD))
        } else {
            Hold::AcrossACall(self.random.u64(..64))
        };
        vcpu.code.hold(pattern, how);
    }

    /// The vCPU ends, and another one begins in its memory: it must find the initial configuration,
    /// and no CPU may take it for the one that was there before.
    fn renew(&mut self, vcpu: &mut Vcpu<'e, B>) -> Result<(), SliceError> {
        let placeholder = GuestFpu::new(self.machine.new_state()?);
        let ended = std::mem::replace(&mut vcpu.guest, placeholder);
        let storage = ended.into_storage().map_err(|_| SliceError::VcpuInUse)?;
        vcpu.guest = GuestFpu::new(self.machine.state_in(storage)?);
        vcpu.kept = B::KeptByKernel::default();
        vcpu.former_areas.clear();
        vcpu.code.begin_again();
        self.counts.vcpus_renewed += 1;
        Ok(())
    }

    /// Keeps what the area holds now and what it held before, for a fault that believes it.
    fn remember_area(&mut self, vcpu: &mut Vcpu<'e, B>) -> Result<(), SliceError> {
        let mut copy =
            BoxedArea::for_layout(&self.machine.layout).map_err(|_| SliceError::NoMemory)?;
        if let Some(area) = vcpu.guest.area() {
            copy.bytes_mut().copy_from_slice(area);
        }
        if vcpu.has_former_area() {
            vcpu.former_areas.pop_front();
        }
        vcpu.former_areas.push_back(copy);
        Ok(())
    }
}
