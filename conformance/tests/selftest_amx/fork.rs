//! A child inherits the permission and not the tiles.

use super::*;

/// A family: a process with `values` in its thread's tiles, its child and its grandchild.
fn family<'h, 'e>(
    host: &'h Host<'e>,
    cpu: &mut CpuFpu<ModelCpu>,
    values: &TileValues,
) -> [(Process<'h, 'e>, Thread<'e>); 3] {
    let (process, mut thread) = (Process::permitted(host), host.thread());
    process
        .user_code(&mut thread, cpu, |cpu| values.load(cpu))
        .expect("the tiles");
    let (child, mut childs) = process.fork(&mut thread, cpu);
    let (grandchild, grandchilds) = child.fork(&mut childs, cpu);
    [
        (process, thread),
        (child, childs),
        (grandchild, grandchilds),
    ]
}

#[test]
fn a_child_and_a_grandchild_may_use_tiles() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let mut cpu = host.start(0);
    let mut random = Rng::with_seed(6);
    let values = TileValues::random(&mut random);
    for (process, mut thread) in family(&host, &mut cpu, &values) {
        let others = TileValues::random(&mut random);
        let loaded = process.user_code(&mut thread, &mut cpu, |cpu| others.load(cpu));
        assert_eq!(loaded, Ok(()));
        let found = process.user_code(&mut thread, &mut cpu, TileValues::stored);
        assert_eq!(found, Ok(others));
        thread.save_before_switch(&mut cpu).unwrap();
    }
}

#[test]
fn neither_has_tile_data_and_the_parent_keeps_its_own() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let mut cpu = host.start(0);
    let values = TileValues::random(&mut Rng::with_seed(7));
    let generations = family(&host, &mut cpu, &values);
    let expected = [values, TileValues::zero(), TileValues::zero()];
    for ((process, mut thread), expected) in generations.into_iter().zip(expected) {
        let has_data = xstate_bv(&host, &thread).contains_all(TILE_DATA);
        assert_eq!(has_data, expected != TileValues::zero());
        // The configuration is inherited: component 17 is not on demand.
        let found = process.user_code(&mut thread, &mut cpu, TileValues::stored);
        assert_eq!(found, Ok(expected));
        thread.save_before_switch(&mut cpu).unwrap();
    }
}

#[test]
fn a_child_whose_memory_has_room_has_no_tile_data_either() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let mut cpu = host.start(0);
    let (process, mut thread) = (Process::permitted(&host), host.thread());
    let values = TileValues::random(&mut Rng::with_seed(14));
    process
        .user_code(&mut thread, &mut cpu, |cpu| values.load(cpu))
        .unwrap();
    let large = host.offer().layout_with(Grantee::Threads, TILE_DATA);
    let child = thread.fork(&mut cpu, host.state(large)).unwrap();
    assert!(!xstate_bv(&host, &child).intersects(TILE_DATA));
}

#[test]
fn a_child_of_a_process_without_permission_has_none() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let mut cpu = host.start(0);
    let (process, mut thread) = (Process::new(&host), host.thread());
    let (child, mut childs) = process.fork(&mut thread, &mut cpu);
    let refused = child.user_code(&mut childs, &mut cpu, |cpu| TileValues::zero().load(cpu));
    assert!(matches!(
        refused,
        Err(DeviceNotAvailableError::NotPermitted(_))
    ));
}
