//! A guest that uses tiles for the first time: what the exit and the growth execute, on the software
//! CPU. No machine with AMX is needed.

use fpstate::{
    AfterExit, BoxedArea, CpuFpu, Fpstate, Grantee, GuestFeatures, GuestFpu, Identities, Layout,
    Offer, Permissions, Residence, Restoring, SignalStacks, ThreadFpu, VmExit,
};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::tile_config::{TILE_CONFIG_LEN, TileConfig};
use fpstate_arch::{Component, Enumeration, Fault};
use fpstate_model::Profile;
use serde::Serialize;

use crate::bench_error::BenchError;
use crate::counted::Counted;
use crate::tally::{Counts, Tally};

/// What the first use of tiles costs beyond the exit that any #NM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FirstExpansion {
    /// The profile.
    pub cpu: &'static str,
    /// The vCPU's area before, in bytes.
    pub area_len_before: usize,
    /// And after.
    pub area_len_after: usize,
    /// Executed from the exit to where the guest can go on, and bytes of areas copied.
    pub counts: Counts,
}

const CPU: Profile = Profile::SAPPHIRE_RAPIDS;

/// Lets a guest configure tiles and use one.
///
/// # Errors
/// [`BenchError::Expansion`]
pub fn count() -> Result<FirstExpansion, BenchError> {
    let cpu = Enumeration::read(RecordedLeaves(&CPU.leaves()));
    let offer = Offer::for_ring0(&cpu);
    let features = features(&offer)?;
    let identities = Identities::new();
    let mut thread = ThreadFpu::new(fpstate(offer.thread_layout(), &identities)?);
    let guest = GuestFpu::offered(fpstate(offer.guest_layout(), &identities)?, features);
    let mut guest = guest.map_err(|(error, _)| said(error))?;
    guest.xsetbv(0, features.user().bits()).map_err(said)?;
    let tally = Tally::default();
    let (instructions, registers) = (offer.instructions(), offer.control_registers());
    let processor = Counted::new(CPU.cpu(), &tally);
    let mut cpu =
        CpuFpu::bring_up(processor, 0, &identities, instructions, registers).map_err(said)?;
    thread
        .enter_guest(&mut guest, &mut cpu, Restoring::Now)
        .map_err(said)?;
    let area_len_before = thread.active().layout().area_len();
    let mut entry = thread
        .load_guest_registers(&mut guest, &mut cpu)
        .map_err(said)?;
    let model = entry.processor().inner();
    model.ldtilecfg(&one_tile()).map_err(said)?;
    if model.tilezero(0) != Err(Fault::DeviceNotAvailable) {
        return Err(failed("the tile instruction raised no #NM"));
    }
    tally.take();
    let exit = VmExit::DeviceNotAvailable { guest_cr0: 0 };
    let AfterExit::Expand(expansion) = entry.load_host_registers(exit).map_err(said)? else {
        return Err(failed("the #NM was not the host's"));
    };
    let memory = BoxedArea::for_layout(expansion.layout()).map_err(said)?;
    // A state that is in registers stays there: its next save goes to the new memory.
    let copied = match thread.active().residence() {
        Residence::Registers(_) | Residence::Sealed => 0,
        Residence::Memory | Residence::MemoryAndRegisters(_) => area_len_before,
    };
    let former = thread.expand(expansion, &mut cpu, memory);
    drop(former.map_err(|(error, _)| said(error))?);
    let mut entry = thread
        .load_guest_registers(&mut guest, &mut cpu)
        .map_err(said)?;
    let counts = tally.take().with_copied(copied as u64);
    entry.processor().inner().tilezero(0).map_err(said)?;
    let _ = entry.load_host_registers(VmExit::Other).map_err(said)?;
    Ok(FirstExpansion {
        cpu: CPU.name(),
        area_len_before,
        area_len_after: thread.active().layout().area_len(),
        counts,
    })
}

fn fpstate<'e>(
    layout: Layout<'e>,
    identities: &Identities,
) -> Result<Fpstate<'e, BoxedArea>, BenchError> {
    let memory = BoxedArea::for_layout(&layout).map_err(said)?;
    Fpstate::new(layout, memory, identities).map_err(|refused| said(refused.error))
}

/// Everything, to a process that asked for tiles.
fn features(offer: &Offer<'_>) -> Result<GuestFeatures, BenchError> {
    let mut permissions = Permissions::new(offer);
    let number = u32::from(Component::TileData.number());
    for grantee in [Grantee::Threads, Grantee::Guests] {
        permissions
            .request(offer, grantee, number, SignalStacks::none())
            .map_err(said)?;
    }
    let permit = permissions.freeze_guests();
    let (user, supervisor) = (permissions.guest_maximum(), offer.guest_supervisor());
    GuestFeatures::new(offer, permit, user, supervisor).map_err(said)
}

/// Palette 1 and one tile of a row of four bytes.
fn one_tile() -> [u8; TILE_CONFIG_LEN] {
    let mut config = TileConfig {
        palette: 1,
        ..TileConfig::INITIAL
    };
    (config.colsb[0], config.rows[0]) = (4, 1);
    config.to_bytes()
}

fn said(error: impl std::fmt::Display) -> BenchError {
    failed(&error.to_string())
}

fn failed(what: &str) -> BenchError {
    BenchError::Expansion {
        what: what.to_owned(),
    }
}
