//! The routines beside the instructions, on the CPU that runs the tests.

extern crate std;

mod error_pointers;
mod restores;
mod saves;

use std::{env, eprintln};

use fpstate_arch::moved::{COVERED, MOVABLE};
use fpstate_arch::{Component, ComponentSet, Enumeration, Format, LegacyRegion, Mxcsr, Processor};

use super::plan::{ErrorPointersLeft, MovingCpu};
use crate::UserProcessor;
use crate::random_image::{ANY_BYTES, Area, Random, random_image, standard_place};

const SSE: ComponentSet = ComponentSet::only(Component::Sse);

/// `FPSTATE_CASES`, or as many as a second allows.
fn cases() -> usize {
    env::var("FPSTATE_CASES").map_or(2000, |cases| cases.parse().unwrap())
}

/// A processor that holds registers between two calls, and what a test of it needs.
struct Bench<'m> {
    cpu: UserProcessor<'m>,
    on: Enumeration,
    random: Random,
    /// The components of this CPU whose contents may be any bytes.
    tried: ComponentSet,
}

/// `test` once for each case; loudly not at all where moves cover nothing.
fn for_each_case(mut test: impl FnMut(&mut Bench<'_>)) {
    let mut memory = Area::zeroed(UserProcessor::hand_over_len());
    // SAFETY: 1, 2: Linux, on one kind of CPU. 3: the tests keep nothing there.
    let mut cpu = unsafe { UserProcessor::assume_user_mode(memory.bytes_mut()) }.unwrap();
    if cpu.xgetbv_in_use().is_err() {
        eprintln!("SKIPPED: no XGETBV(1) here");
        return;
    }
    let mut bench = Bench {
        on: cpu.enumeration().clone(),
        random: Random::seeded(),
        tried: cpu.handed_over().intersection(ANY_BYTES),
        cpu,
    };
    for _ in 0..cases() {
        test(&mut bench);
    }
}

/// XINUSE goes by contents there (docs/surprises.md).
fn is_zen_4() -> bool {
    let family = crate::cpuid(1, 0).eax >> 20 & 0xff;
    crate::cpuid(0, 0).ecx.to_le_bytes() == *b"cAMD" && family == 0x0a
}

impl Bench<'_> {
    fn area(&self) -> Area {
        Area::zeroed(self.on.standard_len().try_into().unwrap())
    }

    /// This CPU, its error pointers no care of moves.
    fn moving(&self) -> MovingCpu {
        MovingCpu {
            xcr0: self.cpu.cpu.xcr0(),
            movable: MovingCpu::movable(),
            mxcsr_mask: self.cpu.cpu.conditions.mxcsr_mask,
            error_pointers: ErrorPointersLeft::Initial,
            counted_when_zeroed: ComponentSet::EMPTY,
        }
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.random.u64() >> 20 & 0xffff < 0x1_0000 / n
    }

    /// Some of the components that are tried; x87 seldom, as with most programs.
    fn some(&mut self) -> ComponentSet {
        let some = ComponentSet::from_bits(self.random.u64() >> 7).intersection(self.tried);
        if self.one_in(4) {
            some
        } else {
            some.without(Component::X87)
        }
    }

    /// What a caller may ask for: mostly all, and mostly with SSE.
    fn rfbm(&mut self) -> ComponentSet {
        match self.random.u64() >> 9 & 7 {
            0 => ComponentSet::from_bits(self.random.u64() >> 7).intersection(self.tried),
            1 => self.some().union(SSE),
            2 => ComponentSet::LEGACY
                .with(Component::Avx)
                .intersection(self.tried),
            _ => self.tried,
        }
    }

    /// Registers: each component initial, live, or live in few bytes; MXCSR often initial.
    fn image(&mut self) -> Area {
        let components = self.some();
        let mask = self.cpu.cpu.conditions.mxcsr_mask;
        let mut image = random_image(&mut self.random, &self.on, components, mask);
        if self.one_in(2) {
            let mxcsr = [0x1f80, 0x1f80, 0x1fa0, 0x9fc0, 0x1fff, 0x0000][self.six()];
            image.set_legacy(&LegacyRegion {
                mxcsr: Mxcsr::from_bits(mxcsr & mask),
                ..image.legacy()
            });
        }
        for component in components.without(Component::X87).iter() {
            if self.one_in(3) {
                self.clear_most(&mut image, component);
            }
        }
        image
    }

    fn six(&mut self) -> usize {
        usize::try_from(self.random.u64() >> 11).unwrap() % 6
    }

    /// At most eight bytes of `component` keep what they had.
    fn clear_most(&mut self, image: &mut Area, component: Component) {
        let place = if component == Component::Sse {
            160..416
        } else {
            standard_place(&self.on, component)
        };
        let len = place.len();
        let kept = usize::try_from(self.random.u64() >> 13).unwrap() % (len / 8) * 8;
        for (n, byte) in image.bytes_mut()[place].iter_mut().enumerate() {
            if !(kept..kept + 8).contains(&n) {
                *byte = 0;
            }
        }
    }

    /// The registers become those of `image`.
    fn load(&mut self, image: &Area) {
        self.cpu.xrstor(image.bytes(), self.tried).unwrap();
    }

    /// What the routines call in use.
    fn in_use(&mut self) -> ComponentSet {
        let in_use = self.cpu.xgetbv_in_use().unwrap();
        if self.cpu.stmxcsr().unwrap() == Mxcsr::INITIAL {
            in_use
        } else {
            in_use.union(SSE)
        }
    }

    /// Every register, and what is in use.
    fn registers(&mut self) -> (Area, ComponentSet) {
        let mut area = self.area();
        self.cpu.xsave(area.bytes_mut(), self.tried).unwrap();
        (area, self.in_use())
    }
}
