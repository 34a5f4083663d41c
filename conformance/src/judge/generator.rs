//! Images to hand over, one after the other, from a seed.

use std::collections::BTreeMap;

use fastrand::Rng;
use fpstate_arch::ComponentSet;

use super::door::Door;
use super::frame::{self, OF_THE_FRAME, XFEATURES};
use super::legal::{self, XSTATE_BV, number, set_number};
use super::mutation::{Mutation, OF_THE_IMAGE, length};
use super::shape::Shape;

const fn frames(door: Door) -> &'static [Mutation] {
    match door {
        Door::SignalFrame => &OF_THE_FRAME,
        Door::Vcpu | Door::X86Xstate | Door::Prfpreg => &[],
    }
}

/// Makes images.
#[derive(Clone, Debug)]
pub struct Generator<'s> {
    shape: &'s Shape,
    door: Door,
    random: Rng,
    withheld: ComponentSet,
    made: BTreeMap<&'static str, u64>,
}

impl<'s> Generator<'s> {
    /// The images that `seed` stands for.
    #[must_use]
    pub fn new(shape: &'s Shape, door: Door, seed: u64) -> Self {
        Self {
            shape,
            door,
            random: Rng::with_seed(seed),
            withheld: ComponentSet::EMPTY,
            made: BTreeMap::new(),
        }
    }

    /// The same, but no frame announces `withheld` in `xfeatures`: what the process itself cannot do
    /// without.
    #[must_use]
    pub fn withholding(mut self, withheld: ComponentSet) -> Self {
        self.withheld = withheld;
        self
    }

    /// Whether there are components that frames do not announce.
    #[must_use]
    pub const fn withholds_something(&self) -> bool {
        !self.withheld.is_empty()
    }

    /// A legal standard-format image.
    pub fn legal(&mut self) -> Vec<u8> {
        legal::image(&mut self.random, self.shape)
    }

    /// A legal standard-format image that has every component.
    pub fn with_everything_live(&mut self) -> Vec<u8> {
        let mut image = self.legal();
        set_number(&mut image, XSTATE_BV, self.shape.components().bits());
        image
    }

    /// A legal image or one with up to three changes.
    pub fn image(&mut self) -> Vec<u8> {
        let mut image = self.legal();
        match self.door {
            Door::Vcpu => image.resize(4096, self.random.u8(..)),
            Door::X86Xstate => {}
            Door::Prfpreg => image.truncate(512),
            Door::SignalFrame => frame::complete(self.shape, &mut image),
        }
        let changes = self.random.u8(0..4);
        for _ in 0..changes {
            let mutation = self.mutation();
            (mutation.apply)(&mut self.random, self.shape, &mut image);
            self.note(mutation.name);
        }
        if changes == 0 {
            self.note("nothing");
        } else if self.random.u8(0..16) == 0 {
            self.cut_or_extend(&mut image);
            self.note("the length");
        }
        if self.door == Door::SignalFrame {
            let announced = number(&image, XFEATURES) & !self.withheld.bits();
            set_number(&mut image, XFEATURES, announced);
        }
        image
    }

    /// How often each change was made.
    #[must_use]
    pub const fn made(&self) -> &BTreeMap<&'static str, u64> {
        &self.made
    }

    /// The changes there are.
    pub fn changes(door: Door) -> impl Iterator<Item = &'static str> {
        let all = OF_THE_IMAGE.iter().chain(frames(door));
        all.map(|mutation| mutation.name)
            .chain(["nothing", "the length"])
    }

    fn mutation(&mut self) -> Mutation {
        let frames = frames(self.door);
        if !frames.is_empty() && self.random.bool() {
            return frames[self.random.usize(..frames.len())];
        }
        OF_THE_IMAGE[self.random.usize(..OF_THE_IMAGE.len())]
    }

    fn cut_or_extend(&mut self, image: &mut Vec<u8>) {
        let (right, longest) = match self.door {
            Door::Vcpu => (4096, 4096),
            Door::X86Xstate => (self.shape.image_len(), self.shape.image_len() + 1024),
            Door::Prfpreg => (512, 1024),
            Door::SignalFrame => (image.len(), image.len()),
        };
        let mut len = length(&mut self.random, right, longest);
        if self.door == Door::SignalFrame {
            len = len / 64 * 64;
        }
        let filler = self.random.u8(..);
        image.resize(len, filler);
    }

    fn note(&mut self, change: &'static str) {
        *self.made.entry(change).or_default() += 1;
    }
}
