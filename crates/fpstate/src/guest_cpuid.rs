//! CPUID leaves 0DH, 1DH and 1EH as a guest sees them.
//!
//! The lengths in EBX follow the guest's XCR0 and IA32_XSS at every moment (invariant I41), so they
//! are computed when the guest asks.

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::cpuid::CpuidRegisters;
use fpstate_arch::enumeration::{ComponentEntry, Enumeration, Instruction};

use crate::guest::GuestFpu;
use crate::layout::{Layout, LayoutError};
use crate::storage::AreaStorage;

const EXTENDED_STATE: u32 = 0xd;
const TILE_INFORMATION: u32 = 0x1d;
const TMUL_INFORMATION: u32 = 0x1e;

impl<S: AreaStorage> GuestFpu<'_, S> {
    /// CPUID with EAX = `leaf`, ECX = `subleaf` on a host with `enumeration`; `None` for leaves other
    /// than 0DH, 1DH and 1EH. CPUID.1:ECX.OSXSAVE and CPUID.(7,0):ECX.OSPKE are the VMM's to set, from
    /// the guest's CR4, and so is whether the guest has XSAVE at all.
    ///
    /// # Errors
    /// [`LayoutError`], of a host whose CPUID contradicts itself.
    pub fn cpuid(
        &self,
        leaf: u32,
        subleaf: u32,
        enumeration: &Enumeration,
    ) -> Result<Option<CpuidRegisters>, LayoutError> {
        let registers = match (leaf, subleaf) {
            (EXTENDED_STATE | TILE_INFORMATION | TMUL_INFORMATION, _)
                if !enumeration.has(Instruction::Xsave) =>
            {
                CpuidRegisters::default()
            }
            (EXTENDED_STATE, 0) => self.user_leaf(enumeration)?,
            (EXTENDED_STATE, 1) => self.supervisor_leaf(enumeration)?,
            (EXTENDED_STATE, number) => self.component_leaf(enumeration, number),
            (TILE_INFORMATION, palette) if self.has_tiles() => {
                enumeration.tiles().information(palette)
            }
            (TMUL_INFORMATION, 0) if self.has_tiles() => enumeration.tiles().tmul(),
            (TILE_INFORMATION | TMUL_INFORMATION, _) => CpuidRegisters::default(),
            _ => return Ok(None),
        };
        Ok(Some(registers))
    }

    fn user_leaf(&self, enumeration: &Enumeration) -> Result<CpuidRegisters, LayoutError> {
        let offered = self.features().user();
        let (eax, edx) = offered.halves();
        Ok(CpuidRegisters {
            eax,
            ebx: length(&Layout::standard(enumeration, self.xcr0().components())?),
            ecx: length(&Layout::standard(enumeration, offered)?),
            edx,
        })
    }

    fn supervisor_leaf(&self, enumeration: &Enumeration) -> Result<CpuidRegisters, LayoutError> {
        let (ecx, edx) = self.features().supervisor().halves();
        let xfd_is_offered = !self.features().on_demand().is_empty();
        let eax = IN_SUB_LEAF_1
            .into_iter()
            .zip(0..)
            .filter(|&(instruction, _)| enumeration.has(instruction))
            .filter(|&(instruction, _)| instruction != Instruction::Xfd || xfd_is_offered)
            .fold(0, |eax, (_, bit)| eax | 1u32.wrapping_shl(bit));
        let compacts = enumeration.has(Instruction::Xsavec) || enumeration.has(Instruction::Xsaves);
        let enabled = self.xcr0().components().union(self.xss().components());
        let ebx = if compacts {
            length(&Layout::compacted(enumeration, enabled)?)
        } else {
            0
        };
        Ok(CpuidRegisters { eax, ebx, ecx, edx })
    }

    fn component_leaf(&self, enumeration: &Enumeration, number: u32) -> CpuidRegisters {
        let component = u8::try_from(number).ok().and_then(Component::from_number);
        let offered = self.features().user().union(self.features().supervisor());
        let entry = component
            .filter(|&component| offered.contains(component))
            .and_then(|component| enumeration.entry(component));
        let Some((entry, component)) = entry.zip(component) else {
            return CpuidRegisters::default();
        };
        let xfd = self.features().on_demand().contains(component);
        CpuidRegisters {
            eax: entry.len,
            ebx: entry.standard_offset,
            ecx: if xfd {
                entry.flags
            } else {
                entry.flags & !ComponentEntry::XFD
            },
            edx: 0,
        }
    }

    fn has_tiles(&self) -> bool {
        self.features().user().contains_all(ComponentSet::TILES)
    }
}

/// CPUID.(0DH,1):EAX from bit 0 on.
const IN_SUB_LEAF_1: [Instruction; 5] = [
    Instruction::Xsaveopt,
    Instruction::Xsavec,
    Instruction::XgetbvInUse,
    Instruction::Xsaves,
    Instruction::Xfd,
];

/// An area is far shorter than 4 GB: its length is a sum of figures of 32 bits that CPUID gives.
fn length(layout: &Layout<'_>) -> u32 {
    u32::try_from(layout.area_len()).unwrap_or(u32::MAX)
}
