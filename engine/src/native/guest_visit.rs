//! Between two runs of a guest: what it has to show, and what it does next.

use std::ffi::c_void;

use fpstate::{AreaStorage, BoxedArea, GuestFpu};

use super::guest_code::GuestPhase;
use super::vcpu::{GuestKind, Vcpu};
use super::worker::{SliceError, Worker};
use crate::fault_injection::InjectedFault;
use crate::pattern::RegisterImage;

/// Turns of a loop; the longest hold lasts longer than a timer period.
const LONGEST_HOLD: u64 = 400_000;
/// Of a vCPU's returns, one in this many is its last.
const RENEWAL_ONE_IN: u32 = 64;

impl<'e> Worker<'_, 'e> {
    /// A guest came back by its own call.
    pub(super) fn guest_came_back(&mut self, vcpu: &mut Vcpu<'e>) -> Result<(), SliceError> {
        let number = vcpu.number;
        let owner = || format!("vCPU {number}");
        if self
            .injector
            .is_armed_with(InjectedFault::StaleAfterMigration)
        {
            self.remember_area(vcpu)?;
        }
        match vcpu.page().phase.get() {
            GuestPhase::Holding => return Ok(()),
            GuestPhase::Begun => {
                let found = vcpu.page().found.get();
                let initial = RegisterImage::initial_configuration();
                self.check(owner, "its creation", &initial, &found);
            }
            GuestPhase::Held => {
                let (pattern, found) = (vcpu.page().pattern.get(), vcpu.page().found.get());
                self.check(owner, "a hold", &pattern, &found);
                if self.random.u32(..RENEWAL_ONE_IN) == 0 {
                    return self.renew(vcpu);
                }
            }
            GuestPhase::Answered => self.take_answers(vcpu),
        }
        if vcpu.kind == GuestKind::Pattern {
            self.prepare_hold(vcpu);
        }
        Ok(())
    }

    /// A new pattern, held across a call of the host or for a while.
    fn prepare_hold(&mut self, vcpu: &mut Vcpu<'e>) {
        vcpu.generation += 1;
        let generation = vcpu.generation;
        let seed = u64::from(vcpu.number);
        vcpu.page()
            .pattern
            .set(self.machine.patterns.pattern(seed, generation));
        if self.random.u32(..4) == 0 {
            vcpu.hold_for(self.random.u64(..LONGEST_HOLD));
        } else {
            vcpu.hold_across_an_exit(self.random.u64(..64));
        }
    }

    fn take_answers(&mut self, vcpu: &Vcpu<'e>) {
        let page = vcpu.page();
        self.counts.known_answers.checked += page.answers.take();
        self.counts.known_answers.wrong += page.wrong_answers.take();
    }

    /// The vCPU ends, and another one begins in its memory: it must find the initial configuration,
    /// and no CPU may take it for the one that was there before.
    fn renew(&mut self, vcpu: &mut Vcpu<'e>) -> Result<(), SliceError> {
        let placeholder = GuestFpu::new(self.machine.new_state()?);
        let ended = std::mem::replace(&mut vcpu.guest, placeholder);
        let storage = ended.into_storage().map_err(|_| SliceError::VcpuInUse)?;
        vcpu.guest = GuestFpu::new(self.machine.state_in(storage)?);
        vcpu.former_areas.clear();
        vcpu.begin_again();
        self.counts.vcpus_renewed += 1;
        Ok(())
    }

    /// Keeps what the area holds now and what it held before, for a fault that believes it.
    fn remember_area(&mut self, vcpu: &mut Vcpu<'e>) -> Result<(), SliceError> {
        let mut copy =
            BoxedArea::for_layout(&self.machine.layout).map_err(|_| SliceError::NoMemory)?;
        if let Some(area) = vcpu.guest.area() {
            copy.bytes_mut().copy_from_slice(area);
        }
        if vcpu.former_areas.len() == 2 {
            vcpu.former_areas.pop_front();
        }
        vcpu.former_areas.push_back(copy);
        Ok(())
    }
}

impl Vcpu<'_> {
    /// What the area held before its last run.
    pub(super) fn former_area(&mut self) -> Option<*mut c_void> {
        match self.former_areas.len() {
            2 => self
                .former_areas
                .front_mut()
                .map(|area| area.bytes_mut().as_mut_ptr().cast()),
            _ => None,
        }
    }
}
