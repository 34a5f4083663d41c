//! Tiles as palette 1 of every CPU so far has them.

use fpstate_arch::tile_config::TilePalette;

/// Palette 1: CPUID.(1DH,1).
pub(super) const PALETTE: TilePalette = TilePalette {
    total_bytes: 8192,
    bytes_per_tile: 1024,
    bytes_per_row: 64,
    names: 8,
    rows: 16,
};
/// Tiles.
pub(super) const TILES: u8 = 8;
/// Rows of a tile.
pub(super) const ROWS: u8 = 16;
/// Bytes of a row.
pub(super) const ROW: usize = 64;
/// Bytes of a tile.
pub(super) const TILE: usize = 1024;
