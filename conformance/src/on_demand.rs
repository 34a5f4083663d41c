//! Threads and guests on a CPU with AMX, whose states grow when they first use tiles.

use fpstate::{
    BoxedArea, CpuFpu, Fpstate, Grantee, GuestFeatures, GuestFpu, Offer, Permissions, SignalStacks,
    ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Fault, Processor, Xfd};
use fpstate_model::ModelCpu;

use crate::contents::Contents;
use crate::cpus::{RecordedCpu, SAPPHIRE_RAPIDS};
use crate::machine::Machine;
use crate::pair::{Pair, visible};
use crate::user_code::UserCode;

/// The CPU that all of this is on.
pub const KIND: RecordedCpu = SAPPHIRE_RAPIDS;
/// What states grow for: component 18 (SDM 1, 13.1).
pub const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);

/// A CPU that is started; nothing recorded, nothing faults.
#[must_use]
pub fn cpu(machine: &Machine, number: u32) -> CpuFpu<ModelCpu> {
    machine.start(KIND.model(), number).expect("the CPU starts")
}

/// IA32_XFD with these components.
#[must_use]
pub fn xfd(disabled: ComponentSet) -> Xfd {
    Xfd::new(disabled, TILE_DATA).expect("a legal IA32_XFD")
}

/// A process that may use tiles, and whose guests may.
#[must_use]
pub fn permissions(offer: &Offer<'_>) -> Permissions {
    let mut permissions = Permissions::new(offer);
    for grantee in [Grantee::Threads, Grantee::Guests] {
        permissions
            .request(offer, grantee, 18, SignalStacks::none())
            .expect("permission");
    }
    permissions
}

/// What a guest is offered that is offered everything.
#[must_use]
pub fn every_feature(offer: &Offer<'_>) -> GuestFeatures {
    let permit = permissions(offer).freeze_guests();
    GuestFeatures::new(
        offer,
        permit,
        offer.user_components(),
        offer.guest_supervisor(),
    )
    .expect("what is offered")
}

/// A guest with this state that is offered everything.
#[must_use]
pub fn guest_of<'e, S: fpstate::AreaStorage>(
    machine: &Machine,
    state: Fpstate<'e, S>,
) -> GuestFpu<'e, S> {
    let offer = Offer::for_ring0(&machine.enumeration);
    GuestFpu::offered(state, every_feature(&offer))
        .map_err(|(error, _)| error)
        .expect("room for all but tiles")
}

/// A thread and a guest that have no room for tiles, offered and permitted as they are.
#[must_use]
pub fn small_pair(machine: &Machine) -> Pair<'_> {
    let mut pair = Pair::new(machine);
    pair.thread = ThreadFpu::new(pair.new_state_for(threads_components(machine)));
    pair.guest = guest_of(machine, pair.new_state_for(guests_components(machine)));
    pair
}

/// What a thread's state has room for before it grows.
#[must_use]
pub fn threads_components(machine: &Machine) -> ComponentSet {
    let offer = Offer::for_ring0(&machine.enumeration);
    offer.thread_layout().components()
}

/// What a guest's state has room for before it grows.
#[must_use]
pub fn guests_components(machine: &Machine) -> ComponentSet {
    let offer = Offer::for_ring0(&machine.enumeration);
    offer.guest_layout().components()
}

/// Memory that is just long enough for a state with room for `components`.
///
/// # Panics
/// Without memory.
#[must_use]
pub fn memory_for(machine: &Machine, components: ComponentSet) -> BoxedArea {
    BoxedArea::for_layout(&machine.layout(components)).expect("memory")
}

/// User code configures tile 0, 16 rows of 64 bytes, and loads `byte` everywhere.
///
/// # Errors
/// #NM where IA32_XFD disables tile data.
pub fn use_tiles(processor: &mut ModelCpu, byte: u8) -> Result<(), Fault> {
    const ROW: usize = 64;
    let mut config = [0; 64];
    config[0] = 1; // palette
    config[16] = 64; // bytes per row of tile 0
    config[48] = 16; // its rows
    processor.ldtilecfg(&config)?;
    processor.tileloadd(0, &[byte; 16 * ROW], ROW)
}

/// User code writes every register that is enabled, of `components`; gives what it sees then.
pub fn use_all(
    pair: &mut Pair<'_>,
    cpu: &mut CpuFpu<ModelCpu>,
    components: ComponentSet,
) -> Contents {
    let values = pair.new_values_for(components);
    cpu.processor().write_all(components, &values);
    visible(cpu, pair.machine)
}

/// Invariant I10.
///
/// # Panics
/// If the shadow differs from the register.
pub fn assert_shadow(cpu: &mut CpuFpu<ModelCpu>) {
    let (id, shadow) = (cpu.id(), cpu.facts().xfd.components());
    let register = cpu.processor().read_xfd().expect("IA32_XFD");
    assert_eq!(shadow, register, "shadow and IA32_XFD of {id}");
}
