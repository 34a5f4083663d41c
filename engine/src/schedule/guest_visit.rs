//! Between two runs of a guest: what it has to show, and what it does next.

use fpstate::{AreaStorage, BoxedArea};

use super::backend::{Backend, Filler, GuestCode, GuestKind, GuestPhase, Hold};
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
        let answers = vcpu.code.take_answers();
        self.counts.known_answers.checked += answers.checked;
        self.counts.known_answers.wrong += answers.wrong;
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
            GuestPhase::Answered => {}
        }
        match vcpu.kind {
            GuestKind::Pattern | GuestKind::TilePattern | GuestKind::Denied => {
                self.prepare_hold(vcpu);
            }
            GuestKind::KnownAnswer | GuestKind::TileProduct | GuestKind::TogglesXfd => {}
        }
        Ok(())
    }

    /// A new pattern, held across a call of the host or for a while.
    fn prepare_hold(&mut self, vcpu: &mut Vcpu<'e, B>) {
        vcpu.generation += 1;
        let filler = Filler::Guest(vcpu.kind);
        let pattern = self
            .backend
            .pattern(filler, u64::from(vcpu.number), vcpu.generation);
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
        let placeholder = self.machine.new_vcpu(None, self.machine.guest_area()?)?;
        let ended = std::mem::replace(&mut vcpu.guest, placeholder);
        let has_grown = ended
            .fpstate()
            .is_some_and(|fpstate| !fpstate.grown_by().is_empty());
        let mut memory = ended.into_storage().map_err(|_| SliceError::VcpuInUse)?;
        if has_grown {
            memory = self.machine.guest_area()?;
        }
        vcpu.guest = self.machine.new_vcpu(vcpu.features, memory)?;
        vcpu.pending = None;
        vcpu.former_areas.clear();
        vcpu.code.begin_again();
        self.counts.vcpus_renewed += 1;
        Ok(())
    }

    /// Keeps what the area holds now and what it held before, for a fault that believes it.
    fn remember_area(&mut self, vcpu: &mut Vcpu<'e, B>) -> Result<(), SliceError> {
        let layout = match vcpu.guest.fpstate() {
            Some(fpstate) => *fpstate.layout(),
            None => return Ok(()),
        };
        let mut copy = BoxedArea::for_layout(&layout).map_err(|_| SliceError::NoMemory)?;
        if let Some(area) = vcpu.guest.area() {
            copy.bytes_mut().copy_from_slice(area);
        }
        vcpu.remember(copy);
        Ok(())
    }
}
