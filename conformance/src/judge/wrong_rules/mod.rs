//! What the judge must catch: the library with one rule broken.
//!
//! A check that cannot fail is a defect. Each rule here is one that somebody has got wrong, or could. It
//! is broken from outside: the image is changed before the library sees it, or the answer after.

mod of_frames;
mod of_images;

use fpstate_arch::ComponentSet;

use super::answer::{Answer, Side};
use super::court::Court;
use super::door::Door;
use super::shape::Shape;

/// A rule broken.
#[derive(Clone, Copy)]
pub struct WrongRule {
    /// What the library then does.
    pub name: &'static str,
    doors: &'static [Door],
    /// Components without which it does not show.
    needs: ComponentSet,
    change: Change,
}

/// How it is broken.
#[derive(Clone, Copy)]
enum Change {
    /// The library sees another image.
    Image(fn(&Shape, &mut Vec<u8>)),
    /// It gives another answer.
    Answer(fn(&Shape, &mut Handed<'_>)),
}

/// An image that was handed over.
struct Handed<'a> {
    image: &'a [u8],
    /// The state before it, as it is handed out.
    before: &'a [u8],
    answer: Answer,
}

impl WrongRule {
    const fn new(name: &'static str, doors: &'static [Door], change: Change) -> Self {
        let needs = ComponentSet::EMPTY;
        Self {
            name,
            doors,
            needs,
            change,
        }
    }

    const fn that_needs(mut self, components: ComponentSet) -> Self {
        self.needs = components;
        self
    }

    /// Those that show at `door` on a CPU with `components`, and those that do not.
    #[must_use]
    pub fn at(door: Door, components: ComponentSet) -> (Vec<Self>, Vec<Self>) {
        let all = of_images::ALL.into_iter().chain(of_frames::ALL);
        all.filter(|rule| rule.doors.contains(&door))
            .partition(|rule| components.contains_all(rule.needs))
    }

    /// Images until the library with the rule broken differs from the kernel; `None` if it does not in
    /// the batches of `seeds`.
    #[must_use]
    pub fn cases_until_caught(self, court: &Court, seeds: &[u64]) -> Option<u64> {
        let failure = court.compare_with(seeds, |shape, inner| {
            Box::new(Broken {
                rule: self,
                shape,
                inner,
                before: Vec::new(),
            })
        });
        let failure = failure.err()?;
        Some((failure.seed - seeds[0]) * super::campaign::BATCH + failure.number + 1)
    }
}

impl std::fmt::Debug for WrongRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

struct Broken<'s> {
    rule: WrongRule,
    shape: &'s Shape,
    inner: Box<dyn Side + 's>,
    before: Vec<u8>,
}

impl Side for Broken<'_> {
    fn begin(&mut self, image: &[u8]) {
        self.inner.begin(image);
        self.before.clear();
    }

    fn put(&mut self, image: &[u8]) -> Answer {
        let answer = match self.rule.change {
            Change::Image(change) => {
                let mut image = image.to_vec();
                change(self.shape, &mut image);
                self.inner.put(&image)
            }
            Change::Answer(change) => {
                let answer = self.inner.put(image);
                let mut handed = Handed {
                    image,
                    before: &self.before,
                    answer,
                };
                change(self.shape, &mut handed);
                handed.answer
            }
        };
        self.before.clone_from(&answer.after);
        answer
    }
}
