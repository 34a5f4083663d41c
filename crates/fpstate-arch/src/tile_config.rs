//! AMX tiles as CPUID and LDTILECFG describe them (SDM 1, chapter 18; SDM 2, CPUID leaves 1DH and
//! 1EH, LDTILECFG).

use crate::cpuid::{CpuidRegisters, CpuidSource};

/// Length in bytes of what LDTILECFG reads: state component 17.
pub const TILE_CONFIG_LEN: usize = 64;
/// Tiles that the 64 bytes have room for; a palette may have fewer.
pub const TILE_NAMES: usize = 16;

const TILE_INFORMATION: u32 = 0x1d;
const TMUL_INFORMATION: u32 = 0x1e;

/// The 64 bytes that LDTILECFG reads and STTILECFG writes, by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TileConfig {
    /// Byte 0. Palette 0 is the initial configuration: no tile can be used.
    pub palette: u8,
    /// Byte 1: where an interrupted TILELOADD or TILESTORED goes on.
    pub start_row: u8,
    /// Bytes 2 to 15.
    pub reserved: [u8; 14],
    /// Bytes 16 to 47: bytes per row of each tile.
    pub colsb: [u16; TILE_NAMES],
    /// Bytes 48 to 63: rows of each tile.
    pub rows: [u8; TILE_NAMES],
}

impl TileConfig {
    /// The initial configuration: what STTILECFG stores when no tile is configured.
    pub const INITIAL: Self = Self {
        palette: 0,
        start_row: 0,
        reserved: [0; 14],
        colsb: [0; TILE_NAMES],
        rows: [0; TILE_NAMES],
    };

    /// The fields of 64 bytes; any bytes are a value, LDTILECFG judges them.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; TILE_CONFIG_LEN]) -> Self {
        let mut config = Self::INITIAL;
        let [palette, start_row, rest @ ..] = bytes;
        (config.palette, config.start_row) = (*palette, *start_row);
        let (reserved, rest) = rest.split_at(config.reserved.len());
        let (colsb, rows) = rest.split_at(rest.len().saturating_sub(TILE_NAMES));
        config.reserved.copy_from_slice(reserved);
        for (field, pair) in config.colsb.iter_mut().zip(colsb.chunks_exact(2)) {
            *field = pair.iter().rev().fold(0, |high, low| {
                u16::from(*low) | u16::wrapping_shl(high, u8::BITS)
            });
        }
        config.rows.copy_from_slice(rows);
        config
    }

    /// The 64 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TILE_CONFIG_LEN] {
        let mut bytes = [0; TILE_CONFIG_LEN];
        let fields = [self.palette, self.start_row]
            .into_iter()
            .chain(self.reserved)
            .chain(self.colsb.into_iter().flat_map(u16::to_le_bytes))
            .chain(self.rows);
        for (byte, field) in bytes.iter_mut().zip(fields) {
            *byte = field;
        }
        bytes
    }
}

/// One palette: CPUID.(1DH,i), i > 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePalette {
    /// Bytes of all tiles: EAX\[15:0\].
    pub total_bytes: u16,
    /// Bytes of one tile: EAX\[31:16\].
    pub bytes_per_tile: u16,
    /// Bytes of one row: EBX\[15:0\].
    pub bytes_per_row: u16,
    /// Tiles: EBX\[31:16\].
    pub names: u16,
    /// Rows of a tile: ECX\[15:0\].
    pub rows: u16,
}

impl TilePalette {
    const fn of(leaf: CpuidRegisters) -> Option<Self> {
        let (total_bytes, bytes_per_tile) = halves(leaf.eax);
        let (bytes_per_row, names) = halves(leaf.ebx);
        let (rows, _) = halves(leaf.ecx);
        if total_bytes == 0 {
            return None;
        }
        Some(Self {
            total_bytes,
            bytes_per_tile,
            bytes_per_row,
            names,
            rows,
        })
    }
}

const fn halves(register: u32) -> (u16, u16) {
    let [a, b, c, d] = register.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

const fn whole(low: u16, high: u16) -> u32 {
    let ([a, b], [c, d]) = (low.to_le_bytes(), high.to_le_bytes());
    u32::from_le_bytes([a, b, c, d])
}

/// CPUID leaves 1DH and 1EH of one CPU as data. A CPU without AMX has one too: it has no palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TileEnumeration {
    max_palette: u32,
    palette_1: Option<TilePalette>,
    tmul: CpuidRegisters,
}

impl TileEnumeration {
    /// Reads the leaves, if leaf 0 says that they are there.
    pub(crate) fn read(source: &mut impl CpuidSource) -> Self {
        if source.cpuid(0, 0).eax < TMUL_INFORMATION {
            return Self::default();
        }
        let max_palette = source.cpuid(TILE_INFORMATION, 0).eax;
        Self {
            max_palette,
            palette_1: match max_palette {
                0 => None,
                _ => TilePalette::of(source.cpuid(TILE_INFORMATION, 1)),
            },
            tmul: source.cpuid(TMUL_INFORMATION, 0),
        }
    }

    /// The highest palette: CPUID.(1DH,0):EAX. The manual has described palette 1 so far.
    #[must_use]
    pub const fn max_palette(&self) -> u32 {
        self.max_palette
    }

    /// CPUID.(1DH,`palette`) as it was read; zeroes for a palette that is not described here.
    #[must_use]
    pub const fn information(&self, palette: u32) -> CpuidRegisters {
        const NOTHING: CpuidRegisters = CpuidRegisters {
            eax: 0,
            ebx: 0,
            ecx: 0,
            edx: 0,
        };
        match (palette, self.palette_1) {
            (0, Some(_)) => CpuidRegisters { eax: 1, ..NOTHING },
            (1, Some(palette)) => CpuidRegisters {
                eax: whole(palette.total_bytes, palette.bytes_per_tile),
                ebx: whole(palette.bytes_per_row, palette.names),
                ecx: whole(palette.rows, 0),
                edx: 0,
            },
            _ => NOTHING,
        }
    }

    /// CPUID.(1EH,0).
    #[must_use]
    pub const fn tmul(&self) -> CpuidRegisters {
        self.tmul
    }

    /// Palette 1.
    #[must_use]
    pub const fn palette_1(&self) -> Option<TilePalette> {
        self.palette_1
    }

    /// The most rows or columns of TMUL: CPUID.(1EH,0):EBX\[7:0\].
    #[must_use]
    pub const fn tmul_max_k(&self) -> u8 {
        let [max_k, ..] = self.tmul.ebx.to_le_bytes();
        max_k
    }

    /// The most bytes of a column of TMUL: CPUID.(1EH,0):EBX\[23:8\].
    #[must_use]
    pub const fn tmul_max_n(&self) -> u16 {
        let [_, low, high, _] = self.tmul.ebx.to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_of_a_tile_configuration_has_its_bytes() {
        let mut bytes = [0; TILE_CONFIG_LEN];
        for (byte, value) in bytes.iter_mut().zip(1..) {
            *byte = value;
        }
        let config = TileConfig::from_bytes(&bytes);
        assert_eq!((config.palette, config.start_row), (1, 2));
        assert_eq!((config.reserved[0], config.reserved[13]), (3, 16));
        assert_eq!((config.colsb[0], config.colsb[15]), (0x1211, 0x302f));
        assert_eq!((config.rows[0], config.rows[15]), (49, 64));
        assert_eq!(config.to_bytes(), bytes);
    }

    #[test]
    fn sapphire_rapids_has_eight_tiles_of_sixteen_rows_of_64_bytes() {
        // The leaves as shared/cpuid has them for a Xeon w7-2475X.
        let mut sapphire_rapids = |leaf: u32, subleaf: u32| match (leaf, subleaf) {
            (0, 0) => CpuidRegisters {
                eax: 0x20,
                ..Default::default()
            },
            (0x1d, 0) => CpuidRegisters {
                eax: 1,
                ..Default::default()
            },
            (0x1d, 1) => CpuidRegisters {
                eax: 0x0400_2000,
                ebx: 0x0008_0040,
                ecx: 0x10,
                edx: 0,
            },
            (0x1e, 0) => CpuidRegisters {
                ebx: 0x4010,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        };
        let tiles = TileEnumeration::read(&mut sapphire_rapids);
        let palette = tiles.palette_1().unwrap();
        assert_eq!((palette.total_bytes, palette.bytes_per_tile), (8192, 1024));
        assert_eq!(
            (palette.bytes_per_row, palette.names, palette.rows),
            (64, 8, 16)
        );
        assert_eq!((tiles.tmul_max_k(), tiles.tmul_max_n()), (16, 64));
    }

    #[test]
    fn what_was_read_is_shown_as_it_was_read() {
        let leaf = |eax, ebx, ecx| CpuidRegisters {
            eax,
            ebx,
            ecx,
            edx: 0,
        };
        let cpu = |max_leaf, max_palette| {
            TileEnumeration::read(&mut |number: u32, subleaf: u32| match (number, subleaf) {
                (0, 0) => leaf(max_leaf, 0, 0),
                (0x1d, 0) => leaf(max_palette, 0, 0),
                (0x1d, 1) => leaf(0x0400_2000, 0x0008_0040, 0x10),
                (0x1e, 0) => leaf(0, 0x4010, 0),
                _ => CpuidRegisters::default(),
            })
        };
        let tiles = cpu(0x1e, 1);
        assert_eq!(tiles, cpu(0x1f, 1));
        assert_eq!(tiles.max_palette(), 1);
        assert_eq!(tiles.information(0), leaf(1, 0, 0));
        assert_eq!(tiles.information(1), leaf(0x0400_2000, 0x0008_0040, 0x10));
        assert_eq!(tiles.information(2), leaf(0, 0, 0));
        assert_eq!(tiles.tmul(), leaf(0, 0x4010, 0));
        assert_eq!(cpu(0x1d, 1), TileEnumeration::default());
        assert_eq!(cpu(0x1e, 2).max_palette(), 2);
        let none = cpu(0x1e, 0);
        assert_eq!(
            (none.palette_1(), none.information(0)),
            (None, leaf(0, 0, 0))
        );
    }
}
