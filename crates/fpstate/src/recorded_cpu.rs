//! A CPU for the tests of this crate, as its CPUID dump records it, and edits to it.

extern crate std;

use std::vec::Vec;

use fpstate_arch::cpuid::{CpuidRegisters, RecordedLeaves};
use fpstate_arch::enumeration::Enumeration;

const fn leaf(leaf: u32, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    (leaf, subleaf, CpuidRegisters { eax, ebx, ecx, edx })
}

type Leaf = (u32, u32, CpuidRegisters);

/// A Xeon Silver 4514Y: user components 0x602e7, supervisor components 0xdd00, XSAVES and XFD.
const EMERALD_RAPIDS: [Leaf; 22] = [
    leaf(0, 0, [0x20, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
    leaf(1, 0, [0x000c_06f2, 0x0080_0800, 0x7ffe_fbff, 0xbfeb_fbff]),
    leaf(7, 0, [0x2, 0xf3bf_bfff, 0xfb41_7fee, 0xffdd_4432]),
    leaf(7, 1, [0x1c30, 0, 0, 0x4_0000]),
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
    leaf(0x1d, 0, [1, 0, 0, 0]),
    leaf(0x1d, 1, [0x0400_2000, 0x0008_0040, 0x10, 0]),
    leaf(0x1e, 0, [0, 0x4010, 0, 0]),
];

pub(crate) struct RecordedCpu(Vec<Leaf>);

pub(crate) fn emerald_rapids() -> RecordedCpu {
    RecordedCpu(EMERALD_RAPIDS.to_vec())
}

impl RecordedCpu {
    /// Changes one leaf, which reads 0 if it was not recorded.
    pub(crate) fn with(
        mut self,
        number: u32,
        subleaf: u32,
        edit: impl FnOnce(&mut CpuidRegisters),
    ) -> Self {
        let place = (number, subleaf);
        let found = self.0.iter().position(|leaf| (leaf.0, leaf.1) == place);
        let index = found.unwrap_or_else(|| {
            self.0.push(leaf(number, subleaf, [0; 4]));
            self.0.len() - 1
        });
        edit(&mut self.0[index].2);
        self
    }

    /// Adds a component with its announcement, or replaces it.
    pub(crate) fn with_component(self, number: u32, figures: [u32; 3]) -> Self {
        let [len, standard_offset, flags] = figures;
        let cpu = self
            .with(0xd, number, |r| {
                (r.eax, r.ebx, r.ecx) = (len, standard_offset, flags);
            })
            // All that leaf 7 can announce.
            .with(7, 0, |r| (r.ebx, r.ecx, r.edx) = (!0, !0, !0))
            .with(7, 1, |r| r.edx = !0)
            .with(6, 0, |r| r.eax = !0);
        if flags & 1 == 0 {
            cpu.with(0xd, 0, |r| r.eax |= 1 << number)
        } else {
            cpu.with(0xd, 1, |r| r.ecx |= 1 << number)
        }
    }

    /// The same CPU without any user component but `user`.
    pub(crate) fn with_user(self, user: u32) -> Self {
        self.with(0xd, 0, |r| r.eax = user)
    }

    /// Without XSAVES, as old hypervisors show it.
    pub(crate) fn without_xsaves(self) -> Self {
        self.with(0xd, 1, |r| r.eax &= !(1 << 3))
    }

    /// Without XSAVE.
    pub(crate) fn without_xsave(self) -> Self {
        self.with(1, 0, |r| r.ecx &= !(1 << 26))
    }

    pub(crate) fn enumeration(&self) -> Enumeration {
        Enumeration::read(RecordedLeaves(&self.0))
    }
}
