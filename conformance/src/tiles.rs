//! All tiles of palette 1, loaded and stored by the AMX instructions.

use fastrand::Rng;
use fpstate_arch::tile_config::TILE_CONFIG_LEN;
use fpstate_arch::{Fault, TileConfig};
use fpstate_model::ModelCpu;

/// Palette 1: 8 tiles of 16 rows of 64 bytes (SDM 1, chapter 18; CPUID leaf 1DH).
const NAMES: u8 = 8;
const ROW_LEN: usize = 64;
const TILE_LEN: usize = 16 * ROW_LEN;

/// Bytes of state component 18: tile by tile, row by row.
pub const TILE_DATA_LEN: usize = 8192;

/// A value for every byte of every tile.
#[derive(Clone, PartialEq, Eq)]
pub struct TileValues(Vec<u8>);

impl TileValues {
    /// Values unlike any others.
    #[must_use]
    pub fn random(random: &mut Rng) -> Self {
        let mut bytes = vec![0; TILE_DATA_LEN];
        random.fill(&mut bytes);
        Self(bytes)
    }

    /// The initial configuration.
    #[must_use]
    pub fn zero() -> Self {
        Self(vec![0; TILE_DATA_LEN])
    }

    /// As state component 18 has them in an area.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// LDTILECFG for all tiles in full size, and TILELOADD of each.
    ///
    /// # Errors
    /// The first fault.
    pub fn load(&self, cpu: &mut ModelCpu) -> Result<(), Fault> {
        configure(cpu)?;
        for (name, bytes) in (0..NAMES).zip(self.0.chunks_exact(TILE_LEN)) {
            cpu.tileloadd(name, bytes, ROW_LEN)?;
        }
        Ok(())
    }

    /// TILESTORED of each tile; they are configured.
    ///
    /// # Errors
    /// The first fault.
    pub fn stored(cpu: &mut ModelCpu) -> Result<Self, Fault> {
        let mut values = Self::zero();
        for (name, bytes) in (0..NAMES).zip(values.0.chunks_exact_mut(TILE_LEN)) {
            cpu.tilestored(name, bytes, ROW_LEN)?;
        }
        Ok(values)
    }
}

impl std::fmt::Debug for TileValues {
    /// Enough to tell two of them apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TileValues({:02x?}..)", &self.0[..8])
    }
}

/// LDTILECFG for all tiles in full size: tile data becomes initial.
///
/// # Errors
/// The instruction's fault.
pub fn configure(cpu: &mut ModelCpu) -> Result<(), Fault> {
    cpu.ldtilecfg(&all_tiles())
}

/// What [`configure`] loads.
#[must_use]
pub fn all_tiles() -> [u8; TILE_CONFIG_LEN] {
    let mut config = TileConfig {
        palette: 1,
        ..TileConfig::INITIAL
    };
    for (colsb, rows) in config.colsb.iter_mut().zip(&mut config.rows).take(8) {
        (*colsb, *rows) = (64, 16);
    }
    config.to_bytes()
}
