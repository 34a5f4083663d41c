//! [`Optimisation::Poisoning`]: what software may not rely on in an area is made useless, and what
//! the processor may choose changes from save to save.

use core::ops::Range;

use fpstate_arch::{Component, ComponentSet};

use crate::cpu::ModelCpu;
use crate::offsets::Placed;
use crate::tracking::Optimisation;

/// What [`Optimisation::Poisoning`] puts where a save has written nothing.
pub const POISON: u8 = 0xa5;

/// Of an area, as far as MXCSR is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// MXCSR is written for SSE or AVX whether they are initial or not (SDM 1, 13.9).
    Standard,
    /// MXCSR is written with SSE (SDM 1, 13.10).
    Compacted,
}

const X87: [Range<usize>; 2] = [0..24, 32..160];
const XMM: Range<usize> = 160..416;
const MXCSR: Range<usize> = 24..32;

/// XINUSE as one save finds it. A component that IA32_XFD disables is in neither set (SDM 1, 13.14).
#[derive(Clone, Copy, Debug)]
pub(crate) struct InUse {
    tracked: ComponentSet,
    /// Initial, and in use all the same; to be written even if unmodified, because the area need
    /// not have it.
    pub(crate) presumed: ComponentSet,
}

impl InUse {
    /// XINUSE.
    pub(crate) const fn announced(self) -> ComponentSet {
        self.tracked.union(self.presumed)
    }
}

/// The saves that find initial components in use: a sequence that is the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct PresumedUse(u64);

impl PresumedUse {
    pub(crate) const AFTER_RESET: Self = Self(0);

    /// For the next save: each component with even odds (`SplitMix64`).
    const fn next(&mut self) -> ComponentSet {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ComponentSet::from_bits(mixed ^ mixed.wrapping_shr(31))
    }
}

impl ModelCpu {
    /// XINUSE for the save that is executed now.
    pub(crate) fn in_use_for_save(&mut self) -> InUse {
        let disabled = self.xfd.components();
        let tracked = self.in_use().difference(disabled);
        let presumed = match self.optimisation {
            Optimisation::None | Optimisation::Initial | Optimisation::InitialAndModified => {
                ComponentSet::EMPTY
            }
            Optimisation::Poisoning => self
                .presumed_use
                .next()
                .intersection(self.registers.components())
                .difference(tracked)
                .difference(disabled),
        };
        InUse { tracked, presumed }
    }

    /// Poisons the bytes of `unwritten`, which the save in `format` left out as initial.
    pub(crate) fn poison(
        &self,
        area: &mut [u8],
        placed: &[Placed],
        unwritten: ComponentSet,
        format: Format,
    ) {
        match self.optimisation {
            Optimisation::None | Optimisation::Initial | Optimisation::InitialAndModified => return,
            Optimisation::Poisoning => {}
        }
        // The registers of a disabled component need not be initial. Once it is enabled, XSAVEOPT
        // and XSAVES may find it unmodified and rely on what they left in the area.
        let disabled_in_use = self.xfd.components().intersection(self.in_use());
        let unwritten = unwritten.difference(disabled_in_use);
        if unwritten.contains(Component::X87) {
            X87.into_iter().for_each(|range| fill(area, range));
        }
        if unwritten.contains(Component::Sse) {
            fill(area, XMM);
            match format {
                Format::Standard => {}
                Format::Compacted => fill(area, MXCSR),
            }
        }
        for Placed { component, range } in placed {
            if unwritten.contains(*component) {
                fill(area, range.clone());
            }
        }
    }
}

fn fill(area: &mut [u8], range: Range<usize>) {
    if let Some(bytes) = area.get_mut(range) {
        bytes.fill(POISON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpus::{ALL, Area, emerald_rapids, generator, set};
    use fpstate_arch::{Fault, Mxcsr, Processor, Xfd};

    type Save = fn(&mut ModelCpu, &mut [u8], ComponentSet) -> Result<(), Fault>;
    /// XSAVEOPT, XSAVEC and XSAVES.
    const OPTIMISED: [Save; 3] = [ModelCpu::xsaveopt, ModelCpu::xsavec, ModelCpu::xsaves];
    /// XSAVEOPT and XSAVES.
    const SKIPPING: [Save; 2] = [ModelCpu::xsaveopt, ModelCpu::xsaves];
    const AVX: ComponentSet = ComponentSet::only(Component::Avx);
    const LEGACY_AND_AVX: ComponentSet = ComponentSet::from_bits(0x7);
    const AVX_BYTES: Range<usize> = 576..832;

    fn poisoning_cpu() -> ModelCpu {
        let mut cpu = emerald_rapids();
        cpu.set_optimisation(Optimisation::Poisoning);
        cpu
    }

    /// AVX as a reader finds it that does not ask XSTATE_BV.
    fn avx_without_xstate_bv(area: &Area) -> [u8; 256] {
        area.0[AVX_BYTES].try_into().unwrap()
    }

    #[test]
    fn a_reader_that_ignores_xstate_bv_sees_poison_where_the_component_is_initial() {
        for save in OPTIMISED {
            let mut cpu = poisoning_cpu();
            let mut announced = 0;
            for _ in 0..64 {
                let mut area = Area::of(0);
                save(&mut cpu, &mut area.0, LEGACY_AND_AVX).unwrap();
                let avx = avx_without_xstate_bv(&area);
                if area.xstate_bv() & 0x4 == 0 {
                    assert_eq!(avx, [POISON; 256]);
                } else {
                    assert_eq!(avx, [0; 256]); // SDM 1, 13.6: the initial configuration
                    announced += 1;
                }
            }
            // SDM 1, 13.6 allows XINUSE 0 and 1: about half of each.
            assert!((16..=48).contains(&announced), "{announced} of 64");
        }
    }

    #[test]
    fn poison_covers_x87_and_sse_and_leaves_mxcsr_to_the_standard_format() {
        for (save, mxcsr) in OPTIMISED
            .into_iter()
            .zip([0x1f80, 0xa5a5_a5a5, 0xa5a5_a5a5])
        {
            let mut cpu = poisoning_cpu();
            let mut area = Area::of(0x11);
            while area.xstate_bv() & 0x7 != 0 {
                area = Area::of(0x11);
                area.put(512, &[0; 64]);
                save(&mut cpu, &mut area.0, LEGACY_AND_AVX).unwrap();
            }
            assert_eq!(area.0[..24], [POISON; 24]);
            assert_eq!(area.u32_at(24), mxcsr); // SDM 1, 13.9 and 13.10
            assert_eq!(area.0[32..416], [POISON; 384]);
            // Neither reserved bytes nor what belongs to software (SDM 1, 10.5.1 and 13.4).
            assert_eq!(area.0[416..512], [0x11; 96]);
            assert_eq!(area.0[528..576], [0; 48]);
            assert_eq!(area.0[832..], Area::of(0x11).0[832..]);
        }
    }

    #[test]
    fn xsave_never_leaves_poison() {
        let mut cpu = poisoning_cpu();
        for _ in 0..16 {
            let mut area = Area::of(0x11);
            cpu.xsave(&mut area.0, LEGACY_AND_AVX).unwrap();
            assert_eq!(avx_without_xstate_bv(&area), [0; 256]); // SDM 1, 13.7
        }
    }

    #[test]
    fn the_choices_are_the_same_in_every_run_and_differ_between_components() {
        let announced = || {
            let mut cpu = poisoning_cpu();
            let mut area = Area::of(0);
            core::array::from_fn::<_, 16, _>(|_| {
                cpu.xsavec(&mut area.0, LEGACY_AND_AVX).unwrap();
                area.xstate_bv()
            })
        };
        assert_eq!(announced(), announced());
        assert!(announced().iter().any(|&bits| bits & 0x5 == 0x4));
        assert!(announced().iter().any(|&bits| bits & 0x5 == 0x1));
    }

    #[test]
    fn what_is_restored_from_poison_is_the_initial_configuration() {
        for save in OPTIMISED {
            let mut cpu = poisoning_cpu();
            for seed in 1..16 {
                cpu.registers_mut().initialise(ALL);
                cpu.registers_mut().set_mxcsr(Mxcsr::INITIAL);
                let in_use = ComponentSet::from_bits(seed % 8);
                cpu.registers_mut().fill(in_use, generator(seed));
                let before = cpu.registers().clone();
                let mut area = Area::of(0);
                save(&mut cpu, &mut area.0, LEGACY_AND_AVX).unwrap();
                cpu.registers_mut().fill(LEGACY_AND_AVX, generator(99));
                cpu.xrstor(&area.0, LEGACY_AND_AVX).unwrap();
                assert_eq!(*cpu.registers(), before);
            }
        }
    }

    #[test]
    fn an_edit_of_the_area_between_restore_and_save_reaches_no_register_and_goes_for_a_saved_value()
    {
        for save in SKIPPING {
            let mut cpu = poisoning_cpu();
            cpu.registers_mut().fill(AVX, || 0x1111_1111_1111_1111);
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0, AVX).unwrap();
            cpu.xrstor(&area.0, AVX).unwrap();
            area.put(AVX_BYTES.start, &[0x77]);
            save(&mut cpu, &mut area.0, AVX).unwrap();
            // SDM 1, 13.9 and 13.11: unmodified, so not written; XSTATE_BV announces it.
            assert_eq!((area.xstate_bv(), area.0[576]), (0x4, 0x77));
            assert_eq!(cpu.registers().component(Component::Avx).unwrap()[0], 0x11);
            // Once the register is written, the edit is lost.
            cpu.registers_mut().component(Component::Avx).unwrap()[1] = 0x22;
            save(&mut cpu, &mut area.0, AVX).unwrap();
            assert_eq!(area.0[576..578], [0x11, 0x22]);
        }
    }

    #[test]
    fn an_edit_that_adds_an_initial_component_to_the_area_is_lost() {
        for save in SKIPPING {
            let mut cpu = poisoning_cpu();
            let mut seen = [0; 2];
            for _ in 0..32 {
                cpu.registers_mut().initialise(AVX);
                let mut area = Area::of(0);
                while {
                    save(&mut cpu, &mut area.0, AVX).unwrap();
                    area.xstate_bv() != 0
                } {}
                cpu.xrstor(&area.0, AVX).unwrap();
                area.put(512, &[0x4]);
                area.put(AVX_BYTES.start, &[0x77; 256]);
                save(&mut cpu, &mut area.0, AVX).unwrap();
                // Announced and written, or neither: SDM 1, 13.6.
                let expected = [POISON, 0][usize::from(area.xstate_bv() == 0x4)];
                assert_eq!(avx_without_xstate_bv(&area), [expected; 256]);
                seen[usize::from(area.xstate_bv() == 0x4)] += 1;
            }
            assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
        }
    }

    #[test]
    fn a_copy_of_the_area_at_another_address_or_in_another_format_is_written_in_full() {
        for (save, components) in [
            (SKIPPING[0], AVX),
            (SKIPPING[1], AVX),
            // XCOMP_BV of the restore is AVX alone.
            (SKIPPING[1], AVX.with(Component::Pkru)),
        ] {
            let mut cpu = poisoning_cpu();
            cpu.registers_mut().fill(AVX, || 0x1111_1111_1111_1111);
            let mut area = Area::of(0);
            save(&mut cpu, &mut area.0, AVX).unwrap();
            cpu.xrstor(&area.0, AVX).unwrap();
            let mut copy = area.clone();
            let same_address = components != AVX;
            let to = if same_address { &mut area } else { &mut copy };
            to.put(AVX_BYTES.start, &[0x77]);
            save(&mut cpu, &mut to.0, components).unwrap();
            assert_eq!(to.0[576], 0x11); // SDM 1, 13.9 and 13.11: XRSTOR_INFO differs
        }
    }

    #[test]
    fn a_component_disabled_during_a_save_is_still_in_the_area_once_it_is_enabled() {
        let tile_data = set(&[Component::TileData]);
        let disabled = Xfd::new(tile_data, tile_data).unwrap();
        let mut cpu = poisoning_cpu();
        cpu.registers_mut()
            .fill(tile_data, || 0x1111_1111_1111_1111);
        let mut area = Area::of(0);
        cpu.xsaves(&mut area.0, tile_data).unwrap();
        cpu.xrstors(&area.0, tile_data).unwrap();
        for (xfd, xstate_bv) in [(disabled, 0), (Xfd::NOTHING, 0x4_0000)] {
            cpu.write_xfd(xfd).unwrap();
            cpu.xsaves(&mut area.0, tile_data).unwrap();
            assert_eq!(area.xstate_bv(), xstate_bv);
        }
        // SDM 1, 13.11: unmodified since the restore, so not written either time.
        assert_eq!(area.0[576..][..8192], [0x11; 8192]);
    }

    #[test]
    fn a_disabled_component_is_never_announced() {
        let tile_data = set(&[Component::TileData]);
        let mut cpu = poisoning_cpu();
        cpu.registers_mut().fill(tile_data, generator(1));
        cpu.write_xfd(Xfd::new(tile_data, tile_data).unwrap())
            .unwrap();
        for save in OPTIMISED {
            for _ in 0..16 {
                let mut area = Area::of(0);
                save(&mut cpu, &mut area.0, tile_data).unwrap();
                assert_eq!(area.xstate_bv(), 0); // SDM 1, 13.14
            }
        }
    }
}
