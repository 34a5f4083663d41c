//! What is not executed, and why.

use super::*;
use crate::usual_image::NONE_YET;

#[test]
fn areas_that_an_instruction_would_leave_are_refused() {
    with_xsave(|mut cpu, mut area, tried| {
        let before = area.bytes().len();
        for len in [0, 511, 575] {
            let outside = Err(Fault::OutsideArea { reach: 576, len });
            let short = &mut area.bytes_mut()[..len];
            assert_eq!(cpu.xsave(short, ComponentSet::LEGACY), outside);
            assert_eq!(cpu.xrstor(short, ComponentSet::LEGACY), outside);
        }
        let short = &mut area.bytes_mut()[..511];
        let outside = Err(Fault::OutsideArea {
            reach: 512,
            len: 511,
        });
        assert_eq!(cpu.fxsave(short), outside);
        assert_eq!(cpu.fxrstor(short), outside);
        if tried.contains(Component::Avx) {
            let entry = cpu.enumeration().entry(Component::Avx).unwrap();
            let reach = usize::try_from(entry.standard_offset + entry.len).unwrap();
            let len = reach - 1;
            let outside = Err(Fault::OutsideArea { reach, len });
            let avx = ComponentSet::only(Component::Avx);
            assert_eq!(cpu.xsave(&mut area.bytes_mut()[..len], avx), outside);
            area.set_header(&XsaveHeader::standard(avx));
            assert_eq!(cpu.xrstor(&area.bytes()[..len], avx), outside);
            assert_eq!(
                cpu.xrstor(&area.bytes()[..len], ComponentSet::LEGACY),
                Ok(())
            );
            cpu.xsave(&mut area.bytes_mut()[..reach], avx).unwrap();
        }
        assert_eq!(area.bytes().len(), before);
    });
}

#[test]
fn a_save_writes_nothing_beyond_its_reach() {
    with_xsave(|mut cpu, mut area, tried| {
        let mut seeded = Random::seeded();
        cpu.xrstor(random(&mut seeded, &cpu, tried).bytes(), ALL)
            .unwrap();
        for _ in 0..ROUNDS {
            let rfbm = ComponentSet::from_bits(seeded.u64()).intersection(tried);
            for save in [UserProcessor::xsave, UserProcessor::xsavec] {
                let refusal = save(&mut cpu, &mut area.bytes_mut()[..0], rfbm);
                let Err(Fault::OutsideArea { reach, .. }) = refusal else {
                    eprintln!("SKIPPED: no XSAVEC here");
                    continue;
                };
                area.bytes_mut().fill(0xa5);
                area.bytes_mut()[512..576].fill(0);
                save(&mut cpu, &mut area.bytes_mut()[..reach], rfbm).unwrap();
                assert!(area.bytes()[reach..].iter().all(|&byte| byte == 0xa5));
            }
        }
    });
}

#[test]
fn misaligned_areas_are_refused() {
    with_xsave(|mut cpu, mut area, _| {
        let refused = Err(Fault::GeneralProtection);
        for offset in [1, 16, 32, 63] {
            let area = &mut area.bytes_mut()[offset..];
            assert_eq!(cpu.xsave(area, ComponentSet::LEGACY), refused);
            assert_eq!(cpu.xrstor(area, ComponentSet::LEGACY), refused);
            if cpu.enumeration().has(Instruction::Xsavec) {
                assert_eq!(cpu.xsavec(area, ComponentSet::LEGACY), refused);
            }
        }
        assert_eq!(cpu.fxsave(&mut area.bytes_mut()[8..]), refused);
        assert_eq!(cpu.fxsave(&mut area.bytes_mut()[16..]), Ok(()));
    });
}

#[test]
fn a_hand_over_of_the_wrong_size_or_place_is_refused() {
    let mut memory = hand_over();
    let len = UserProcessor::hand_over_len();
    // SAFETY: 1 to 3: as in `processor`.
    let short = unsafe { UserProcessor::assume_user_mode(&mut memory.bytes_mut()[..len - 1]) };
    let outside = Fault::OutsideArea {
        reach: len,
        len: len - 1,
    };
    assert_eq!(short.map(drop), Err(outside));
    // SAFETY: 1 to 3: as in `processor`.
    let moved = unsafe { UserProcessor::assume_user_mode(&mut memory.bytes_mut()[16..]) };
    assert_eq!(moved.map(drop), Err(Fault::GeneralProtection));
}

#[test]
fn what_cpl_3_may_not_is_refused() {
    with_xsave(|mut cpu, mut area, _| {
        let refused = Err(Fault::GeneralProtection);
        assert_eq!(cpu.xsetbv(Xcr0::AFTER_RESET), refused);
        assert_eq!(cpu.read_xss(), Err(Fault::GeneralProtection));
        assert_eq!(cpu.write_xss(Xss::AFTER_RESET), refused);
        assert_eq!(cpu.write_xfd(Xfd::NOTHING), refused);
        assert_eq!(cpu.write_xfd_err(XfdErr::NOTHING), refused);
        let xsaves = if cpu.enumeration().has(Instruction::Xsaves) {
            refused
        } else {
            Err(Fault::InvalidOpcode)
        };
        assert_eq!(cpu.xsaves(area.bytes_mut(), ALL), xsaves);
        assert_eq!(cpu.xrstors(area.bytes(), ALL), xsaves);
    });
}

#[test]
fn images_that_xrstor_would_fault_on_are_refused_and_change_nothing() {
    with_xsave(|mut cpu, mut area, tried| {
        let mut seeded = Random::seeded();
        let on = cpu.enumeration().clone();
        let good = random(&mut seeded, &cpu, tried);
        cpu.xrstor(good.bytes(), ALL).unwrap();
        for (place, value) in [
            (519, 0x80),
            (520, 0x01),
            (527, 0x40),
            (528, 0x01),
            (27, 0x80),
        ] {
            let mut bad = random(&mut seeded, &cpu, tried);
            bad.bytes_mut()[place] |= value;
            let refused = Err(Fault::GeneralProtection);
            assert_eq!(cpu.xrstor(bad.bytes(), ALL), refused, "byte {place}");
        }
        cpu.xsave(area.bytes_mut(), ALL).unwrap();
        assert_same(&on, &area, &good, tried);
    });
}

/// As if the CPU had tiles and the operating system held them back with IA32_XFD.
fn with_tiles_withheld(cpu: UserProcessor<'_>) -> UserProcessor<'_> {
    let on = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
        (0xd, 0) => CpuidRegisters {
            eax: cpuid(0xd, 0).eax | 0x6_0000,
            ..cpuid(0xd, 0)
        },
        (0xd, 17) => CpuidRegisters {
            eax: 64,
            ebx: 2752,
            ecx: 2,
            edx: 0,
        },
        (0xd, 18) => CpuidRegisters {
            eax: 8192,
            ebx: 2816,
            ecx: 6,
            edx: 0,
        },
        _ => cpuid(leaf, subleaf),
    });
    let xcr0 = cpu.cpu.conditions.xcr0.union(ComponentSet::TILES);
    UserProcessor {
        hand_over: cpu.hand_over,
        cpu: AtCpl3 {
            reach: Reach::new(on),
            conditions: XrstorConditions {
                xcr0,
                ..cpu.cpu.conditions
            },
            own: cpu.cpu.own,
            plans: cpu.cpu.plans,
            usual: NONE_YET,
        },
    }
}

#[test]
fn tile_data_is_not_loaded_before_it_is_permitted() {
    with_xsave(|cpu, _, _| {
        let mut cpu = with_tiles_withheld(cpu);
        let tile_data = ComponentSet::only(Component::TileData);
        assert!(!cpu.handed_over().intersects(tile_data));
        let mut image = Area::zeroed(2816 + 8192);
        image.set_legacy(&LegacyRegion::INITIAL);
        image.set_header(&XsaveHeader::standard(tile_data));
        assert_eq!(
            cpu.xrstor(image.bytes(), ALL),
            Err(Fault::DeviceNotAvailable)
        );
        // Initial: no fault.
        image.set_header(&XsaveHeader::standard(ComponentSet::EMPTY));
        assert_eq!(cpu.xrstor(image.bytes(), ALL), Ok(()));
        let own = cpu.handed_over();
        assert_eq!(cpu.cpu.require_restore(image.bytes(), ALL), Ok(own));
        // SAFETY: 1: nothing is executed from here on.
        unsafe { cpu.assume_permitted(tile_data.with(Component::Pkru)) };
        assert!(cpu.handed_over().contains_all(tile_data));
        assert!(!cpu.handed_over().contains(Component::Pkru));
        for live in [ComponentSet::EMPTY, tile_data] {
            image.set_header(&XsaveHeader::standard(live));
            let restored = cpu.cpu.require_restore(image.bytes(), ALL);
            assert_eq!(restored, Ok(own.union(tile_data)));
        }
    });
}

#[test]
fn without_an_xcr0_not_even_the_initial_configuration_is_restored() {
    with_xsave(|mut cpu, mut area, _| {
        cpu.cpu.conditions.xcr0 = ComponentSet::EMPTY;
        area.set_header(&XsaveHeader::standard(ComponentSet::EMPTY));
        let refused = Err(Fault::InvalidOpcode);
        for _ in 0..2 {
            assert_eq!(cpu.xrstor(area.bytes(), ComponentSet::LEGACY), refused);
        }
        let (short, misaligned) = (&area.bytes()[..575], &area.bytes()[8..]);
        assert_eq!(cpu.xrstor(short, ComponentSet::LEGACY), refused);
        assert_eq!(cpu.xrstor(misaligned, ComponentSet::LEGACY), refused);
    });
}
