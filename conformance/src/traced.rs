//! `Traced`: a processor that records each instruction.

use fpstate_arch::{ComponentSet, Fault, Processor};

use crate::intercept::{Executed, Intercept, processor_by_intercept};

/// A processor that records each instruction before it executes it, one that faults too.
#[derive(Debug)]
pub struct Traced<P> {
    inner: P,
    trace: Vec<Executed>,
}

impl<P> Traced<P> {
    /// `inner`, nothing recorded.
    #[must_use]
    pub const fn new(inner: P) -> Self {
        let trace = Vec::new();
        Self { inner, trace }
    }

    /// The instructions since the last call, but for [`Executed::Other`].
    pub fn take_trace(&mut self) -> Vec<Executed> {
        std::mem::take(&mut self.trace)
    }
}

impl<P: Processor> Intercept for Traced<P> {
    type Inner = P;

    fn inner(&mut self) -> &mut P {
        &mut self.inner
    }

    fn note(&mut self, executed: Executed) {
        if executed != Executed::Other {
            self.trace.push(executed);
        }
    }
}

processor_by_intercept!(Traced);
