//! What processors of one kind have: which registers, and what an area of theirs looks like.

use fpstate::{Offer, SwitchInstructions};
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Format, Pkru, Processor};
use fpstate_model::{ModelCpu, Osxsave, X87Pointers};

use crate::generators::ErrorPointers;

/// A kind of CPU under the kernel's offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    instructions: SwitchInstructions,
    /// The host's.
    xcr0: ComponentSet,
    pub(super) error_pointers: ErrorPointers,
}

/// The control registers that a host and its guests have values of their own for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) xcr0: ComponentSet,
    pub(super) xss: ComponentSet,
    pub(super) xfd: ComponentSet,
    pub(super) xfd_err: ComponentSet,
    pub(super) pkru: Pkru,
}

impl Kind {
    pub(super) const fn of(offer: &Offer<'_>, processor: &ModelCpu) -> Self {
        Self {
            instructions: offer.instructions(),
            xcr0: offer.control_registers().xcr0.components(),
            error_pointers: match processor.vendor_differences().x87_pointers {
                X87Pointers::Always => ErrorPointers::Kept,
                X87Pointers::WhileExceptionPending | X87Pointers::LeftAlone => {
                    ErrorPointers::OnlyWithException
                }
            },
        }
    }

    const fn format(self) -> Format {
        self.instructions.save().format()
    }

    /// With FXSAVE alone CR4.OSXSAVE is 0.
    pub(super) const fn has_xsave(self) -> bool {
        !matches!(self.format(), Format::Fxsave)
    }

    pub(super) const fn has_xfd(self) -> bool {
        self.instructions.has_xfd()
    }

    pub(super) const fn has_pkru(self) -> bool {
        self.xcr0.contains(Component::Pkru)
    }

    /// What the host has in CR4.OSXSAVE.
    pub(super) const fn osxsave(self) -> Osxsave {
        if self.has_xsave() {
            Osxsave::Set
        } else {
            Osxsave::Clear
        }
    }

    /// What XSAVE instructions see of `xcr0`.
    pub(super) const fn xcr0(self, xcr0: ComponentSet) -> ComponentSet {
        if self.has_xsave() {
            xcr0
        } else {
            ComponentSet::EMPTY
        }
    }

    /// WRPKRU, where there is PKRU.
    pub(super) fn write_pkru(self, processor: &mut impl Processor, pkru: Pkru) {
        if self.has_pkru() {
            processor.wrpkru(pkru).expect("PKRU");
        }
    }

    /// What the registers hold; `otherwise` of those that there are not.
    pub(super) fn read(
        self,
        processor: &mut impl Processor,
        otherwise: Registers,
    ) -> Result<Registers, Fault> {
        let mut found = otherwise;
        if self.has_xsave() {
            found.xcr0 = processor.xgetbv()?;
        }
        if self.instructions.reaches_xss() {
            found.xss = processor.read_xss()?;
        }
        if self.has_xfd() {
            found.xfd = processor.read_xfd()?;
            found.xfd_err = processor.read_xfd_err()?.components();
        }
        if self.has_pkru() {
            found.pkru = processor.rdpkru()?;
        }
        Ok(found)
    }

    /// XCOMP_BV of an area with room for `components` (SDM 1, 13.4.2).
    pub(super) const fn xcomp_bv(self, components: ComponentSet) -> u64 {
        match self.format() {
            Format::Compacted => components.bits() | 1 << 63,
            Format::Standard | Format::Fxsave => 0,
        }
    }

    /// Bytes of an area with room for `components` (SDM 1, 10.5.1, 13.4.3).
    pub(super) fn area_len(self, enumeration: &Enumeration, components: ComponentSet) -> usize {
        let extended = components.difference(ComponentSet::LEGACY);
        let entries = extended
            .iter()
            .map(|c| enumeration.entry(c).expect("a sub-leaf"));
        let len = match self.format() {
            Format::Fxsave => 512,
            Format::Standard => entries.fold(576, |end, e| end.max(e.standard_offset + e.len)),
            Format::Compacted => entries.fold(576, |end: u32, entry| {
                let start = if entry.is_aligned_64() {
                    end.next_multiple_of(64)
                } else {
                    end
                };
                start + entry.len
            }),
        };
        usize::try_from(len).expect("a length")
    }
}
