//! A guest's state grows when the guest first uses an on-demand component, and gives memory back.

use fpstate::{BoxedArea, Expansion, MoveError, ResizeError};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::xsave_header::XSAVE_HEADER_LEN;

use super::backend::{Backend, GuestKind};
use super::slice_error::SliceError;
use super::tenant::{HostTask, Vcpu};
use super::worker::Worker;
use crate::config::UNUSED_EXITS_BEFORE_RELEASE;
use crate::fault_injection::InjectedFault;

/// Of the leaves after which a release is not due, one in this many is followed by an attempt. It is
/// refused where tiles are in use.
const EARLY_RELEASE_ONE_IN: u32 = 16;

/// What became of a guest whose state has to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFault {
    /// Its instruction is executed again.
    GoesOn,
    /// It is taken off, and its state grows before it runs again.
    Waits,
}

impl<'e, B: Backend> Worker<'_, 'e, B> {
    /// The guest of `task` raised #NM because its state has no room.
    pub(crate) fn guest_needs(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        expansion: Expansion<'e>,
    ) -> Result<AfterFault, SliceError> {
        match self.random.u32(..4) {
            // As if the allocator had refused: the instruction exits again.
            0 => Ok(AfterFault::GoesOn),
            // Interrupts go on before the memory is there, and the thread may migrate.
            1 => {
                vcpu.pending = Some(expansion);
                Ok(AfterFault::Waits)
            }
            _ => {
                self.expand(task, vcpu, expansion)?;
                Ok(AfterFault::GoesOn)
            }
        }
    }

    /// What waited for memory has it, wherever the guest is meanwhile.
    pub(super) fn expand_pending(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
    ) -> Result<(), SliceError> {
        let Some(expansion) = vcpu.pending.take() else {
            return Ok(());
        };
        self.expand(task, vcpu, expansion)?;
        if vcpu.kind == GuestKind::TilePattern
            && self.injector.strikes(InjectedFault::SkipGrowthCopy)
        {
            let (_, running) = task.thread.areas();
            if let Some(area) = running.or_else(|| vcpu.guest.area()) {
                clear_header(area);
            }
        }
        Ok(())
    }

    fn expand(
        &mut self,
        task: &mut HostTask<'e, B>,
        vcpu: &mut Vcpu<'e, B>,
        expansion: Expansion<'e>,
    ) -> Result<(), SliceError> {
        let memory = BoxedArea::for_layout(expansion.layout()).map_err(|_| SliceError::NoMemory)?;
        let grown = match task.thread.running_guest() {
            Some(_) => task.thread.expand(expansion, &mut self.cpu, memory),
            None => vcpu.guest.expand(expansion, memory),
        };
        grown.map(drop).map_err(|(error, _)| error)?;
        self.counts.expansions += 1;
        Ok(())
    }

    /// After a leave: what the guest has not used for long is given back.
    pub(super) fn release_unused(&mut self, vcpu: &mut Vcpu<'e, B>) -> Result<(), SliceError> {
        let grown = vcpu
            .guest
            .fpstate()
            .filter(|fpstate| !fpstate.grown_by().is_empty());
        let Some(grown) = grown else {
            return Ok(());
        };
        let is_due = vcpu.guest.unused_exits() >= UNUSED_EXITS_BEFORE_RELEASE;
        if !is_due && self.random.u32(..EARLY_RELEASE_ONE_IN) != 0 {
            return Ok(());
        }
        let layout = grown.released_layout()?;
        let memory = BoxedArea::for_layout(&layout).map_err(|_| SliceError::NoMemory)?;
        match vcpu.guest.release(memory) {
            Ok(_) => {
                self.counts.releases += 1;
                Ok(())
            }
            Err((ResizeError::Move(MoveError::Live { .. }), _)) if !is_due => Ok(()),
            Err((error, _)) => Err(error.into()),
        }
    }
}

/// Everything is in its initial configuration for a restore: as after a growth without a copy.
fn clear_header(area: &mut [u8]) {
    const XSTATE_BV_LEN: usize = XSAVE_HEADER_LEN / 8;
    let header = area.get_mut(LEGACY_REGION_LEN..);
    if let Some(xstate_bv) = header.and_then(<[u8]>::first_chunk_mut::<XSTATE_BV_LEN>) {
        *xstate_bv = [0; XSTATE_BV_LEN];
    }
}
