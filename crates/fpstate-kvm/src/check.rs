//! Before a restore: every reason at once why a snapshot cannot be restored on a target.
//!
//! It needs no `/dev/kvm` and no x86: the target is its CPUID, so a fleet's planner can ask for hosts that
//! are far away.

use fpstate::Layout;
use fpstate_arch::{Component, ComponentSet, Enumeration, Xcr0, Xfd, Xss};

use crate::image_faults::{image_faults, image_layout};
use crate::reason::Reason;
use crate::snapshot::VcpuExtendedState;

/// Where a snapshot is to be restored.
#[derive(Clone, Copy, Debug)]
pub struct Target<'e> {
    /// Its CPU, which lays out images.
    pub enumeration: &'e Enumeration,
    /// User components that an image may have there.
    pub in_image: ComponentSet,
    /// User components that the guest's XCR0 may have: what its CPUID offers.
    pub in_xcr0: ComponentSet,
    /// Supervisor components that the guest's IA32_XSS may have.
    pub in_xss: ComponentSet,
    /// On-demand components that guests of the process may use.
    pub permitted: ComponentSet,
    /// The bits that MXCSR may have.
    pub mxcsr_mask: u32,
}

impl<'e> Target<'e> {
    /// A guest that is offered all that the CPU has, in a process that has every permission.
    /// `mxcsr_mask` is the CPU's: [`CpuRecord::mxcsr_mask`](crate::CpuRecord::mxcsr_mask) knows it by the
    /// vendor.
    #[must_use]
    pub fn of_cpu(enumeration: &'e Enumeration, mxcsr_mask: u32) -> Self {
        let user = enumeration.user_components();
        Self {
            enumeration,
            in_image: user.union(ComponentSet::LEGACY),
            in_xcr0: user,
            in_xss: enumeration.supervisor_components(),
            permitted: enumeration.xfd_components(),
            mxcsr_mask,
        }
    }
}

/// Every reason why `state` cannot be restored on `target`. None: it can.
#[must_use]
pub fn check(state: &VcpuExtendedState, target: &Target<'_>) -> Vec<Reason> {
    let source = state.cpu().enumeration();
    let mut reasons = Vec::new();
    match image_layout(&source, source.user_components()) {
        Err(error) => reasons.push(Reason::SourceLayout(error)),
        Ok(layout) => {
            image_reasons(state, layout, target, &mut reasons);
            place_reasons(state, layout, target, &mut reasons);
            tile_reasons(state, &source, target, &mut reasons);
        }
    }
    register_reasons(state, target, &mut reasons);
    permission_reasons(state, target, &mut reasons);
    reasons
}

/// What is wrong with the image on whatever CPU, and on one with the target's MXCSR.
fn image_reasons(
    state: &VcpuExtendedState,
    layout: Layout<'_>,
    target: &Target<'_>,
    reasons: &mut Vec<Reason>,
) {
    let faults = image_faults(state.xsave(), &layout, state.xfd(), target.mxcsr_mask);
    reasons.extend(faults.map(Reason::Image));
}

/// Which components find no room, or another one.
fn place_reasons(
    state: &VcpuExtendedState,
    source: Layout<'_>,
    target: &Target<'_>,
    reasons: &mut Vec<Reason>,
) {
    let live = state.live().intersection(source.components());
    let lacking = live.difference(target.in_image);
    if !lacking.is_empty() {
        reasons.push(Reason::ComponentsLacking {
            lacking,
            offered: target.in_image,
        });
    }
    let needed = live.intersection(target.in_image);
    let there = match image_layout(target.enumeration, needed) {
        Ok(layout) => layout,
        Err(error) => return reasons.push(Reason::TargetLayout(error)),
    };
    for placed in there.extended_components() {
        let component = placed.component();
        let of = |range: std::ops::Range<usize>| (range.start, range.len());
        let Some(found) = source.place_of(component) else {
            continue;
        };
        let (found, needed) = (of(found.range()), of(placed.range()));
        if found != needed {
            reasons.push(Reason::OtherLayout {
                component,
                found,
                needed,
            });
        }
    }
}

fn tile_reasons(
    state: &VcpuExtendedState,
    source: &Enumeration,
    target: &Target<'_>,
    reasons: &mut Vec<Reason>,
) {
    let found = source.tiles().palette_1();
    let needed = target.enumeration.tiles().palette_1();
    let in_use = state.live().intersection(target.in_image);
    if in_use.intersects(ComponentSet::TILES) && found != needed {
        reasons.push(Reason::OtherTiles { found, needed });
    }
}

fn register_reasons(state: &VcpuExtendedState, target: &Target<'_>, reasons: &mut Vec<Reason>) {
    let xcr0 = Xcr0::new(state.xcr0(), target.in_xcr0.with(Component::X87));
    reasons.extend(xcr0.err().map(Reason::Xcr0));
    let xss = Xss::new(state.xss(), target.in_xss);
    reasons.extend(xss.err().map(Reason::Xss));
    let disablable = target
        .enumeration
        .xfd_components()
        .intersection(target.in_xcr0);
    let xfd = Xfd::new(state.xfd(), disablable);
    reasons.extend(xfd.err().map(Reason::Xfd));
    let xfd_err = Xfd::new(state.xfd_err(), disablable);
    reasons.extend(xfd_err.err().map(Reason::XfdErr));
}

fn permission_reasons(state: &VcpuExtendedState, target: &Target<'_>, reasons: &mut Vec<Reason>) {
    let on_demand = target.enumeration.xfd_components();
    let wanted = state.live().union(state.xcr0());
    let needed = wanted
        .intersection(on_demand)
        .intersection(target.in_image.union(target.in_xcr0))
        .difference(target.permitted);
    if !needed.is_empty() {
        reasons.push(Reason::NotPermitted {
            needed,
            permitted: target.permitted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_record::CpuRecord;
    use crate::snapshot::Parts;
    use fpstate::{ImageError, LayoutError};
    use fpstate_arch::cpuid::RecordedLeaves;
    use fpstate_model::Profile;

    struct Cpu {
        record: CpuRecord,
        enumeration: Enumeration,
    }

    impl Cpu {
        fn of(profile: Profile) -> Self {
            let (record, enumeration) = CpuRecord::read(RecordedLeaves(&profile.leaves()));
            Self {
                record,
                enumeration,
            }
        }

        fn target(&self) -> Target<'_> {
            Target::of_cpu(&self.enumeration, self.record.mxcsr_mask())
        }

        /// A guest of it that uses `components`, each filled with its number.
        fn using(&self, components: ComponentSet) -> Parts {
            let layout = Layout::standard(&self.enumeration, components).unwrap();
            let mut xsave = vec![0; layout.area_len().max(4096)];
            xsave[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
            xsave[512..520].copy_from_slice(&components.bits().to_le_bytes());
            for placed in layout.extended_components() {
                xsave[placed.range()].fill(placed.component().number());
            }
            Parts {
                cpu: self.record.clone(),
                xcr0: components.with(Component::X87),
                xss: ComponentSet::EMPTY,
                xfd: ComponentSet::EMPTY,
                xfd_err: ComponentSet::EMPTY,
                xsave,
            }
        }
    }

    fn reasons(parts: Parts, target: &Target<'_>) -> Vec<Reason> {
        let reasons = check(&VcpuExtendedState::from_parts(parts), target);
        for reason in &reasons {
            let line = reason.to_string();
            assert!(line.len() > 10 && !line.contains('\n'), "{line}");
        }
        reasons
    }

    const AVX512: ComponentSet = ComponentSet::LEGACY
        .with(Component::Avx)
        .union(ComponentSet::AVX512);
    const TILES: ComponentSet = AVX512.union(ComponentSet::TILES);

    #[test]
    fn a_state_can_be_restored_where_it_came_from() {
        for &profile in Profile::ALL {
            let cpu = Cpu::of(profile);
            let user = cpu.enumeration.user_components();
            // The synthetic CPU enumerates APX, which no XCR0 has beside MPX.
            let user = user.difference(ComponentSet::MPX);
            assert_eq!(
                reasons(cpu.using(user), &cpu.target()),
                [],
                "{}",
                profile.name()
            );
        }
    }

    #[test]
    fn avx512_and_pkru_of_an_intel_cpu_lie_elsewhere_on_amd() {
        let (intel, amd) = (Cpu::of(Profile::SAPPHIRE_RAPIDS), Cpu::of(Profile::GENOA));
        let used = AVX512.with(Component::Pkru);
        let reasons = reasons(intel.using(used), &amd.target());
        let moved: Vec<_> = reasons
            .iter()
            .filter_map(|reason| match *reason {
                Reason::OtherLayout {
                    component,
                    found,
                    needed,
                } => Some((component, found.0, needed.0)),
                Reason::Image(_)
                | Reason::SourceLayout(_)
                | Reason::TargetLayout(_)
                | Reason::ComponentsLacking { .. }
                | Reason::OtherTiles { .. }
                | Reason::Xcr0(_)
                | Reason::Xss(_)
                | Reason::Xfd(_)
                | Reason::XfdErr(_)
                | Reason::NotPermitted { .. } => None,
            })
            .collect();
        assert_eq!(moved.len(), reasons.len(), "{reasons:?}");
        assert_eq!(
            moved,
            [
                (Component::Opmask, 1088, 832),
                (Component::ZmmHi256, 1152, 896),
                (Component::Hi16Zmm, 1664, 1408),
                (Component::Pkru, 2688, 2432),
            ]
        );
    }

    #[test]
    fn components_that_are_initial_are_neither_lacking_nor_elsewhere() {
        let (intel, amd) = (Cpu::of(Profile::SAPPHIRE_RAPIDS), Cpu::of(Profile::MILAN));
        let mut parts = intel.using(AVX512);
        parts.xsave[512] = 7;
        parts.xcr0 = ComponentSet::from_bits(7);
        assert_eq!(reasons(parts, &amd.target()), []);
    }

    #[test]
    fn what_the_target_lacks_is_named_with_the_xcr0_that_wants_it() {
        let (intel, amd) = (Cpu::of(Profile::SAPPHIRE_RAPIDS), Cpu::of(Profile::MILAN));
        let reasons = reasons(intel.using(AVX512), &amd.target());
        let offered = amd.enumeration.user_components();
        let lacking = ComponentSet::AVX512;
        assert_eq!(reasons[0], Reason::ComponentsLacking { lacking, offered });
        assert!(matches!(reasons[1..], [Reason::Xcr0(_)]), "{reasons:?}");
    }

    #[test]
    fn tiles_without_permission_have_that_reason_and_no_other() {
        let cpu = Cpu::of(Profile::SAPPHIRE_RAPIDS);
        let target = Target {
            permitted: ComponentSet::EMPTY,
            ..cpu.target()
        };
        let needed = ComponentSet::only(Component::TileData);
        let reason = Reason::NotPermitted {
            needed,
            permitted: ComponentSet::EMPTY,
        };
        assert_eq!(reasons(cpu.using(TILES), &target), [reason]);
        // Enabled and not in use: the guest may use them at any time.
        let mut parts = cpu.using(AVX512);
        parts.xcr0 = TILES;
        assert_eq!(reasons(parts, &target), [reason]);
        assert_eq!(reasons(cpu.using(AVX512), &target), []);
    }

    #[test]
    fn tiles_of_another_shape_are_no_tiles() {
        let cpu = Cpu::of(Profile::SAPPHIRE_RAPIDS);
        let mut leaves = Profile::SAPPHIRE_RAPIDS.leaves();
        let palette = leaves.iter_mut().find(|leaf| (leaf.0, leaf.1) == (0x1d, 1));
        palette.unwrap().2.ecx = 8;
        let other = Enumeration::read(RecordedLeaves(&leaves));
        let target = Target::of_cpu(&other, 0xffff);
        let found = reasons(cpu.using(TILES), &target);
        assert!(
            matches!(found[..], [Reason::OtherTiles { .. }]),
            "{found:?}"
        );
        assert_eq!(reasons(cpu.using(AVX512), &target), []);
    }

    #[test]
    fn what_ia32_xfd_disables_is_no_state() {
        let cpu = Cpu::of(Profile::SAPPHIRE_RAPIDS);
        let mut parts = cpu.using(TILES);
        parts.xfd = ComponentSet::only(Component::TileData);
        let target = Target {
            in_image: AVX512.with(Component::TileConfig),
            ..cpu.target()
        };
        assert_eq!(reasons(parts.clone(), &target), []);
        parts.xfd = ComponentSet::EMPTY;
        assert!(matches!(
            reasons(parts, &target)[..],
            [Reason::ComponentsLacking { .. }]
        ));
    }

    #[test]
    fn registers_that_no_guest_of_the_target_can_have_are_named() {
        let cpu = Cpu::of(Profile::GENOA);
        let mut parts = cpu.using(AVX512);
        parts.xcr0 = ComponentSet::from_bits(0x27);
        parts.xss = ComponentSet::only(Component::Lbr);
        parts.xfd = ComponentSet::only(Component::TileData);
        parts.xfd_err = ComponentSet::only(Component::TileData);
        let reasons = reasons(parts, &cpu.target());
        assert!(
            matches!(
                reasons[..],
                [
                    Reason::Xcr0(_),
                    Reason::Xss(_),
                    Reason::Xfd(_),
                    Reason::XfdErr(_)
                ]
            ),
            "{reasons:?}"
        );
    }

    #[test]
    fn amds_mask_of_misaligned_exceptions_is_unknown_to_intel() {
        let (intel, amd) = (Cpu::of(Profile::ICE_LAKE_CLIENT), Cpu::of(Profile::MILAN));
        let mut parts = amd.using(ComponentSet::LEGACY);
        parts.xsave[26] |= 1 << 1;
        assert_eq!(reasons(parts.clone(), &amd.target()), []);
        let found = reasons(parts, &intel.target());
        assert!(
            matches!(found[..], [Reason::Image(ImageError::Mxcsr(_))]),
            "{found:?}"
        );
    }

    #[test]
    fn every_reason_is_given_at_once() {
        let (intel, amd) = (Cpu::of(Profile::SAPPHIRE_RAPIDS), Cpu::of(Profile::GENOA));
        let mut parts = intel.using(TILES);
        parts.xsave[520] = 1;
        parts.xsave[530] = 1;
        parts.xsave[575] = 1;
        parts.xsave[27] = 0x80;
        parts.xss = ComponentSet::only(Component::Lbr);
        let reasons = reasons(parts, &amd.target());
        let of_image = reasons.iter().filter(|r| matches!(r, Reason::Image(_)));
        assert_eq!(of_image.count(), 4, "{reasons:?}");
        let others = reasons.iter().filter(|r| !matches!(r, Reason::Image(_)));
        // Tiles, three places of AVX-512, XCR0, IA32_XSS.
        assert_eq!(others.count(), 6, "{reasons:?}");
    }

    #[test]
    fn a_cpu_without_xsave_takes_and_gives_x87_and_sse() {
        let genoa = Cpu::of(Profile::GENOA);
        let mut leaves = Profile::GENOA.leaves();
        leaves.iter_mut().find(|leaf| leaf.0 == 1).unwrap().2.ecx &= !(1 << 26);
        let (record, enumeration) = CpuRecord::read(RecordedLeaves(&leaves));
        let old = Cpu {
            record,
            enumeration,
        };
        let mut parts = genoa.using(ComponentSet::LEGACY);
        parts.xcr0 = ComponentSet::only(Component::X87);
        assert_eq!(reasons(parts.clone(), &old.target()), []);
        parts.cpu = old.record.clone();
        assert_eq!(reasons(parts.clone(), &old.target()), []);
        assert_eq!(reasons(parts, &genoa.target()), []);
        let found = reasons(genoa.using(AVX512), &old.target());
        assert!(
            matches!(
                found[..],
                [Reason::ComponentsLacking { .. }, Reason::Xcr0(_)]
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_record_that_contradicts_itself_and_an_image_of_any_length_are_reasons() {
        let cpu = Cpu::of(Profile::GENOA);
        let mut leaves = Profile::GENOA.leaves();
        let avx = leaves.iter_mut().find(|leaf| (leaf.0, leaf.1) == (0xd, 2));
        avx.unwrap().2.ebx = 100;
        let mut parts = cpu.using(AVX512);
        parts.cpu = CpuRecord::read(RecordedLeaves(&leaves)).0;
        let error = LayoutError::InsideHeader {
            component: Component::Avx,
            offset: 100,
        };
        assert_eq!(reasons(parts, &cpu.target()), [Reason::SourceLayout(error)]);
        for len in [0, 1, 511, 512, 575, 576, 800, 2431] {
            let mut parts = cpu.using(AVX512);
            parts.xsave.truncate(len);
            let found = reasons(parts, &cpu.target());
            assert!(
                matches!(found[..], [Reason::Image(ImageError::TooShort { found, .. })] if found == len),
                "{len}: {found:?}"
            );
        }
    }
}
