//! Target `dump`: the text of a CPUID dump, and the CPU that it describes, which may be impossible.

use std::fmt::Write;

use fastrand::Rng;
use fpstate::{BoxedArea, CpuFpu, Fpstate, Identities, Layout, Offer, ThreadFpu};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{ComponentSet, Enumeration, Format, Instruction};
use fpstate_model::{Dump, ModelCpu, examine};

use crate::contents::Contents;
use crate::cpus::Leaf;
use crate::generators::ErrorPointers;
use crate::user_code::UserCode;

/// The shortest line of figures is longer.
const SHORTEST_LINE: usize = 40;

/// What is accepted is as small as its text, reads the same written down anew, and lays out
/// without overlaps; a kernel on such a CPU keeps a thread's registers, or knows why not.
pub(super) fn dump(data: &[u8]) {
    let dump = match Dump::parse(data) {
        Ok(dump) => dump,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 400 && !text.contains('\n'), "{text:?}");
            return;
        }
    };
    let leaves = dump.leaves();
    assert!(dump.cpus() > 0 && leaves.len() <= data.len() / SHORTEST_LINE + 2);
    assert!(leaves.is_sorted_by_key(|&(leaf, subleaf, _)| (leaf, subleaf)));
    let again = Dump::parse(written(leaves).as_bytes()).expect("what was written");
    assert_eq!(again.leaves(), leaves);
    for oddity in examine::of_dump(&dump) {
        assert!(!oddity.to_string().is_empty());
    }
    let enumeration = Enumeration::read(RecordedLeaves(leaves));
    lays_out(&enumeration);
    runs_a_thread(&enumeration, leaves);
}

fn written(leaves: &[Leaf]) -> String {
    let mut text = String::new();
    for (leaf, subleaf, r) in leaves {
        let (eax, ebx, ecx, edx) = (r.eax, r.ebx, r.ecx, r.edx);
        writeln!(
            text,
            "CPUID {leaf:08X}: {eax:08X}-{ebx:08X}-{ecx:08X}-{edx:08X} [SL {subleaf:02X}]"
        )
        .expect("a string takes everything");
    }
    text
}

/// One component, two, and so on to all.
fn growing(all: ComponentSet) -> impl Iterator<Item = ComponentSet> {
    all.iter().scan(ComponentSet::EMPTY, |set, component| {
        *set = set.with(component);
        Some(*set)
    })
}

fn lays_out(enumeration: &Enumeration) {
    for components in growing(enumeration.user_components()) {
        if let Ok(layout) = Layout::standard(enumeration, components) {
            is_consistent(&layout);
        }
    }
    for components in growing(enumeration.components()) {
        if let Ok(layout) = Layout::compacted(enumeration, components) {
            is_consistent(&layout);
        }
    }
}

fn is_consistent(layout: &Layout<'_>) {
    let mut places: Vec<_> = layout.extended_components().collect();
    let extended = layout.components().difference(ComponentSet::LEGACY);
    assert_eq!(places.len(), extended.iter().count());
    for placed in &places {
        let entry = layout.enumeration().entry(placed.component());
        let entry = entry.expect("a sub-leaf");
        let range = placed.range();
        assert_eq!(u32::try_from(range.len()), Ok(entry.len));
        match layout.format() {
            Format::Standard => assert_eq!(u32::try_from(range.start), Ok(entry.standard_offset)),
            Format::Compacted if entry.is_aligned_64() => assert_eq!(range.start % 64, 0),
            Format::Compacted | Format::Fxsave => {}
        }
    }
    places.sort_by_key(|placed| placed.offset());
    let mut end = EXTENDED_REGION_OFFSET;
    for placed in places {
        assert!(end <= placed.offset(), "{layout:?}");
        end = placed.range().end;
    }
    assert_eq!(end, layout.area_len());
}

fn runs_a_thread(enumeration: &Enumeration, leaves: &[Leaf]) {
    let offer = Offer::for_ring0(enumeration);
    let (layout, identities) = (offer.thread_layout(), Identities::new());
    is_laid_out(&offer);
    // The library holds that every CPU has FXSAVE, the model believes CPUID.
    if !enumeration.has(Instruction::Fxsave) {
        return;
    }
    let memory = || BoxedArea::for_layout(&layout).expect("memory");
    let state = || Fpstate::new(layout, memory(), &identities).expect("a state");
    let (instructions, control) = (offer.instructions(), offer.control_registers());
    let processor = ModelCpu::new(leaves);
    let cpu = CpuFpu::bring_up(processor, 0, &identities, instructions, control);
    let mut cpu = cpu.expect("the CPU starts");
    let [mut first, mut second] = [state(), state()].map(ThreadFpu::new);
    first.restore_before_use(&mut cpu).expect("a new state");
    let components = layout.components().difference(layout.xfd_components());
    let mut had = Contents::initial(enumeration, components);
    let pointers = ErrorPointers::OnlyWithException;
    let mut random = Rng::with_seed(1);
    for component in components.iter() {
        had.write(component, &mut random, pointers);
        cpu.processor().write(component, &had);
    }
    first.save_before_switch(&mut cpu).expect("a save");
    second.restore_before_use(&mut cpu).expect("a new state");
    second.save_before_switch(&mut cpu).expect("a save");
    first.restore_before_use(&mut cpu).expect("its registers");
    let has = cpu.processor().contents(components);
    assert_eq!(had.difference(&has), None);
}

/// None of these panics, and a contradiction has a reason.
fn is_laid_out(offer: &Offer<'_>) {
    for layout in [
        offer.guest_layout(),
        offer.image_layout(offer.user_components()),
    ] {
        if layout.format() != Format::Fxsave {
            is_consistent(&layout);
        }
    }
    if let Some(contradiction) = offer.contradiction() {
        assert!(!contradiction.to_string().is_empty());
    }
}
