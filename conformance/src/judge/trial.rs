//! One door of the kernel beside the library's, and what may differ.

use super::answer::{Answer, Difference, Side};

/// A difference that is known and has a name.
#[derive(Clone, Copy)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// Makes the library's answer what it would be without; whether there was something to do.
    pub forgive: fn(image: &[u8], kernel: &Answer, library: &mut Answer) -> bool,
}

/// The library in one of its forms.
pub struct Defendant<'s> {
    /// What form.
    pub name: &'static str,
    /// The form.
    pub side: Box<dyn Side + 's>,
    /// The differences that are known.
    pub named: &'static [Named],
}

/// The kernel, and the library in several forms.
pub struct Trial<'s> {
    kernel: Box<dyn Side + 's>,
    defendants: Vec<Defendant<'s>>,
}

/// One of the library's forms answered otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// What form.
    pub name: &'static str,
    /// How.
    pub difference: Difference,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.difference)
    }
}

/// What all agree on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The answer, as the kernel gives it.
    pub answer: Answer,
    /// The names of the differences that there were all the same.
    pub explained: Vec<&'static str>,
}

impl<'s> Trial<'s> {
    /// `kernel` decides what is right.
    #[must_use]
    pub const fn new(kernel: Box<dyn Side + 's>, defendants: Vec<Defendant<'s>>) -> Self {
        Self { kernel, defendants }
    }

    /// Everybody has the state of `image`.
    pub fn begin(&mut self, image: &[u8]) {
        self.kernel.begin(image);
        for defendant in &mut self.defendants {
            defendant.side.begin(image);
        }
    }

    /// Hands `image` to everybody.
    ///
    /// # Errors
    /// The first form of the library that answers otherwise, without a name for it.
    pub fn put(&mut self, image: &[u8]) -> Result<Agreed, Disagreement> {
        let answer = self.kernel.put(image);
        let mut explained = Vec::new();
        for defendant in &mut self.defendants {
            let mut library = defendant.side.put(image);
            if answer != library {
                for named in defendant.named {
                    if (named.forgive)(image, &answer, &mut library) {
                        explained.push(named.name);
                    }
                }
            }
            if let Some(difference) = Difference::between(&answer, &library) {
                let name = defendant.name;
                return Err(Disagreement { name, difference });
            }
        }
        Ok(Agreed { answer, explained })
    }
}

impl std::fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.defendants.iter().map(|it| it.name).collect();
        f.debug_struct("Trial").field("defendants", &names).finish()
    }
}

impl std::fmt::Debug for Defendant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Defendant").field(&self.name).finish()
    }
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
