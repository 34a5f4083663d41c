//! The AMX tiles by their configuration.

use fpstate_arch::tile_config::TILE_CONFIG_LEN;
use fpstate_arch::{Component, ComponentSet, TileConfig};

use super::{Contents, Register, Shape};

/// Bytes of a row and rows of a tile in palette 1, the only one the manual describes.
const ROW_LEN: usize = 64;
const ROWS: usize = 16;
const TILES: usize = 8;

/// The 64 bytes of the configuration, and TMM0 to TMM7.
pub(super) fn registers(contents: &Contents<'_>, room: ComponentSet) -> Vec<Register> {
    let mut registers = Vec::new();
    if room.contains(Component::TileConfig) {
        registers.push(Register {
            name: "tilecfg".to_owned(),
            components: ComponentSet::only(Component::TileConfig),
            shape: Shape::TileConfig(configuration(contents)),
            bytes: contents.bytes(Component::TileConfig, 0..TILE_CONFIG_LEN),
            live: contents
                .live
                .intersection(ComponentSet::only(Component::TileConfig)),
        });
    }
    if room.contains(Component::TileData) {
        let config = configuration(contents);
        registers.extend((0..TILES).map(|tile| {
            Register {
                name: format!("tmm{tile}"),
                components: ComponentSet::only(Component::TileData),
                shape: Shape::Tile {
                    rows: usize::from(config.rows[tile]).min(ROWS),
                    colsb: usize::from(config.colsb[tile]).min(ROW_LEN),
                },
                bytes: contents.bytes(
                    Component::TileData,
                    tile * ROWS * ROW_LEN..(tile + 1) * ROWS * ROW_LEN,
                ),
                live: contents
                    .live
                    .intersection(ComponentSet::only(Component::TileData)),
            }
        }));
    }
    registers
}

fn configuration(contents: &Contents<'_>) -> TileConfig {
    contents
        .bytes(Component::TileConfig, 0..TILE_CONFIG_LEN)
        .first_chunk()
        .map_or(TileConfig::INITIAL, TileConfig::from_bytes)
}

/// The rows that the configuration gives a tile, each as long as it says.
pub(crate) fn configured_rows(bytes: &[u8], rows: usize, colsb: usize) -> Vec<&[u8]> {
    let rows = bytes.chunks(ROW_LEN).take(rows);
    rows.map(|row| &row[..colsb.min(row.len())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::LegacyRegion;

    #[test]
    fn tiles_have_the_rows_of_their_configuration() {
        let config = TileConfig {
            palette: 1,
            rows: std::array::from_fn(|tile| if tile == 1 { 3 } else { 0 }),
            colsb: std::array::from_fn(|tile| if tile == 1 { 8 } else { 0 }),
            ..TileConfig::INITIAL
        };
        let config = config.to_bytes();
        let data: Vec<u8> = (0..8192u16).map(|byte| byte.to_le_bytes()[0]).collect();
        let contents = Contents {
            legacy: LegacyRegion::INITIAL,
            live: ComponentSet::TILES,
            extended: [
                (Component::TileConfig, config.as_slice()),
                (Component::TileData, data.as_slice()),
            ]
            .into(),
        };
        let registers = registers(&contents, ComponentSet::TILES);
        assert_eq!(registers[1].shape, Shape::Tile { rows: 0, colsb: 0 });
        assert_eq!(registers[2].shape, Shape::Tile { rows: 3, colsb: 8 });
        let rows = configured_rows(&registers[2].bytes, 3, 8);
        assert_eq!(rows, [&data[0..8], &data[64..72], &data[128..136]]);
    }
}
