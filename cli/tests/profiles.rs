//! The profiles, and the lengths of the areas that their CPUs computed themselves.

use fpstate::Layout;
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet, Enumeration, Instruction, Xcr0};
use fpstate_model::Profile;

fn enumeration(profile: Profile) -> Enumeration {
    Enumeration::read(RecordedLeaves(&profile.leaves()))
}

/// Every subset of `set` that `is_allowed`.
fn subsets(set: ComponentSet, is_allowed: impl Fn(ComponentSet) -> bool) -> Vec<ComponentSet> {
    let mut subsets = vec![ComponentSet::EMPTY];
    for component in set.iter() {
        let with: Vec<_> = subsets.iter().map(|set| set.with(component)).collect();
        subsets.extend(with);
    }
    subsets.retain(|&set| is_allowed(set));
    subsets
}

#[test]
fn a_standard_area_for_everything_is_as_long_as_the_cpu_says() {
    for profile in Profile::ALL {
        let cpu = enumeration(*profile);
        let layout = Layout::standard(&cpu, cpu.user_components()).unwrap();
        let cpuid = cpu.standard_len() as usize; // CPUID.(0DH,0):ECX of the dump
        assert_eq!(layout.area_len(), cpuid, "{}", profile.name());
    }
}

#[test]
fn some_xcr0_explains_the_recorded_length_of_a_standard_area() {
    for profile in Profile::ALL {
        let cpu = enumeration(*profile);
        let cpuid = cpu.standard_len_for_xcr0() as usize;
        let user = cpu.user_components();
        let explains =
            |xcr0: &ComponentSet| Layout::standard(&cpu, *xcr0).unwrap().area_len() == cpuid;
        let legal = subsets(user, |xcr0| Xcr0::new(xcr0, user).is_ok());
        assert!(legal.iter().any(explains), "{}", profile.name());
    }
}

#[test]
fn some_xcr0_and_xss_explain_the_recorded_length_of_a_compacted_area() {
    for profile in Profile::ALL {
        let cpu = enumeration(*profile);
        if !cpu.has(Instruction::Xsavec) {
            assert_eq!(
                cpu.compacted_len_for_xcr0_and_xss(),
                0,
                "{}",
                profile.name()
            );
            continue;
        }
        let user = cpu.user_components();
        // Both lengths were recorded with the same XCR0.
        let legal = subsets(user, |xcr0| {
            Xcr0::new(xcr0, user).is_ok()
                && Layout::standard(&cpu, xcr0).unwrap().area_len()
                    == cpu.standard_len_for_xcr0() as usize
        });
        let xss = subsets(cpu.supervisor_components(), |_| true);
        let explained = legal.iter().any(|xcr0| {
            xss.iter().any(|xss| {
                let layout = Layout::compacted(&cpu, xcr0.union(*xss)).unwrap();
                layout.area_len() == cpu.compacted_len_for_xcr0_and_xss() as usize
            })
        });
        assert!(explained, "{}", profile.name());
    }
}

#[test]
fn the_synthetic_cpu_has_apx_below_what_has_lower_numbers() {
    let cpu = enumeration(Profile::APX_SYNTHETIC);
    let layout = Layout::standard(&cpu, cpu.user_components()).unwrap();
    // APX specification, 355828, 3.1.4.
    let apx = layout.place_of(Component::Apx).unwrap();
    assert_eq!(apx.range(), 960..1088);
    assert!(apx.offset() < layout.place_of(Component::Pkru).unwrap().offset());
}
