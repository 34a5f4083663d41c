//! Areas with random contents, for the tests.

extern crate std;

use std::vec::Vec;
use std::{env, eprintln};

use fpstate_arch::{
    AbridgedTagWord, Component, ComponentSet, Enumeration, LegacyRegion, Mxcsr, XsaveHeader,
};

/// A generator that needs nothing: xorshift64.
pub(crate) struct Random(u64);

impl Random {
    /// From `FPSTATE_SEED`, or from the clock; prints which.
    pub(crate) fn seeded() -> Self {
        let seed = env::var("FPSTATE_SEED").map_or_else(
            |_| {
                let now = std::time::UNIX_EPOCH.elapsed().unwrap();
                now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
            },
            |seed| seed.parse().unwrap(),
        );
        eprintln!("FPSTATE_SEED={seed}");
        Self(seed | 1)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.u64() >> 48).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.u64().to_le_bytes()[5])
    }
}

/// Memory that begins at a multiple of 64.
pub(crate) struct Area {
    memory: Vec<u8>,
    len: usize,
}

/// The copy begins at a multiple of 64 too.
impl Clone for Area {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.len);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

impl Area {
    pub(crate) fn zeroed(len: usize) -> Self {
        let memory = std::vec![0; len + 64];
        Self { memory, len }
    }

    fn start(&self) -> usize {
        self.memory.as_ptr().align_offset(64)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start()..][..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.memory[start..][..self.len]
    }

    pub(crate) fn legacy(&self) -> LegacyRegion {
        LegacyRegion::from_bytes(self.bytes().first_chunk().unwrap())
    }

    pub(crate) fn set_legacy(&mut self, legacy: &LegacyRegion) {
        legacy.write_to(self.bytes_mut().first_chunk_mut().unwrap());
    }

    pub(crate) fn header(&self) -> XsaveHeader {
        XsaveHeader::from_bytes(self.bytes()[512..].first_chunk().unwrap())
    }

    pub(crate) fn set_header(&mut self, header: &XsaveHeader) {
        self.bytes_mut()[512..576].copy_from_slice(&header.to_bytes());
    }

    /// The bytes of an extended component in the standard format.
    pub(crate) fn component<'a>(&'a self, on: &Enumeration, component: Component) -> &'a [u8] {
        &self.bytes()[standard_place(on, component)]
    }
}

pub(crate) fn standard_place(on: &Enumeration, component: Component) -> core::ops::Range<usize> {
    let entry = on.entry(component).unwrap();
    let (offset, len) = (entry.standard_offset, entry.len);
    offset.try_into().unwrap()..(offset + len).try_into().unwrap()
}

/// The components of which any bytes are legal contents.
pub(crate) const ANY_BYTES: ComponentSet = ComponentSet::LEGACY
    .with(Component::Avx)
    .union(ComponentSet::AVX512);

/// An area for all of `on`, in the standard format, with random `components`.
pub(crate) fn random_image(
    random: &mut Random,
    on: &Enumeration,
    components: ComponentSet,
    mxcsr_mask: u32,
) -> Area {
    assert!(ANY_BYTES.contains_all(components));
    let mut area = Area::zeroed(on.standard_len().max(576).try_into().unwrap());
    area.set_legacy(&random_legacy(random, mxcsr_mask));
    area.set_header(&XsaveHeader::standard(components));
    for component in components.difference(ComponentSet::LEGACY).iter() {
        for byte in &mut area.bytes_mut()[standard_place(on, component)] {
            [*byte] = random.bytes();
        }
    }
    area
}

fn random_legacy(random: &mut Random, mxcsr_mask: u32) -> LegacyRegion {
    // Bit 6 reads 1; bits 9:8 (precision) must not be 01; 15:12 and 7 read 0.
    let precision = [0x000, 0x200, 0x300][usize::from(random.u16() % 3)];
    let fcw = 0x40 | random.u16() & 0x0c3f | precision;
    let flags = random.u16() & 0x7f7f;
    // ES and B say whether an exception is pending that FCW does not mask.
    let pending = if flags & !fcw & 0x3f == 0 { 0 } else { 0x8080 };
    let canonical = 0x7fff_ffff_ffff;
    LegacyRegion {
        fcw,
        fsw: flags | pending,
        ftw: AbridgedTagWord::from_bits(random.bytes::<1>()[0]),
        fop: random.u16() & 0x7ff,
        fip: random.u64() & canonical,
        fdp: random.u64() & canonical,
        mxcsr: Mxcsr::from_bits(u32::try_from(random.u64() >> 32).unwrap() & mxcsr_mask),
        st: core::array::from_fn(|_| {
            let mut register = random.bytes();
            register[10..].fill(0);
            register
        }),
        xmm: core::array::from_fn(|_| random.bytes()),
        ..LegacyRegion::INITIAL
    }
}

/// Whether the CPU saves the FOP, FIP and FDP of `legacy`. An AMD CPU does only with an unmasked
/// exception pending (FSW.ES); otherwise it writes zeros, or with CPUID.80000008H:EBX\[2\] = 0
/// nothing.
fn error_pointers_are_saved(legacy: &LegacyRegion) -> bool {
    const AMD: [u8; 4] = *b"cAMD";
    crate::cpuid(0, 0).ecx.to_le_bytes() != AMD || legacy.fsw & 0x80 != 0
}

/// Panics unless `found` has the registers of `expected`, component by component.
pub(crate) fn assert_same(
    on: &Enumeration,
    found: &Area,
    expected: &Area,
    components: ComponentSet,
) {
    let (mine, yours) = (found.legacy(), expected.legacy());
    if components.contains(Component::X87) {
        assert_eq!((mine.fcw, mine.fsw), (yours.fcw, yours.fsw), "x87");
        assert_eq!((mine.ftw, mine.st), (yours.ftw, yours.st), "x87");
        if error_pointers_are_saved(&yours) {
            let pointers = |legacy: &LegacyRegion| (legacy.fop, legacy.fip, legacy.fdp);
            assert_eq!(pointers(&mine), pointers(&yours), "x87");
        }
    }
    if components.contains(Component::Sse) {
        assert_eq!((mine.mxcsr, mine.xmm), (yours.mxcsr, yours.xmm), "SSE");
    }
    for component in components.difference(ComponentSet::LEGACY).iter() {
        let (mine, yours) = (
            found.component(on, component),
            expected.component(on, component),
        );
        assert!(mine == yours, "{component}: {mine:x?}\nnot {yours:x?}");
    }
}
