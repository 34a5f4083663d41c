//! Where the library says that components lie, and where the model's instructions put them.

use conformance::cpus::{self, CET, RecordedCpu};
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::user_code::UserCode;
use fastrand::Rng;
use fpstate::{Layout, SaveInstruction};
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{
    Component, ComponentSet, CpuidSource, Enumeration, Fault, Format, Instruction, LegacyRegion,
    Processor, Xcr0, Xss,
};
use fpstate_model::ModelCpu;

/// Every XCR0 that XSETBV accepts on `enumeration`'s CPU.
fn legal_xcr0s(enumeration: &Enumeration) -> Vec<Xcr0> {
    let supported = enumeration.user_components();
    let bits = supported.bits();
    // All subsets of the supported components, in ascending order.
    let subsets = std::iter::successors(Some(0), |&subset: &u64| {
        (subset != bits).then(|| subset.wrapping_sub(bits) & bits)
    });
    subsets
        .filter_map(|subset| Xcr0::new(ComponentSet::from_bits(subset), supported).ok())
        .collect()
}

/// A CPU with these components enabled and a value in every register.
fn cpu_with(kind: &RecordedCpu, xcr0: Xcr0, xss: ComponentSet) -> ModelCpu {
    let mut cpu = kind.model();
    cpu.xsetbv(xcr0).expect("a legal XCR0");
    if kind.enumeration().has(Instruction::Xsaves) {
        let xss = Xss::new(xss, xss).expect("a legal IA32_XSS");
        cpu.write_xss(xss).expect("a CPU with XSAVES");
    }
    let mut random = Rng::with_seed(xcr0.components().bits());
    let all = xcr0.components().union(xss);
    cpu.registers_mut().fill(all, || random.u64(1..));
    cpu
}

/// `test` for every legal XCR0 of every recorded CPU, without and with CET.
fn for_every_legal_xcr0(mut test: impl FnMut(&RecordedCpu, &Enumeration, Xcr0, ComponentSet)) {
    let mut tested = 0;
    for kind in cpus::with_xsave() {
        let enumeration = kind.enumeration();
        let cet = enumeration.supervisor_components().intersection(CET);
        for xcr0 in legal_xcr0s(&enumeration) {
            test(kind, &enumeration, xcr0, ComponentSet::EMPTY);
            if !cet.is_empty() {
                test(kind, &enumeration, xcr0, cet);
            }
            tested += 1;
        }
    }
    // XCR0 is 1, 3, 7 or, with AVX-512, E7H; each of PKRU, MPX and AMX doubles that.
    assert_eq!(tested, 3 + 3 + 4 * 2 + 4 * 2 + 4 * 2 * 2 + 4 * 2 * 2);
}

/// The area that `save` writes for all that is enabled, exactly as long as `layout` says.
fn saved(cpu: &mut ModelCpu, save: SaveInstruction, layout: &Layout<'_>) -> Memory {
    let mut area = Memory::zeroed(layout.area_len());
    save.execute(cpu, area.bytes_mut(), layout.components())
        .unwrap_or_else(|fault| panic!("{save} of {}: {fault}", layout.components()));
    area
}

/// Every component of `layout` is where the model put it.
fn assert_found(cpu: &mut ModelCpu, area: &Memory, layout: &Layout<'_>) {
    let contents = cpu.contents(layout.components());
    for placed in layout.extended_components() {
        let component = placed.component();
        let expected = contents.extended(component).expect("a value");
        assert_eq!(&area.bytes()[placed.range()], expected, "{component}");
    }
    let legacy = LegacyRegion::from_bytes(area.bytes().first_chunk().expect("512 bytes"));
    if layout.components().contains(Component::Sse) {
        assert_eq!(legacy.xmm, contents.legacy().xmm);
    }
}

fn saves_of(enumeration: &Enumeration) -> impl Iterator<Item = SaveInstruction> {
    [
        (Instruction::Xsave, SaveInstruction::Xsave),
        (Instruction::Xsaveopt, SaveInstruction::Xsaveopt),
        (Instruction::Xsavec, SaveInstruction::Xsavec),
        (Instruction::Xsaves, SaveInstruction::Xsaves),
    ]
    .into_iter()
    .filter(|(instruction, _)| enumeration.has(*instruction))
    .map(|(_, save)| save)
}

/// The layout of everything that `save` saves with these components enabled.
fn layout_of<'e>(
    enumeration: &'e Enumeration,
    save: SaveInstruction,
    xcr0: Xcr0,
    xss: ComponentSet,
) -> Layout<'e> {
    let user = xcr0.components();
    let layout = match save {
        SaveInstruction::Fxsave => Layout::fxsave(enumeration),
        SaveInstruction::Xsave | SaveInstruction::Xsaveopt => Layout::standard(enumeration, user),
        SaveInstruction::Xsavec => Layout::compacted(enumeration, user),
        SaveInstruction::Xsaves => Layout::compacted(enumeration, user.union(xss)),
    };
    layout.unwrap_or_else(|error| panic!("{save} of {user}: {error}"))
}

#[test]
fn every_component_lies_where_every_save_writes_it() {
    for_every_legal_xcr0(|kind, enumeration, xcr0, xss| {
        for save in saves_of(enumeration) {
            let layout = layout_of(enumeration, save, xcr0, xss);
            let mut cpu = cpu_with(kind, xcr0, xss);
            let area = saved(&mut cpu, save, &layout);
            assert_found(&mut cpu, &area, &layout);
        }
    });
}

#[test]
fn lengths_are_those_the_cpu_reports_for_what_is_enabled() {
    for_every_legal_xcr0(|kind, enumeration, xcr0, xss| {
        let mut cpu = cpu_with(kind, xcr0, xss);
        let standard = Layout::standard(enumeration, xcr0.components()).unwrap();
        let mut reported = |subleaf| usize::try_from(Processor::cpuid(&mut cpu, 0xd, subleaf).ebx);
        assert_eq!(Ok(standard.area_len()), reported(0), "{}", kind.name);
        if enumeration.has(Instruction::Xsavec) {
            let enabled = xcr0.components().union(xss);
            let compacted = Layout::compacted(enumeration, enabled).unwrap();
            assert_eq!(Ok(compacted.area_len()), reported(1), "{}", kind.name);
        }
    });
}

#[test]
fn an_area_one_byte_shorter_is_too_short_for_the_cpu() {
    for_every_legal_xcr0(|kind, enumeration, xcr0, xss| {
        for save in saves_of(enumeration) {
            let layout = layout_of(enumeration, save, xcr0, xss);
            let mut cpu = cpu_with(kind, xcr0, xss);
            let mut area = Memory::zeroed(layout.area_len() - 1);
            let refused = save.execute(&mut cpu, area.bytes_mut(), layout.components());
            let (reach, len) = (layout.area_len(), layout.area_len() - 1);
            let expected = Err(Fault::OutsideArea { reach, len });
            assert_eq!(refused, expected, "{save} on {}", kind.name);
        }
    });
}

/// Invariant I16: more components never take less room.
#[test]
fn lengths_grow_with_the_components() {
    for kind in cpus::with_xsave() {
        let enumeration = kind.enumeration();
        let all = legal_xcr0s(&enumeration);
        let standard = |xcr0: &Xcr0| Layout::standard(&enumeration, xcr0.components()).unwrap();
        for less in &all {
            for more in &all {
                if more.components().contains_all(less.components()) {
                    assert!(standard(less).area_len() <= standard(more).area_len());
                }
            }
        }
    }
}

#[test]
fn the_model_computes_the_figures_that_the_recorded_machines_returned() {
    for kind in cpus::with_xsave() {
        let recorded = fpstate_arch::cpuid::RecordedLeaves(kind.leaves).cpuid(0xd, 0);
        let user = kind.enumeration().user_components();
        let mut cpu = cpu_with(kind, Xcr0::new(user, user).unwrap(), ComponentSet::EMPTY);
        let reported = Processor::cpuid(&mut cpu, 0xd, 0);
        assert_eq!(
            (reported.ebx, reported.ecx),
            (recorded.ecx, recorded.ecx),
            "{}",
            kind.name
        );
    }
}

#[test]
fn the_areas_of_a_machine_end_where_its_last_component_does() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let layout = machine.layout(machine.components());
        let end = layout.extended_components().map(|p| p.range().end).max();
        let shortest = match layout.format() {
            Format::Fxsave => LEGACY_REGION_LEN,
            Format::Standard | Format::Compacted => 576,
        };
        assert_eq!(layout.area_len(), end.unwrap_or(shortest));
    }
}
