//! What user space gets of a state, and what it gives back: signal frames, debuggers.

use conformance::cpus::{self, GENOA, SAPPHIRE_RAPIDS};
use conformance::machine::Machine;
use conformance::on_demand::{KIND, TILE_DATA, threads_components};
use conformance::pair::{Pair, observed, visible, write};
use fpstate::{FrameForm, ImageOrigin, ImageState, Layout, Sigreturn, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr};

const MASK: u32 = 0xffff;

/// The standard layout of all that user space sees of `machine`'s states.
fn user_layout(machine: &Machine) -> Layout<'_> {
    Layout::standard(&machine.enumeration, machine.user_components()).expect("a layout")
}

/// The frame of a signal that interrupts a thread with `state`.
fn frame_of(state: &ImageState<'_>, layout: &Layout<'_>) -> Vec<u8> {
    let mut frame = vec![0xaa; layout.area_len() + 4];
    let written = state.write_signal_frame(layout, MASK, None, &mut frame);
    assert_eq!(written, Ok(frame.len()));
    frame
}

/// What a debugger reads, written over bytes of two kinds: both times the same.
fn debuggers_image(state: &ImageState<'_>, layout: &Layout<'_>, xcr0: ComponentSet) -> Vec<u8> {
    let origin = ImageOrigin {
        xcr0,
        mxcsr_mask: MASK,
    };
    let [first, second] = [0xaa, 0x55].map(|fill| {
        let mut out = vec![fill; layout.area_len()];
        let written = state.write_ptrace(layout, origin, None, &mut out);
        assert_eq!(written, Ok(out.len()));
        out
    });
    assert!(first == second, "a byte was not written");
    first
}

/// A component's bytes in a standard-format image.
fn bytes_of<'b>(image: &'b [u8], enumeration: &Enumeration, component: Component) -> &'b [u8] {
    let entry = enumeration.entry(component).expect("a sub-leaf");
    let offset = usize::try_from(entry.standard_offset).expect("an offset");
    &image[offset..][..usize::try_from(entry.len).expect("a length")]
}

/// L12 · 2021 · efa165504943 · a signal frame that could not be read to its end left the registers as they were
///
/// However much of it was copied, it is refused as long as a byte is missing, and what the kernel does
/// then leaves nothing of the user components.
#[test]
fn a_frame_that_was_copied_in_part_was_restored_or_left_the_registers() {
    for kind in [&cpus::XSAVE_ONLY, &GENOA, &SAPPHIRE_RAPIDS] {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let mut expected = pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        thread.save_before_switch(&mut cpu).unwrap();
        let layout = user_layout(&machine);
        let state = thread.own().in_memory().unwrap().state();
        let user = state.without(machine.enumeration.supervisor_components());
        let frame = frame_of(&user, &layout);
        for len in (0..frame.len()).step_by(7).chain([frame.len() - 1]) {
            let copied = Sigreturn::parse(&frame[..len], layout, layout.components(), MASK);
            assert!(copied.is_err(), "{len} bytes, {}", kind.name);
        }
        let area = thread.edit_own().unwrap();
        area.initialise_components(machine.user_components());
        thread.restore_before_use(&mut cpu).unwrap();
        expected.initialise(machine.user_components());
        expected.set_mxcsr(Mxcsr::INITIAL);
        let found = visible(&mut cpu, &machine);
        assert_eq!(expected.difference(&found), None, "{}", kind.name);
    }
}

/// L24 · 2020 · 9e4636545933, 5714ee50bb43 · a debugger got uninitialised memory where a component was initial
///
/// The memory has stale bytes of everything.
#[test]
fn a_debugger_got_memory_that_nobody_had_written() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        pair.use_registers(&mut cpu).unwrap();
        let thread = &mut pair.thread;
        thread.save_before_switch(&mut cpu).unwrap();
        let area = thread.edit_own().unwrap();
        area.initialise_components(machine.components());
        let layout = user_layout(&machine);
        let image = debuggers_image(&area.state(), &layout, machine.user_components());
        let mut expected = vec![0; layout.area_len()];
        LegacyRegion::INITIAL.write_to(expected.first_chunk_mut().unwrap());
        expected[28..32].copy_from_slice(&MASK.to_le_bytes());
        let xcr0 = machine.user_components().bits().to_le_bytes();
        expected[464..472].copy_from_slice(&xcr0);
        let differs = image.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "offset, {}", kind.name);
    }
}

/// L28 · 2021 · 52d0b8b18776 · the padding of a signal frame's software bytes was kernel stack
#[test]
fn the_padding_of_a_frame_was_kernel_memory() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let mut state = machine.state(machine.components(), machine.memory());
        let written = LegacyRegion {
            tail: [0xee; 96],
            ..LegacyRegion::INITIAL
        };
        let area = state.edit().unwrap();
        area.set_legacy(&written, MASK).unwrap();
        let frame = frame_of(&area.state(), &user_layout(&machine));
        assert_eq!(frame[416..464], [0; 48], "reserved, {}", kind.name);
        assert_eq!(frame[484..512], [0; 28], "padding, {}", kind.name);
    }
}

/// L37 · 2025 · dc8aa31a7ac2, reverted by 44eeff9bc467 · a legal frame with fewer components than the kernel writes lost all but x87 and SSE
#[test]
fn a_smaller_frame_lost_its_avx() {
    for kind in [&GENOA, &SAPPHIRE_RAPIDS] {
        let machine = Machine::ring0(kind);
        let small = ComponentSet::LEGACY.with(Component::Avx);
        let values = Pair::new(&machine).new_values_for(small);
        let layout = Layout::standard(&machine.enumeration, small).unwrap();
        let memory = conformance::images::standard_image(&machine.enumeration, &values, small);
        let image = fpstate::StandardImage::parse(memory.bytes(), layout, MASK).unwrap();
        let frame = frame_of(&image.state(), &layout);
        assert_eq!(frame.len(), 836);
        let user = user_layout(&machine);
        assert!(user.area_len() > 832, "{}", kind.name);
        // What lies behind the frame on the user's stack is copied, too.
        let mut copied = vec![0x77; user.area_len() + 4];
        copied[..frame.len()].copy_from_slice(&frame);
        let read = Sigreturn::parse(&copied, user, user.components(), MASK).unwrap();
        assert_eq!(read.form(), FrameForm::Full, "{}", kind.name);
        let avx = read.state().extended(Component::Avx);
        assert_eq!(avx, values.extended(Component::Avx), "{}", kind.name);
        assert_eq!(read.state().live(), small, "{}", kind.name);
    }
}

/// L46 · 2022 · 471f0aa7fa64, CVE-2022-50425, a401f45e3875, d3e021adac7c · the initial value of a component on demand was read behind the end of the initial image
///
/// Of a thread that has no room for tiles, and of one that has and uses none any more.
#[test]
fn initial_tile_data_was_read_from_memory_that_was_somebody_elses() {
    let machine = Machine::offered(&KIND);
    let layout = user_layout(&machine);
    assert!(layout.components().contains_all(TILE_DATA));
    for room in [threads_components(&machine), machine.components()] {
        let mut cpu = conformance::on_demand::cpu(&machine, 0);
        let mut pair = Pair::new(&machine);
        pair.thread = ThreadFpu::new(pair.new_state_for(room));
        pair.thread.restore_before_use(&mut cpu).unwrap();
        let values = pair.new_values_for(room);
        write(&mut cpu, &values);
        pair.thread.save_before_switch(&mut cpu).unwrap();
        let area = pair.thread.edit_own().unwrap();
        area.initialise_components(TILE_DATA);
        let state = area.state();
        let user = state.without(machine.enumeration.supervisor_components());
        let image = debuggers_image(&user, &layout, machine.user_components());
        let tiles = bytes_of(&image, &machine.enumeration, Component::TileData);
        assert!(tiles.iter().all(|&byte| byte == 0), "room for {room}");
        assert_eq!(image[514] & 4, 0, "XSTATE_BV, room for {room}");
        let avx = bytes_of(&image, &machine.enumeration, Component::Avx);
        assert_eq!(Some(avx), values.extended(Component::Avx));
    }
}
