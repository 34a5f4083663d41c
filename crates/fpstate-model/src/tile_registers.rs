//! Which tiles there are, how large, and where their rows lie (SDM 1, chapter 18; SDM 2, LDTILECFG
//! and the AMX exception classes in chapter 2).

use core::ops::Range;

use fpstate_arch::tile_config::{TILE_CONFIG_LEN, TileConfig, TileEnumeration, TilePalette};
use fpstate_arch::{Component, ComponentSet, Fault, Instruction};

use crate::cpu::ModelCpu;

pub(crate) const TILE_CONFIG: ComponentSet = ComponentSet::only(Component::TileConfig);
pub(crate) const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);

const AMX_TILE: u32 = 1 << 24; // CPUID.(7,0):EDX

/// A configuration that LDTILECFG accepts and that makes tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfiguredTiles {
    config: TileConfig,
    palette: TilePalette,
}

impl ConfiguredTiles {
    /// The checks of LDTILECFG for a palette other than 0; `None` where it raises #GP.
    pub(crate) fn new(config: TileConfig, enumeration: &TileEnumeration) -> Option<Self> {
        let palette = match config.palette {
            1 => enumeration.palette_1()?,
            _ => return None,
        };
        if config.reserved.iter().any(|&byte| byte != 0) {
            return None;
        }
        let tiles = || config.colsb.into_iter().zip(config.rows);
        let names = usize::from(palette.names);
        let fits = |(colsb, rows): (u16, u8)| {
            colsb <= palette.bytes_per_row
                && u16::from(rows) <= palette.rows
                && (colsb == 0) == (rows == 0)
        };
        let named_fit = tiles().take(names).all(fits);
        let others_are_zero = tiles().skip(names).all(|tile| tile == (0, 0));
        (named_fit && others_are_zero).then_some(Self { config, palette })
    }

    /// Tile `name`, if the palette has it and the configuration makes it valid.
    fn tile(&self, name: u8) -> Option<Tile> {
        let index = usize::from(name);
        let (colsb, rows) = (
            *self.config.colsb.get(index)?,
            *self.config.rows.get(index)?,
        );
        if rows == 0 || colsb == 0 {
            return None;
        }
        Some(Tile {
            rows: usize::from(rows),
            colsb: usize::from(colsb),
            start: index.saturating_mul(usize::from(self.palette.bytes_per_tile)),
            bytes_per_row: usize::from(self.palette.bytes_per_row),
            max_rows: usize::from(self.palette.rows),
        })
    }
}

/// A tile that instructions may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) rows: usize,
    /// Bytes of a row that are used.
    pub(crate) colsb: usize,
    /// In state component 18.
    start: usize,
    bytes_per_row: usize,
    pub(crate) max_rows: usize,
}

impl Tile {
    /// All of row `row`, in state component 18.
    pub(crate) fn row(&self, row: usize) -> Range<usize> {
        let start = self
            .start
            .saturating_add(row.saturating_mul(self.bytes_per_row));
        start..start.saturating_add(self.bytes_per_row)
    }
}

impl ModelCpu {
    /// #UD, the conditions that all AMX instructions share.
    pub(crate) fn require_amx(&self) -> Result<(), Fault> {
        self.require(Instruction::Xsave)?;
        let announced = self.recorded_leaf(7, 0).edx & AMX_TILE != 0;
        if announced && self.xcr0.components().contains_all(ComponentSet::TILES) {
            Ok(())
        } else {
            Err(Fault::InvalidOpcode)
        }
    }

    /// The tiles, unless `TILES_CONFIGURED` is 0.
    pub(crate) fn configured_tiles(&self) -> Option<ConfiguredTiles> {
        let config = TileConfig::from_bytes(self.tile_config_bytes()?);
        ConfiguredTiles::new(config, self.enumeration.tiles())
    }

    /// #UD unless `name` is a valid tile.
    pub(crate) fn require_tile(&self, name: u8) -> Result<Tile, Fault> {
        self.configured_tiles()
            .and_then(|tiles| tiles.tile(name))
            .ok_or(Fault::InvalidOpcode)
    }

    /// #NM: an instruction uses tile data. CR0.TS comes before IA32_XFD\[18\].
    pub(crate) fn require_tile_data(&mut self) -> Result<(), Fault> {
        self.require_task_not_switched()?;
        self.require_not_disabled(TILE_DATA)
    }

    pub(crate) fn tile_config_bytes(&self) -> Option<&[u8; TILE_CONFIG_LEN]> {
        self.registers
            .component(Component::TileConfig)
            .and_then(<[u8]>::first_chunk)
    }

    /// Where an interrupted TILELOADD or TILESTORED goes on.
    pub(crate) fn start_row(&self) -> usize {
        self.tile_config_bytes().map_or(0, |bytes| {
            usize::from(TileConfig::from_bytes(bytes).start_row)
        })
    }

    pub(crate) fn set_start_row(&mut self, row: usize) {
        if row == self.start_row() {
            return;
        }
        let bytes = self.registers.component_mut(Component::TileConfig);
        if let (Some([_, start_row, ..]), Ok(row)) = (bytes, u8::try_from(row)) {
            *start_row = row;
            self.wrote(TILE_CONFIG);
        }
    }

    /// Bytes of state component 18; none where the CPU has fewer than its palette says.
    pub(crate) fn tile_bytes(&self, range: Range<usize>) -> &[u8] {
        self.registers
            .component(Component::TileData)
            .and_then(|bytes| bytes.get(range))
            .unwrap_or_default()
    }

    /// `row` of `tile` := `bytes`, and zeros behind them.
    pub(crate) fn write_row_and_zero(&mut self, tile: Tile, row: usize, bytes: &[u8]) {
        let register = self.registers.component_mut(Component::TileData);
        let to = register
            .and_then(|register| register.get_mut(tile.row(row)))
            .unwrap_or_default();
        let from = bytes.iter().copied().chain(core::iter::repeat(0));
        for (to, from) in to.iter_mut().zip(from) {
            *to = from;
        }
    }

    /// Rows of `tile` from `first` on := 0.
    pub(crate) fn zero_upper_rows(&mut self, tile: Tile, first: usize) {
        for row in first..tile.max_rows {
            self.write_row_and_zero(tile, row, &[]);
        }
    }
}
