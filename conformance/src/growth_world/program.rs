//! What user code and guests execute: real instructions of the model.

use fastrand::Rng;
use fpstate_arch::tile_config::TileConfig;
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Processor};
use fpstate_model::{ModelCpu, TaskSwitched};

use super::TILE_DATA;
use crate::contents::Contents;
use crate::generators::ErrorPointers;
use crate::images::standard_image;
use crate::memory::Memory;
use crate::user_code::UserCode;

/// Bytes from one row to the next.
const STRIDE: usize = 64;
/// Tiles that a configuration makes: those of one product.
const TILES: u8 = 3;

/// One instruction, or several that write whole components.
#[derive(Debug)]
pub(super) enum Code {
    /// x87, vectors, supervisor state.
    Fill(ComponentSet, Box<Contents>),
    /// LDTILECFG.
    Configure([u8; 64]),
    /// TILELOADD.
    Load(u8, Vec<u8>),
    /// TILEZERO.
    Zero(u8),
    /// TDPBSSD.
    Multiply,
    /// TILERELEASE.
    Release,
    /// XRSTOR from the owner's own memory.
    Restore {
        image: Memory,
        xstate_bv: ComponentSet,
        rfbm: ComponentSet,
    },
}

/// What decides whether an instruction faults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// XCR0; nothing without CR4.OSXSAVE.
    pub(super) enabled: ComponentSet,
    /// IA32_XFD.
    pub(super) disabled: ComponentSet,
    pub(super) ts: TaskSwitched,
}

impl Code {
    /// Something that uses tiles; without a configuration mostly LDTILECFG.
    pub(super) fn tiles(values: &Contents, random: &mut Rng) -> Self {
        match random.u8(0..12) {
            0..9 if !is_configured(values) => Self::Configure(configuration(random)),
            0..2 => Self::Configure(configuration(random)),
            2..7 => {
                let mut memory = vec![0; 16 * STRIDE];
                random.fill(&mut memory);
                Self::Load(random.u8(0..TILES), memory)
            }
            7..9 => Self::Zero(random.u8(0..TILES)),
            9..11 => Self::Multiply,
            _ => Self::Release,
        }
    }

    /// New values for some of `components`.
    pub(super) fn fill(
        components: ComponentSet,
        initial: &Contents,
        pointers: ErrorPointers,
        random: &mut Rng,
    ) -> Self {
        let mut filled = ComponentSet::EMPTY;
        for _ in 0..2 {
            let choice = random.choice(components.iter().collect::<Vec<_>>());
            filled = choice.map_or(filled, |component| filled.with(component));
        }
        let mut values = initial.clone();
        values.write_all(filled, random, pointers);
        Self::Fill(filled, Box::new(values))
    }

    /// An XRSTOR by which some of `components` become live; tile data often.
    pub(super) fn restore(
        enumeration: &Enumeration,
        components: ComponentSet,
        initial: &Contents,
        pointers: ErrorPointers,
        random: &mut Rng,
    ) -> Self {
        let mut some = |mask: ComponentSet| {
            let some = ComponentSet::from_bits(random.u64(..)).intersection(mask);
            if random.bool() {
                some.union(mask.intersection(TILE_DATA))
            } else {
                some
            }
        };
        let (xstate_bv, rfbm) = (some(components), some(components));
        let values = some_values(xstate_bv, initial, pointers, random);
        let image = standard_image(enumeration, &values, xstate_bv);
        Self::Restore {
            image,
            xstate_bv,
            rfbm,
        }
    }

    /// The components that it writes.
    pub(super) fn written(&self) -> ComponentSet {
        match self {
            Self::Fill(components, _) => *components,
            Self::Restore { rfbm, .. } => *rfbm,
            Self::Configure(_) | Self::Release => ComponentSet::TILES,
            // TILECFG has the row where an interrupted TILELOADD goes on.
            Self::Load(..) | Self::Zero(_) | Self::Multiply => ComponentSet::TILES,
        }
    }

    /// What the manual says that it does.
    pub(super) fn outcome(&self, conditions: Conditions, before: &Contents) -> Result<(), Fault> {
        let Conditions {
            enabled,
            disabled,
            ts,
        } = conditions;
        let has_tiles = enabled.contains_all(ComponentSet::TILES);
        let configured = is_configured(before);
        let needed = match self {
            Self::Fill(..) => ComponentSet::EMPTY,
            Self::Configure(_) | Self::Release if has_tiles => return Ok(()),
            Self::Load(..) | Self::Zero(_) | Self::Multiply if has_tiles && configured => TILE_DATA,
            Self::Restore {
                xstate_bv, rfbm, ..
            } if !enabled.is_empty() => xstate_bv.intersection(*rfbm),
            Self::Configure(_)
            | Self::Release
            | Self::Load(..)
            | Self::Zero(_)
            | Self::Multiply
            | Self::Restore { .. } => return Err(Fault::InvalidOpcode),
        };
        if ts == TaskSwitched::Set || needed.intersects(disabled) {
            Err(Fault::DeviceNotAvailable)
        } else {
            Ok(())
        }
    }

    /// Executes it.
    pub(super) fn execute(&self, cpu: &mut ModelCpu) -> Result<(), Fault> {
        match self {
            Self::Fill(components, values) => {
                // As all of them do with CR0.TS.
                cpu.stmxcsr()?;
                cpu.write_all(*components, values);
                Ok(())
            }
            Self::Configure(config) => cpu.ldtilecfg(config),
            Self::Load(tile, memory) => cpu.tileloadd(*tile, memory, STRIDE),
            Self::Zero(tile) => cpu.tilezero(*tile),
            Self::Multiply => cpu.tdpbssd(0, 1, 2),
            Self::Release => cpu.tilerelease(),
            Self::Restore { image, rfbm, .. } => cpu.xrstor(image.bytes(), *rfbm),
        }
    }
}

/// New values for `components`, the tile configuration one that LDTILECFG accepts.
pub(super) fn some_values(
    components: ComponentSet,
    initial: &Contents,
    pointers: ErrorPointers,
    random: &mut Rng,
) -> Contents {
    let mut values = initial.clone();
    values.write_all(components, random, pointers);
    let config = if components.contains(Component::TileConfig) {
        configuration(random)
    } else {
        TileConfig::INITIAL.to_bytes()
    };
    let extended = values.components().difference(ComponentSet::LEGACY);
    let bytes_of = |component| {
        if component == Component::TileConfig {
            return Some(config.to_vec());
        }
        values.extended(component).map(<[u8]>::to_vec)
    };
    let parts = extended.iter();
    let parts = parts.filter_map(|component| Some((component, bytes_of(component)?)));
    Contents::from_parts(values.legacy(), parts)
}

/// Palette 1.
fn is_configured(values: &Contents) -> bool {
    let config = values.extended(Component::TileConfig);
    config.is_some_and(|bytes| bytes[0] == 1)
}

/// C (m x n) += A (m x k) * B (k x n), in dwords; seldom no tiles at all.
fn configuration(random: &mut Rng) -> [u8; 64] {
    let mut config = TileConfig::INITIAL;
    if random.u8(0..8) != 0 {
        let mut side = || random.u8(1..=16);
        let (m, k, n) = (side(), side(), side());
        config.palette = 1;
        (config.rows[0], config.rows[1], config.rows[2]) = (m, m, k);
        let widths = [n, k, n].map(|dwords| u16::from(dwords) * 4);
        (config.colsb[0], config.colsb[1], config.colsb[2]) = (widths[0], widths[1], widths[2]);
    }
    config.to_bytes()
}
