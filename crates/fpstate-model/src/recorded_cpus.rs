//! Two CPUs for the tests of this crate, as their CPUID dumps record them, and memory for areas.

use fpstate_arch::{Component, ComponentSet, CpuidRegisters, Processor, Xcr0, Xss};

use crate::cpu::ModelCpu;

pub(crate) type Leaf = (u32, u32, CpuidRegisters);

const fn leaf(leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

/// An EPYC 9654. Neither AMX nor XFD.
pub(crate) const GENOA: [Leaf; 13] = [
    leaf(0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
    leaf(1, 0, [0x00a1_0f11, 0x00c0_0800, 0x7efa_320b, 0x178b_fbff]),
    leaf(0xd, 0, [0x2e7, 0x980, 0x988, 0]),
    leaf(0xd, 1, [0xf, 0x990, 0x1800, 0]),
    leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    leaf(0xd, 5, [0x40, 0x340, 0, 0]),
    leaf(0xd, 6, [0x200, 0x380, 0, 0]),
    leaf(0xd, 7, [0x400, 0x580, 0, 0]),
    leaf(0xd, 9, [0x8, 0x980, 0, 0]),
    leaf(0xd, 11, [0x10, 0, 1, 0]),
    leaf(0xd, 12, [0x18, 0, 1, 0]),
    leaf(7, 0, [0x1, 0xf1bf_97a9, 0x0041_5fce, 0x1000_0010]),
    leaf(0x8000_0008, 0, [0x3934, 0x79be_f25f, 0x80bf, 0x1_0007]),
];

/// A Xeon Silver 4514Y.
pub(crate) const EMERALD_RAPIDS: [Leaf; 21] = [
    leaf(0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
    leaf(1, 0, [0x000c_06f2, 0x0080_0800, 0x7ffe_fbff, 0xbfeb_fbff]),
    leaf(0xd, 0, [0x602e7, 0x2b00, 0x2b00, 0]),
    leaf(0xd, 1, [0x1f, 0x2a80, 0xdd00, 0]),
    leaf(0xd, 2, [0x100, 0x240, 0, 0]),
    leaf(0xd, 5, [0x40, 0x440, 0, 0]),
    leaf(0xd, 6, [0x200, 0x480, 0, 0]),
    leaf(0xd, 7, [0x400, 0x680, 0, 0]),
    leaf(0xd, 8, [0x80, 0, 1, 0]),
    leaf(0xd, 9, [0x8, 0xa80, 0, 0]),
    leaf(0xd, 10, [0x8, 0, 1, 0]),
    leaf(0xd, 11, [0x10, 0, 1, 0]),
    leaf(0xd, 12, [0x18, 0, 1, 0]),
    leaf(0xd, 14, [0x30, 0, 1, 0]),
    leaf(0xd, 15, [0x328, 0, 1, 0]),
    leaf(0xd, 17, [0x40, 0xac0, 2, 0]),
    leaf(0xd, 18, [0x2000, 0xb00, 6, 0]),
    leaf(7, 0, [0x2, 0xf3bf_bfff, 0xfb41_7fee, 0xffdd_4432]),
    leaf(0x1d, 0, [0x1, 0, 0, 0]),
    leaf(0x1d, 1, [0x0400_2000, 0x0008_0040, 0x10, 0]),
    leaf(0x1e, 0, [0, 0x4010, 0, 0]),
];

/// `leaves` with every component enabled.
pub(crate) fn cpu_with_everything_enabled(leaves: &[Leaf]) -> ModelCpu {
    let mut cpu = ModelCpu::new(leaves);
    let user = cpu.enumeration().user_components();
    let supervisor = cpu.enumeration().supervisor_components();
    cpu.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
    cpu.write_xss(Xss::new(supervisor, supervisor).unwrap())
        .unwrap();
    cpu
}

/// Intel, everything enabled.
pub(crate) fn emerald_rapids() -> ModelCpu {
    cpu_with_everything_enabled(&EMERALD_RAPIDS)
}

/// x87, SSE, AVX and CET_U enabled and values in all registers, for tests of refusals.
pub(crate) fn cpu_with_avx() -> ModelCpu {
    let mut cpu = emerald_rapids();
    let user = ComponentSet::from_bits(0x7);
    cpu.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
    let supervisor = ComponentSet::only(Component::CetU);
    cpu.write_xss(Xss::new(supervisor, supervisor).unwrap())
        .unwrap();
    cpu.registers_mut().fill(ALL, generator(11));
    cpu
}

/// Every component there may be, as software that does not choose passes it.
pub(crate) const ALL: ComponentSet = ComponentSet::from_bits(!0);

pub(crate) const fn set(components: &[Component]) -> ComponentSet {
    let mut set = ComponentSet::EMPTY;
    let mut rest = components;
    while let [first, others @ ..] = rest {
        set = set.with(*first);
        rest = others;
    }
    set
}

/// The 64 bytes of palette 1 with `tiles`: (number, rows, bytes per row).
pub(crate) fn tile_config(tiles: &[(usize, u8, u16)]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for &(number, rows, colsb) in tiles {
        let at = 16 + 2 * number;
        bytes[at..at + 2].copy_from_slice(&colsb.to_le_bytes());
        bytes[48 + number] = rows;
    }
    bytes
}

/// Memory for an area; longer than any area of the CPUs above.
#[repr(C, align(64))]
#[derive(Clone)]
pub(crate) struct Area(pub(crate) [u8; 12288]);

impl Area {
    pub(crate) const fn of(byte: u8) -> Self {
        Self([byte; 12288])
    }

    /// A standard-format image: bytes 0, MXCSR and FCW in their initial configuration.
    pub(crate) fn standard(xstate_bv: u64) -> Self {
        let mut area = Self::of(0);
        area.put(0, &0x037f_u16.to_le_bytes());
        area.put(24, &0x1f80_u32.to_le_bytes());
        area.put(512, &xstate_bv.to_le_bytes());
        area
    }

    pub(crate) fn compacted(xstate_bv: u64, xcomp_bv: u64) -> Self {
        let mut area = Self::standard(xstate_bv);
        area.put(520, &(xcomp_bv | 1 << 63).to_le_bytes());
        area
    }

    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.0[offset..offset + 8].try_into().unwrap())
    }

    pub(crate) fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0[offset..offset + 4].try_into().unwrap())
    }

    pub(crate) fn xstate_bv(&self) -> u64 {
        self.u64_at(512)
    }
}

/// Xorshift: values that differ from one another, the same in every run.
pub(crate) fn generator(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}
