//! What a program keeps in tiles. It is written with LDTILECFG and TILELOADD, which may fault.

use fpstate_arch::tile_config::{TILE_CONFIG_LEN, TileConfig};
use fpstate_arch::{Component, ComponentSet, Fault, Processor};
use fpstate_model::{ModelCpu, RegisterFile};

use super::chacha20::Answer;
use super::tile_shape::{ROW, ROWS, TILE, TILES};

/// The 64 bytes of `values` that LDTILECFG reads.
fn config(values: &RegisterFile) -> [u8; TILE_CONFIG_LEN] {
    let bytes = values.component(Component::TileConfig);
    bytes
        .and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or([0; TILE_CONFIG_LEN])
}

/// Whether `values` have a tile of this name.
fn has_tile(values: &RegisterFile, name: u8) -> bool {
    let config = TileConfig::from_bytes(&config(values));
    config
        .rows
        .get(usize::from(name))
        .is_some_and(|&rows| rows != 0)
}

/// What a tile holds in `values`, rows behind each other.
fn tile(values: &RegisterFile, name: u8) -> &[u8] {
    let data = values.component(Component::TileData).unwrap_or(&[]);
    data.chunks(TILE).nth(usize::from(name)).unwrap_or(&[])
}

/// Gives `values` tiles of various shapes, filled up.
pub(super) fn fill(values: &mut RegisterFile, random: &mut fastrand::Rng) {
    let mut config = TileConfig {
        palette: 1,
        ..TileConfig::INITIAL
    };
    let mut data = vec![0; TILE * usize::from(TILES)];
    let shapes = config.rows.iter_mut().zip(&mut config.colsb);
    for ((rows, colsb), tile) in shapes.zip(data.chunks_mut(TILE)) {
        (*rows, *colsb) = if random.u32(..4) == 0 {
            (random.u8(1..=ROWS), random.u16(1..=16) * 4)
        } else {
            (ROWS, 64)
        };
        for row in tile.chunks_mut(ROW).take(usize::from(*rows)) {
            for byte in row.iter_mut().take(usize::from(*colsb)) {
                *byte = random.u8(..);
            }
        }
    }
    put(values, Component::TileConfig, &config.to_bytes());
    put(values, Component::TileData, &data);
}

fn put(values: &mut RegisterFile, component: Component, bytes: &[u8]) {
    let to = values.component_mut(component).unwrap_or(&mut []);
    for (to, from) in to.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// `values` with the tiles of `held`.
pub(super) fn with_tiles_of(mut values: RegisterFile, held: &RegisterFile) -> RegisterFile {
    for component in ComponentSet::TILES.iter() {
        if let Some(bytes) = held.component(component) {
            put(&mut values, component, bytes);
        }
    }
    values
}

/// LDTILECFG, or TILERELEASE where `values` have no tiles.
pub(super) fn configure(cpu: &mut ModelCpu, values: &RegisterFile) -> Result<(), Fault> {
    match config(values) {
        [0, ..] => cpu.tilerelease(),
        config => cpu.ldtilecfg(&config),
    }
}

/// TILELOADD of one tile, if `values` have it.
pub(super) fn load(cpu: &mut ModelCpu, values: &RegisterFile, name: u8) -> Result<(), Fault> {
    if has_tile(values, name) {
        cpu.tileloadd(name, tile(values, name), ROW)
    } else {
        Ok(())
    }
}

/// TILESTORED of one tile: it should hold what `values` have.
pub(super) fn store(cpu: &mut ModelCpu, values: &RegisterFile, name: u8) -> Result<Answer, Fault> {
    if !has_tile(values, name) {
        return Ok(Answer::Right);
    }
    let mut memory = [0; TILE];
    cpu.tilestored(name, &mut memory, ROW)?;
    Ok(if memory == tile(values, name) {
        Answer::Right
    } else {
        Answer::Wrong
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::values;
    use fpstate_arch::{Processor, Xcr0};
    use fpstate_model::Profile;

    fn cpu() -> ModelCpu {
        let leaves = Profile::SAPPHIRE_RAPIDS.leaves();
        let mut cpu = ModelCpu::new(&leaves);
        let user = ComponentSet::TILES.union(ComponentSet::LEGACY);
        cpu.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
        cpu
    }

    #[test]
    fn tiles_that_were_loaded_are_those_of_the_values_bit_by_bit() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..32 {
            let mut cpu = cpu();
            let mut expected = values::read(&cpu);
            fill(&mut expected, &mut random);
            configure(&mut cpu, &expected).unwrap();
            for name in 0..TILES {
                load(&mut cpu, &expected, name).unwrap();
            }
            assert_eq!(*cpu.registers(), expected);
            for name in 0..TILES {
                assert_eq!(store(&mut cpu, &expected, name), Ok(Answer::Right));
            }
            let data = cpu.registers_mut().component(Component::TileData).unwrap();
            data[5 * TILE] ^= 1;
            assert_eq!(store(&mut cpu, &expected, 5), Ok(Answer::Wrong));
        }
    }

    #[test]
    fn values_without_tiles_release_those_that_are_there() {
        let mut cpu = cpu();
        let initial = values::read(&cpu);
        let mut filled = initial.clone();
        fill(&mut filled, &mut fastrand::Rng::with_seed(2));
        configure(&mut cpu, &filled).unwrap();
        load(&mut cpu, &filled, 0).unwrap();
        configure(&mut cpu, &with_tiles_of(filled, &initial)).unwrap();
        assert_eq!(*cpu.registers(), initial);
    }
}
