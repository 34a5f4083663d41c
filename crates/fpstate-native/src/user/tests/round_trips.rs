//! What goes in comes out.

use super::*;

#[test]
fn a_restored_image_is_saved_again_as_it_was() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let on = cpu.enumeration().clone();
        for _ in 0..ROUNDS {
            let components = ComponentSet::from_bits(seeded.u64()).intersection(tried);
            let image = random(&mut seeded, &cpu, components);
            cpu.xrstor(image.bytes(), ALL).unwrap();
            disturb_registers();
            area.bytes_mut().fill(0);
            cpu.xsave(area.bytes_mut(), ALL).unwrap();
            assert_same(&on, &area, &image, components);
            assert!(area.header().xstate_bv.contains_all(components));
            if on.has(Instruction::Xsaveopt) {
                area.bytes_mut().fill(0);
                cpu.xsaveopt(area.bytes_mut(), components).unwrap();
                assert_same(&on, &area, &image, components);
            } else {
                eprintln!("SKIPPED: no XSAVEOPT here");
            }
        }
    });
}

#[test]
fn a_compacted_image_brings_the_same_registers_back() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let on = cpu.enumeration().clone();
        if !on.has(Instruction::Xsavec) {
            eprintln!("SKIPPED: no XSAVEC here");
            return;
        }
        for _ in 0..ROUNDS {
            let components = ComponentSet::from_bits(seeded.u64()).intersection(tried);
            let image = random(&mut seeded, &cpu, components);
            cpu.xrstor(image.bytes(), ALL).unwrap();
            let mut compacted = area.clone();
            compacted.bytes_mut().fill(0);
            cpu.xsavec(compacted.bytes_mut(), components).unwrap();
            assert_eq!(compacted.header().xcomp_bv_components(), components);
            cpu.xrstor(random(&mut seeded, &cpu, tried).bytes(), ALL)
                .unwrap();
            cpu.xrstor(compacted.bytes(), ALL).unwrap();
            cpu.xsave(area.bytes_mut(), ALL).unwrap();
            assert_same(&on, &area, &image, components);
        }
    });
}

#[test]
fn components_outside_rfbm_are_left_alone() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let on = cpu.enumeration().clone();
        for _ in 0..ROUNDS {
            let (old, new) = (
                random(&mut seeded, &cpu, tried),
                random(&mut seeded, &cpu, tried),
            );
            let rfbm = ComponentSet::from_bits(seeded.u64());
            cpu.xrstor(old.bytes(), ALL).unwrap();
            cpu.xrstor(new.bytes(), rfbm).unwrap();
            cpu.xsave(area.bytes_mut(), ALL).unwrap();
            assert_same(&on, &area, &new, tried.intersection(rfbm));
            let mut kept = tried.difference(rfbm);
            if rfbm.contains(Component::Avx) {
                // MXCSR comes with AVX too; XMM does not.
                assert_eq!(area.legacy().mxcsr, new.legacy().mxcsr);
                let expected = if kept.contains(Component::Sse) {
                    &old
                } else {
                    &new
                };
                assert_eq!(area.legacy().xmm, expected.legacy().xmm);
                kept = kept.without(Component::Sse);
            }
            assert_same(&on, &area, &old, kept);
        }
    });
}

#[test]
fn an_empty_xstate_bv_gives_the_initial_configuration() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, mut area, tried| {
        let on = cpu.enumeration().clone();
        cpu.xrstor(random(&mut seeded, &cpu, tried).bytes(), ALL)
            .unwrap();
        let mut initial = Area::zeroed(area.bytes().len());
        initial.set_legacy(&LegacyRegion::INITIAL);
        cpu.xrstor(initial.bytes(), ALL).unwrap();
        cpu.xsave(area.bytes_mut(), ALL).unwrap();
        assert_same(&on, &area, &initial, tried);
    });
}

#[test]
fn a_new_processor_is_in_the_initial_configuration() {
    with_xsave(|mut cpu, mut area, tried| {
        let mut initial = Area::zeroed(area.bytes().len());
        initial.set_legacy(&LegacyRegion::INITIAL);
        disturb_registers();
        cpu.xsave(area.bytes_mut(), ALL).unwrap();
        assert_same(cpu.enumeration(), &area, &initial, tried);
    });
}

#[test]
fn in_use_is_about_the_registers_handed_over() {
    let mut seeded = Random::seeded();
    with_xsave(|mut cpu, _, tried| {
        if !cpu.enumeration().has(Instruction::XgetbvInUse) {
            assert_eq!(cpu.xgetbv_in_use(), Err(Fault::GeneralProtection));
            eprintln!("SKIPPED: no XGETBV(1) here");
            return;
        }
        disturb_registers();
        let extended = tried.difference(ComponentSet::LEGACY);
        if cpu.xgetbv_in_use().unwrap().intersects(extended) {
            // XINUSE may be 1 for a component in its initial configuration (SDM 1, 13.6).
            eprintln!("SKIPPED: this CPU does not track which components are in use");
        }
        cpu.xrstor(random(&mut seeded, &cpu, tried).bytes(), ALL)
            .unwrap();
        assert!(cpu.xgetbv_in_use().unwrap().contains_all(tried));
        assert!(cpu.xgetbv().unwrap().contains_all(tried));
    });
}

#[test]
fn mxcsr_is_loaded_stored_and_judged() {
    let mut memory = hand_over();
    let mut cpu = processor(&mut memory);
    let flush_to_zero = Mxcsr::from_bits(0x9f80);
    cpu.ldmxcsr(flush_to_zero).unwrap();
    disturb_registers();
    assert_eq!(cpu.stmxcsr(), Ok(flush_to_zero));
    let reserved = Mxcsr::from_bits(0x1_1f80);
    assert_eq!(cpu.ldmxcsr(reserved), Err(Fault::GeneralProtection));
    let mut area = Area::zeroed(512);
    cpu.fxsave(area.bytes_mut()).unwrap();
    area.set_legacy(&LegacyRegion {
        mxcsr: reserved,
        ..area.legacy()
    });
    assert_eq!(cpu.fxrstor(area.bytes()), Err(Fault::GeneralProtection));
    assert_eq!(cpu.stmxcsr(), Ok(flush_to_zero));
}

#[test]
fn without_xsave_the_registers_are_handed_over_by_fxsave() {
    let mut seeded = Random::seeded();
    let (mut memory, mut small) = (hand_over(), Area::zeroed(512));
    let UserProcessor {
        hand_over: _,
        mut cpu,
    } = processor(&mut memory);
    cpu.conditions.xcr0 = ComponentSet::EMPTY;
    let mut cpu = UserProcessor {
        // SAFETY: 1: aligned, 512 bytes. 2: not that form.
        hand_over: unsafe { HandOver::initial(small.bytes_mut(), Form::Fxsave) },
        cpu,
    };
    let on = cpu.enumeration().clone();
    let mut area = Area::zeroed(on.standard_len().max(576).try_into().unwrap());
    for _ in 0..ROUNDS {
        let image = random(&mut seeded, &cpu, ComponentSet::LEGACY);
        cpu.fxrstor(image.bytes()).unwrap();
        disturb_registers();
        assert_eq!(cpu.stmxcsr(), Ok(image.legacy().mxcsr));
        cpu.fxsave(area.bytes_mut()).unwrap();
        assert_same(&on, &area, &image, ComponentSet::LEGACY);
        cpu.fninit().unwrap();
        cpu.fxsave(area.bytes_mut()).unwrap();
        assert_eq!(area.legacy().fcw, 0x037f);
        assert_eq!(area.legacy().xmm, image.legacy().xmm);
        let before = compilers_registers();
        cpu.fxrstor(image.bytes()).unwrap();
        assert_eq!(compilers_registers(), before);
    }
    assert_eq!(cpu.xsave(area.bytes_mut(), ALL), Err(Fault::InvalidOpcode));
    assert_eq!(cpu.xrstor(area.bytes(), ALL), Err(Fault::InvalidOpcode));
    assert_eq!(cpu.xgetbv(), Err(Fault::InvalidOpcode));
}

#[test]
fn pkru_stays_the_threads() {
    with_xsave(|mut cpu, mut area, _| {
        let pkru = ComponentSet::only(Component::Pkru);
        if !cpu.xgetbv().unwrap().contains_all(pkru) {
            eprintln!("SKIPPED: no PKRU here");
            return;
        }
        cpu.xsave(area.bytes_mut(), pkru).unwrap();
        let threads = area.component(cpu.enumeration(), Component::Pkru).to_vec();
        // Initial: every key open. The thread's default keeps all but key 0 closed.
        area.set_header(&XsaveHeader::standard(ComponentSet::EMPTY));
        cpu.xrstor(area.bytes(), pkru).unwrap();
        cpu.xsave(area.bytes_mut(), pkru).unwrap();
        assert_eq!(area.component(cpu.enumeration(), Component::Pkru), threads);
    });
}
