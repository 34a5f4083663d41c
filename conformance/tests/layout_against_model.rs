//! Where the library says that components lie, and where the model's instructions put them.

use conformance::cpus::{self, RecordedCpu};
use conformance::machine::Machine;
use conformance::memory::Memory;
use conformance::user_code::UserCode;
use fastrand::Rng;
use fpstate::{Layout, SaveInstruction};
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::legacy_region::LEGACY_REGION_LEN;
use fpstate_arch::{
    Component, ComponentSet, CpuidSource, Enumeration, Fault, Format, Instruction, LegacyRegion,
    Processor, Xcr0, Xss,
};
use fpstate_model::{ModelCpu, Profile};

/// What has XSAVE: all profiles, and what is older or hides something.
fn every_kind() -> impl Iterator<Item = RecordedCpu> {
    [cpus::XSAVE_ONLY, cpus::GENOA_WITHOUT_XSAVES]
        .into_iter()
        .chain(Profile::ALL.iter().copied().map(RecordedCpu::of))
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

/// `test` for every legal XCR0 and IA32_XSS of every CPU.
fn for_every_legal_value(mut test: impl FnMut(&RecordedCpu, &Enumeration, Xcr0, ComponentSet)) {
    let (mut xcr0s, mut tested) = (0, 0);
    for kind in every_kind() {
        let enumeration = kind.enumeration();
        for xcr0 in cpus::legal_xcr0s(&enumeration) {
            xcr0s += 1;
            for xss in cpus::legal_xsss(&enumeration) {
                test(&kind, &enumeration, xcr0, xss.components());
                tested += 1;
            }
        }
    }
    // XCR0 is 1, 3, 7 or, with AVX-512, E7H; each of PKRU, MPX, AMX and APX doubles that.
    let avx = 3 + 3 + 4 * (3 * 2); // XSAVE only, Haswell; Rome, Milan, Lunar and Panther Lake
    let avx512 = 4 * (4 * 2) + 2 * (4 * 2 * 2); // Genoa twice, Turin, Ice Lake; those with MPX
    let amx = 3 * (4 * 2 * 2) + 4 * 2 * 2 * 2;
    assert_eq!(xcr0s, avx + avx512 + amx);
    // Times two for each supervisor component.
    let (amd, older_intel) = ((6 + 8 + 8) << 2, ((16 + 16) << 1) + (8 << 2));
    let newer_intel = ((16 + 16 + 6 + 6) << 6) + ((16 + 32) << 7);
    assert_eq!(tested, (3 + 3 + 6 + 8) + amd + older_intel + newer_intel);
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

/// IA32_XSS makes no difference to other saves than XSAVES, so those are seen once for each XCR0.
fn depends_on(save: SaveInstruction, xss: ComponentSet) -> bool {
    xss.is_empty() || save == SaveInstruction::Xsaves
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
    for_every_legal_value(|kind, enumeration, xcr0, xss| {
        for save in saves_of(enumeration).filter(|save| depends_on(*save, xss)) {
            let layout = layout_of(enumeration, save, xcr0, xss);
            let mut cpu = cpu_with(kind, xcr0, xss);
            let area = saved(&mut cpu, save, &layout);
            assert_found(&mut cpu, &area, &layout);
        }
    });
}

#[test]
fn lengths_are_those_the_cpu_reports_for_what_is_enabled() {
    for_every_legal_value(|kind, enumeration, xcr0, xss| {
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
    for_every_legal_value(|kind, enumeration, xcr0, xss| {
        for save in saves_of(enumeration).filter(|save| depends_on(*save, xss)) {
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
    for kind in every_kind() {
        let enumeration = kind.enumeration();
        let all = cpus::legal_xcr0s(&enumeration);
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
    for kind in every_kind() {
        let recorded = RecordedLeaves(&kind.leaves()).cpuid(0xd, 0);
        let user = kind.enumeration().user_components();
        let mut cpu = cpu_with(&kind, Xcr0::new(user, user).unwrap(), ComponentSet::EMPTY);
        let reported = Processor::cpuid(&mut cpu, 0xd, 0);
        assert_eq!(
            (reported.ebx, reported.ecx),
            (recorded.ecx, recorded.ecx),
            "{}",
            kind.name
        );
    }
}

/// The dumps were taken under an operating system, so EBX is of what that had enabled.
#[test]
fn some_xcr0_and_xss_explain_the_lengths_that_the_recorded_machines_returned() {
    for kind in Profile::ALL.iter().copied().map(RecordedCpu::of) {
        let enumeration = kind.enumeration();
        let recorded = |subleaf| {
            let leaves = kind.leaves();
            usize::try_from(RecordedLeaves(&leaves).cpuid(0xd, subleaf).ebx).unwrap()
        };
        let explains = |xcr0: &Xcr0| {
            let user = xcr0.components();
            let standard = Layout::standard(&enumeration, user).unwrap();
            let compacted = |xss: Xss| {
                let layout = Layout::compacted(&enumeration, user.union(xss.components()));
                layout.unwrap().area_len() == recorded(1)
            };
            standard.area_len() == recorded(0)
                && (!enumeration.has(Instruction::Xsavec)
                    || cpus::legal_xsss(&enumeration).into_iter().any(compacted))
        };
        assert!(
            cpus::legal_xcr0s(&enumeration).iter().any(explains),
            "{}",
            kind.name
        );
    }
}

#[test]
fn every_component_has_the_place_and_length_of_its_recorded_sub_leaf() {
    for kind in Profile::ALL.iter().copied().map(RecordedCpu::of) {
        let (enumeration, leaves) = (kind.enumeration(), kind.leaves());
        let standard = Layout::standard(&enumeration, enumeration.user_components()).unwrap();
        let all = enumeration.components();
        let compacted = enumeration.has(Instruction::Xsaves);
        let compacted = compacted.then(|| Layout::compacted(&enumeration, all).unwrap());
        let recorded = leaves.iter().filter(|(leaf, n, _)| *leaf == 0xd && *n >= 2);
        let mut components = ComponentSet::LEGACY;
        for (_, subleaf, registers) in recorded {
            let component = Component::from_number(u8::try_from(*subleaf).unwrap()).unwrap();
            let [len, offset] = [registers.eax, registers.ebx].map(|n| usize::try_from(n).unwrap());
            components = components.with(component);
            let context = format!("{component} on {}", kind.name);
            match standard.place_of(component) {
                Some(placed) => assert_eq!(placed.range(), offset..offset + len, "{context}"),
                None => assert_eq!((offset, registers.ecx & 1), (0, 1), "{context}"),
            }
            let placed = compacted.as_ref().map(|l| l.place_of(component).unwrap());
            assert!(placed.is_none_or(|p| p.range().len() == len), "{context}");
        }
        assert_eq!(components, all, "{}", kind.name);
        let recorded = RecordedLeaves(&leaves).cpuid(0xd, 0).ecx;
        assert_eq!(Ok(standard.area_len()), usize::try_from(recorded));
    }
}

#[test]
fn the_areas_of_a_machine_end_where_its_last_component_does() {
    for kind in every_kind().chain([cpus::FXSAVE_ONLY]) {
        let machine = Machine::ring0(&kind);
        let layout = machine.layout(machine.components());
        let end = layout.extended_components().map(|p| p.range().end).max();
        let shortest = match layout.format() {
            Format::Fxsave => LEGACY_REGION_LEN,
            Format::Standard | Format::Compacted => 576,
        };
        assert_eq!(layout.area_len(), end.unwrap_or(shortest));
    }
}
