//! This machine's kernel at one door, and the library beside it.
//!
//! Where there is no such door here, that is said, loudly.

use std::fmt;

use fpstate_arch::{Component, ComponentSet, Format};

use super::answer::Side;
use super::campaign::{self, Campaign, Failure};
use super::door::Door;
use super::generator::Generator;
use super::kernel::signal_return::SignalReturn;
use super::kernel::thread::{RegisterSet, Regset, StoppedThread};
use super::kernel::vcpu::Vcpu;
use super::library::signal_return::LibraryReturn;
use super::library::thread::LibraryThread;
use super::library::vcpu::LibraryVcpu;
use super::named;
use super::shape::Shape;
use super::trial::{Defendant, Trial};
use crate::differential::silicon::Silicon;

/// Lent to a process only when it asks (IA32_XFD), and the judge never does.
const ON_DEMAND: ComponentSet = ComponentSet::only(Component::TileData);

/// One door.
#[derive(Debug)]
pub struct Court {
    door: Door,
    shape: Shape,
    /// What the system enables.
    xcr0: ComponentSet,
    /// What the judge's own registers are compared in.
    compared: ComponentSet,
}

impl Court {
    /// `None`, and a line that says so, where there is no such door.
    #[must_use]
    pub fn open(door: Door) -> Option<Self> {
        let opened = Self::try_open(door);
        match &opened {
            Ok(court) => eprintln!("{court}"),
            Err(reason) => eprintln!("SKIPPED: no {door} here: {reason}"),
        }
        opened.ok()
    }

    fn try_open(door: Door) -> Result<Self, String> {
        let silicon = Silicon::new().ok_or("no XSAVE")?;
        let xcr0 = silicon.xcr0();
        let components = match door {
            Door::Vcpu => {
                let vcpu = Vcpu::new().map_err(|error| error.to_string())?;
                vcpu.supported_components().difference(ON_DEMAND)
            }
            Door::X86Xstate | Door::Prfpreg => {
                StoppedThread::new().map_err(|error| error.to_string())?;
                xcr0
            }
            Door::SignalFrame => xcr0.difference(ON_DEMAND),
        };
        Ok(Self {
            door,
            shape: Shape::new(silicon.enumeration(), components, silicon.mxcsr_mask()),
            xcr0,
            compared: silicon.compared(),
        })
    }

    /// What images look like.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The images of `seed`.
    #[must_use]
    pub fn images(&self, seed: u64) -> Generator<'_> {
        // The others decide about the process's own accesses (PKRU, MPX).
        let withheld = self.shape.components().difference(self.compared);
        Generator::new(&self.shape, self.door, seed).withholding(withheld)
    }

    /// The kernel and the library in each format.
    #[must_use]
    pub fn trial(&self) -> Trial<'_> {
        let defendants = [
            ("standard area", Format::Standard),
            ("compacted area", Format::Compacted),
        ];
        let defendants = defendants.map(|(name, format)| Defendant {
            name,
            side: self.library(format),
            named: named::differences(self.door, format),
        });
        Trial::new(self.kernel(), defendants.into())
    }

    /// The kernel.
    ///
    /// # Panics
    /// If the door that was open is not any more.
    #[must_use]
    pub fn kernel(&self) -> Box<dyn Side> {
        let regset = |set| {
            let thread = StoppedThread::new().expect("a thread");
            Box::new(Regset::new(thread, set))
        };
        match self.door {
            Door::Vcpu => Box::new(Vcpu::new().expect("a vCPU")),
            Door::X86Xstate => regset(RegisterSet::X86Xstate),
            Door::Prfpreg => regset(RegisterSet::Prfpreg),
            Door::SignalFrame => Box::new(self.signal_return()),
        }
    }

    /// The library, with its state in an area of `format`.
    #[must_use]
    pub fn library(&self, format: Format) -> Box<dyn Side + '_> {
        let shape = &self.shape;
        let thread = |set| {
            let allowed = shape.components().difference(ON_DEMAND);
            Box::new(LibraryThread::new(shape, allowed, format, set))
        };
        match self.door {
            Door::Vcpu => Box::new(LibraryVcpu::new(shape, format)),
            Door::X86Xstate => thread(RegisterSet::X86Xstate),
            Door::Prfpreg => thread(RegisterSet::Prfpreg),
            Door::SignalFrame => Box::new(LibraryReturn::new(
                shape,
                self.xcr0,
                format,
                self.signal_return(),
            )),
        }
    }

    /// This thread, which returns from signals.
    #[must_use]
    pub fn signal_return(&self) -> SignalReturn {
        SignalReturn::new(self.compared, self.shape.image_len())
    }

    /// Compares the batches of `seeds`.
    ///
    /// # Errors
    /// The first difference without a name.
    pub fn compare(&self, seeds: &[u64]) -> Result<Campaign, Box<Failure>> {
        campaign::compare(&mut self.trial(), |seed| self.images(seed), seeds)
    }

    /// The same, with the library in a wrapper and its state in the standard format.
    ///
    /// # Errors
    /// The first difference without a name.
    pub fn compare_with<'s>(
        &'s self,
        seeds: &[u64],
        wrap: impl FnOnce(&'s Shape, Box<dyn Side + 's>) -> Box<dyn Side + 's>,
    ) -> Result<Campaign, Box<Failure>> {
        let format = Format::Standard;
        let defendant = Defendant {
            name: "wrapped",
            side: wrap(&self.shape, self.library(format)),
            named: named::differences(self.door, format),
        };
        let mut trial = Trial::new(self.kernel(), vec![defendant]);
        campaign::compare(&mut trial, |seed| self.images(seed), seeds)
    }
}

impl fmt::Display for Court {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            door,
            shape,
            xcr0: _,
            compared,
        } = self;
        write!(
            f,
            "{door}: {}, images of {} bytes, MXCSR_MASK {:#x}",
            shape.components(),
            shape.image_len(),
            shape.mxcsr_mask()
        )?;
        if !shape.components().contains(Component::Pkru) {
            f.write_str("\nnot compared here: PKRU, which this CPU has not")?;
        }
        let withheld = shape.components().difference(*compared);
        if *door == Door::SignalFrame && !withheld.is_empty() {
            write!(
                f,
                "\nnot compared here: {withheld}, which frames do not announce"
            )?;
        }
        Ok(())
    }
}
