//! Threads use AMX, in the steps of Linux's selftest `amx` for x86.

use conformance::contents::Contents;
use conformance::cpus::SAPPHIRE_RAPIDS;
use conformance::host::Host;
use conformance::images::{contents_of, standard_image};
use conformance::memory::Memory;
use conformance::tiles::{self, TileValues};
use fastrand::Rng;
use fpstate::offer::Grantee;
use fpstate::{
    BoxedArea, CpuFpu, DeviceNotAvailableError, Errno, ImportError, NotPermitted, Permissions,
    SignalStackError, SignalStacks, StandardImage, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Processor, XfdErr};
use fpstate_model::ModelCpu;

const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);
/// What `ARCH_REQ_XCOMP_PERM` is asked for.
const XTILEDATA: u32 = 18;
/// XCR0 of a Sapphire Rapids: x87, SSE, AVX, AVX-512, PKRU, AMX.
const XCR0: ComponentSet = ComponentSet::from_bits(0x6_02e7);
/// CPUID.(0DH,17) and (0DH,18) of Sapphire Rapids: the configuration's 64 bytes at 2752 end where
/// tile data, 8192 bytes, starts.
const SMALL_IMAGE: usize = 2816;
const LARGE_IMAGE: usize = 2816 + 8192;

type Thread<'e> = ThreadFpu<'e, BoxedArea>;

/// A process on a host.
#[derive(Debug)]
struct Process<'h, 'e> {
    host: &'h Host<'e>,
    permissions: Permissions,
}

impl<'h, 'e> Process<'h, 'e> {
    fn new(host: &'h Host<'e>) -> Self {
        let permissions = Permissions::new(host.offer());
        Self { host, permissions }
    }

    /// One that may use tile data.
    fn permitted(host: &'h Host<'e>) -> Self {
        let mut process = Self::new(host);
        process.request([]).expect("no thread has a signal stack");
        process
    }

    /// `ARCH_REQ_XCOMP_PERM`, with threads' alternate signal stacks of these lengths.
    fn request<const N: usize>(&mut self, stacks: [usize; N]) -> Result<(), Errno> {
        let stacks = SignalStacks::new(FRAME_OVERHEAD, stacks.into_iter());
        self.permissions
            .request(self.host.offer(), Grantee::Threads, XTILEDATA, stacks)
            .map_err(|error| error.errno())
    }

    fn user_code<T>(
        &self,
        thread: &mut Thread<'e>,
        cpu: &mut CpuFpu<ModelCpu>,
        instructions: impl FnMut(&mut ModelCpu) -> Result<T, Fault>,
    ) -> Result<T, DeviceNotAvailableError> {
        Host::user_code(thread, cpu, &self.permissions, instructions)
    }

    /// The child process, and its thread: `thread`'s child.
    fn fork(&self, thread: &mut Thread<'e>, cpu: &mut CpuFpu<ModelCpu>) -> (Self, Thread<'e>) {
        let state = self.host.state(self.host.offer().thread_layout());
        let child = thread.fork(cpu, state).map_err(|(error, _)| error);
        let process = Self {
            host: self.host,
            permissions: self.permissions.fork(),
        };
        (process, child.expect("fork"))
    }
}

/// What a signal frame takes beside the image, as some kernel may have it.
const FRAME_OVERHEAD: usize = 704;
/// A frame's image, and the magic number of 4 bytes behind it.
const LARGEST_FRAME: usize = FRAME_OVERHEAD + LARGE_IMAGE + 4;

fn host(enumeration: &Enumeration) -> Host<'_> {
    Host::new(&SAPPHIRE_RAPIDS, enumeration)
}

/// XSTATE_BV of `thread`, saved, in an image for user space.
fn xstate_bv(host: &Host<'_>, thread: &Thread<'_>) -> ComponentSet {
    let image = image(host, thread);
    let field = image.bytes()[512..].first_chunk().expect("a header");
    ComponentSet::from_bits(u64::from_le_bytes(*field))
}

fn image(host: &Host<'_>, thread: &Thread<'_>) -> Memory {
    host.image(thread.own().in_memory().expect("saved"))
}

/// An image of tiles in use, all else initial.
fn image_with(enumeration: &Enumeration, values: &TileValues) -> Memory {
    let legacy = Contents::initial(enumeration, ComponentSet::LEGACY);
    let in_image = Contents::from_parts(
        legacy.legacy(),
        [
            (Component::TileConfig, tiles::all_tiles().to_vec()),
            (Component::TileData, values.bytes().to_vec()),
        ],
    );
    standard_image(enumeration, &in_image, ComponentSet::TILES)
}

mod without_permission {
    use super::*;

    #[test]
    fn a_tile_load_ends_in_sigill() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (process, mut thread, mut cpu) = (Process::new(&host), host.thread(), host.start(0));
        let values = TileValues::random(&mut Rng::with_seed(1));
        let refused = process.user_code(&mut thread, &mut cpu, |cpu| values.load(cpu));
        let not_permitted = NotPermitted {
            grantee: Grantee::Threads,
            needed: TILE_DATA,
            granted: XCR0.difference(TILE_DATA),
        };
        let expected = DeviceNotAvailableError::NotPermitted(not_permitted);
        assert_eq!(refused, Err(expected));
        assert!(!thread.own().components().intersects(TILE_DATA));
        assert_eq!(cpu.processor().read_xfd_err(), Ok(XfdErr::NOTHING));
    }

    #[test]
    fn a_signal_frame_has_no_tile_data_and_is_small() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (process, mut thread, mut cpu) = (Process::new(&host), host.thread(), host.start(0));
        process
            .user_code(&mut thread, &mut cpu, tiles::configure)
            .unwrap();
        let values = TileValues::random(&mut Rng::with_seed(2));
        process
            .user_code(&mut thread, &mut cpu, |cpu| values.load(cpu))
            .unwrap_err();
        thread.save_before_switch(&mut cpu).unwrap();
        assert!(!xstate_bv(&host, &thread).intersects(TILE_DATA));
        let granted = process.permissions.granted(Grantee::Threads);
        assert!(!granted.intersects(TILE_DATA));
        let frame = host.offer().image_layout(granted);
        assert_eq!(frame.area_len(), SMALL_IMAGE);
    }
}

mod with_permission {
    use super::*;

    #[test]
    fn a_tile_load_works_and_the_values_are_there() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (mut thread, mut cpu) = (host.thread(), host.start(0));
        let process = Process::permitted(&host);
        let values = TileValues::random(&mut Rng::with_seed(3));
        let loaded = process.user_code(&mut thread, &mut cpu, |cpu| values.load(cpu));
        assert_eq!(loaded, Ok(()));
        let found = process.user_code(&mut thread, &mut cpu, TileValues::stored);
        assert_eq!(found, Ok(values));
    }

    /// The process was refused before.
    #[test]
    fn asked_for_after_a_sigill_it_counts_from_then_on() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (mut thread, mut cpu) = (host.thread(), host.start(0));
        let mut process = Process::new(&host);
        let values = TileValues::random(&mut Rng::with_seed(4));
        process
            .user_code(&mut thread, &mut cpu, |cpu| values.load(cpu))
            .unwrap_err();
        assert_eq!(process.request([]), Ok(()));
        let loaded = process.user_code(&mut thread, &mut cpu, |cpu| values.load(cpu));
        assert_eq!(loaded, Ok(()));
    }

    /// L31 · 2022 · 063452fd94d1 · a permission was stored in place of those that were there before
    #[test]
    fn it_is_among_those_granted_after_the_request_and_not_before() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut process = Process::new(&host);
        let before = process.permissions.granted(Grantee::Threads);
        assert_eq!(before, XCR0.difference(TILE_DATA));
        process.request([]).unwrap();
        assert_eq!(process.permissions.granted(Grantee::Threads), XCR0);
    }

    #[test]
    fn the_state_grows_with_the_first_use_and_not_with_the_request() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (mut thread, mut cpu) = (host.thread(), host.start(0));
        let process = Process::permitted(&host);
        process
            .user_code(&mut thread, &mut cpu, tiles::configure)
            .unwrap();
        let before = thread.own().layout().area_len();
        assert!(!thread.own().components().intersects(TILE_DATA));
        process
            .user_code(&mut thread, &mut cpu, |cpu| cpu.tilezero(0))
            .unwrap();
        assert!(thread.own().layout().area_len() >= before + tiles::TILE_DATA_LEN);
    }

    #[test]
    fn a_signal_frame_is_larger() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let process = Process::permitted(&host);
        let granted = process.permissions.granted(Grantee::Threads);
        let frame = host.offer().image_layout(granted);
        assert_eq!(frame.area_len(), LARGE_IMAGE);
    }

    #[test]
    fn an_image_announces_tile_data_only_while_it_is_in_use() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let (mut thread, mut cpu) = (host.thread(), host.start(0));
        let process = Process::permitted(&host);
        let values = TileValues::random(&mut Rng::with_seed(5));
        process
            .user_code(&mut thread, &mut cpu, |cpu| values.load(cpu))
            .unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        assert!(xstate_bv(&host, &thread).contains_all(ComponentSet::TILES));
        process
            .user_code(&mut thread, &mut cpu, |cpu| cpu.tilerelease())
            .unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        assert!(!xstate_bv(&host, &thread).intersects(ComponentSet::TILES));
    }
}

mod fork;

mod alternate_signal_stack {
    use super::*;

    fn process<'h, 'e>(host: &'h Host<'e>) -> Process<'h, 'e> {
        Process::new(host)
    }

    #[test]
    fn one_that_is_too_small_makes_the_request_fail_with_enospc() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        for small in [1, 2048, LARGEST_FRAME - 1] {
            let mut process = process(&host);
            let refused = Err(Errno::Enospc);
            assert_eq!(process.request([0, LARGEST_FRAME, small]), refused);
            let granted = process.permissions.on_demand(Grantee::Threads);
            assert_eq!(granted, ComponentSet::EMPTY);
        }
    }

    #[test]
    fn those_that_are_large_enough_do_not_matter_to_the_request() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let mut process = process(&host);
        assert_eq!(process.request([0, LARGEST_FRAME, 1 << 20]), Ok(()));
    }

    #[test]
    fn after_the_grant_a_small_one_is_refused_with_enomem() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let process = Process::permitted(&host);
        let set_up = |len| {
            let offer = host.offer();
            let permissions = &process.permissions;
            permissions.check_signal_stack(offer, FRAME_OVERHEAD, len)
        };
        for found in [1, 2048, LARGEST_FRAME - 1] {
            let needed = LARGEST_FRAME;
            let error = set_up(found).unwrap_err();
            assert_eq!(error, SignalStackError { found, needed });
            assert_eq!(error.errno(), Errno::Enomem);
        }
        for len in [0, LARGEST_FRAME, 1 << 20] {
            assert_eq!(set_up(len), Ok(()));
        }
    }

    #[test]
    fn before_the_grant_a_small_one_is_accepted() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let permissions = process(&host).permissions;
        let small = permissions.check_signal_stack(host.offer(), FRAME_OVERHEAD, 2048);
        assert_eq!(small, Ok(()));
    }
}

mod context_switch {
    use super::*;

    const THREADS: usize = 5;
    const ROUNDS: usize = 10;

    /// Each of the threads in turn finds what it loaded, and loads something else.
    fn in_turn<const CPUS: usize>() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let process = Process::permitted(&host);
        let mut cpus: [CpuFpu<ModelCpu>; CPUS] =
            std::array::from_fn(|number| host.start(u32::try_from(number).expect("few")));
        let mut random = Rng::with_seed(8);
        let mut threads: [_; THREADS] = std::array::from_fn(|_| (host.thread(), None));
        for round in 0..=ROUNDS {
            for (number, (thread, loaded)) in threads.iter_mut().enumerate() {
                let cpu = &mut cpus[(round + number) % CPUS];
                if let Some(expected) = loaded.take() {
                    let found = process.user_code(thread, cpu, TileValues::stored);
                    assert_eq!(found, Ok(expected), "thread {number} in round {round}");
                }
                let values = TileValues::random(&mut random);
                process
                    .user_code(thread, cpu, |cpu| values.load(cpu))
                    .expect("the tiles");
                thread.save_before_switch(cpu).expect("a save");
                *loaded = Some(values);
            }
        }
    }

    #[test]
    fn five_threads_on_one_cpu_keep_their_tiles() {
        in_turn::<1>();
    }

    #[test]
    fn five_threads_that_change_between_two_cpus_keep_their_tiles() {
        in_turn::<2>();
    }

    /// IA32_XFD follows the thread.
    #[test]
    fn a_thread_without_tiles_finds_none_of_the_others() {
        let enumeration = &SAPPHIRE_RAPIDS.enumeration();
        let host = host(enumeration);
        let process = Process::permitted(&host);
        let (mut cpu, mut thread, mut other) = (host.start(0), host.thread(), host.thread());
        let values = TileValues::random(&mut Rng::with_seed(9));
        process
            .user_code(&mut thread, &mut cpu, |cpu| values.load(cpu))
            .unwrap();
        thread.save_before_switch(&mut cpu).unwrap();
        other.restore_before_use(&mut cpu).unwrap();
        assert_eq!(cpu.processor().sttilecfg(), Ok([0; 64]));
        tiles::configure(cpu.processor()).unwrap();
        let touched = cpu.processor().tilezero(0);
        assert_eq!(touched, Err(Fault::DeviceNotAvailable));
    }
}

mod ptrace;
