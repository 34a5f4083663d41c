//! A tracer writes the tiles of the thread it traces.

use super::*;

/// The tracer writes `image` (`PTRACE_SETREGSET`) to a thread that does not run.
fn write(host: &Host<'_>, thread: &mut Thread<'_>, image: &Memory) -> Result<(), ImportError> {
    let layout = host.offer().image_layout(host.offer().user_components());
    let image = StandardImage::parse(image.bytes(), layout, 0xffff).expect("an image");
    let area = thread.edit_own().map_err(ImportError::NotInMemory)?;
    area.import(&image, PKRU)
}

#[test]
fn a_thread_with_tiles_finds_those_of_the_tracer_in_its_registers() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let process = Process::permitted(&host);
    let (mut cpu, mut thread) = (host.start(0), host.thread());
    let mut random = Rng::with_seed(10);
    let [own, tracers] = [(); 2].map(|()| TileValues::random(&mut random));
    process
        .user_code(&mut thread, &mut cpu, |cpu| own.load(cpu))
        .unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    let written = write(&host, &mut thread, &image_with(enumeration, &tracers));
    assert_eq!(written, Ok(()));
    let found = process.user_code(&mut thread, &mut cpu, TileValues::stored);
    assert_eq!(found, Ok(tracers));
}

#[test]
fn the_tracer_reads_back_what_it_wrote() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let process = Process::permitted(&host);
    let (mut cpu, mut thread) = (host.start(0), host.thread());
    process
        .user_code(&mut thread, &mut cpu, |cpu| TileValues::zero().load(cpu))
        .unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    let written = image_with(enumeration, &TileValues::random(&mut Rng::with_seed(11)));
    write(&host, &mut thread, &written).unwrap();
    let read = image(&host, &thread);
    assert!(read.bytes()[512..] == written.bytes()[512..]);
    let contents = |image: &Memory| {
        let all = ComponentSet::LEGACY.union(ComponentSet::TILES);
        contents_of(enumeration, image.bytes(), all)
    };
    assert_eq!(contents(&written).difference(&contents(&read)), None);
}

/// Linux answers EINVAL.
#[test]
fn a_thread_that_has_used_none_has_no_room_and_keeps_its_state() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let (mut cpu, mut thread) = (host.start(0), host.thread());
    Process::new(&host)
        .user_code(&mut thread, &mut cpu, tiles::configure)
        .unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    let before = image(&host, &thread);
    let tracers = image_with(enumeration, &TileValues::random(&mut Rng::with_seed(12)));
    let refused = write(&host, &mut thread, &tracers);
    let no_room = ImportError::NoRoom {
        found: ComponentSet::TILES,
        room: thread.own().components(),
    };
    assert_eq!(refused, Err(no_room));
    assert!(image(&host, &thread).bytes() == before.bytes());
}

#[test]
fn once_such_a_thread_has_grown_the_same_image_arrives() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let process = Process::permitted(&host);
    let (mut cpu, mut thread) = (host.start(0), host.thread());
    let tracers = TileValues::random(&mut Rng::with_seed(13));
    let written = image_with(enumeration, &tracers);
    write(&host, &mut thread, &written).unwrap_err();
    process
        .user_code(&mut thread, &mut cpu, |cpu| {
            tiles::configure(cpu)?;
            cpu.tilezero(0)
        })
        .unwrap();
    thread.save_before_switch(&mut cpu).unwrap();
    assert_eq!(write(&host, &mut thread, &written), Ok(()));
    let found = process.user_code(&mut thread, &mut cpu, TileValues::stored);
    assert_eq!(found, Ok(tracers));
}

#[test]
fn a_tracer_can_make_room_before_the_thread_has_used_tiles() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    let host = host(enumeration);
    let tiles = ComponentSet::TILES.without(Component::TileConfig);
    for (permitted, process) in [
        (false, Process::new(&host)),
        (true, Process::permitted(&host)),
    ] {
        let thread = host.thread();
        let expansion = thread.expansion(tiles, &process.permissions);
        assert_eq!(expansion.is_ok(), permitted);
    }
}
