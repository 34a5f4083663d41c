//! CPUID leaf 0DH, and the bits elsewhere that say which instructions exist (SDM 1, 13.2).

use core::fmt;

use crate::component::{Component, ComponentSet};
use crate::cpuid::{CpuidRegisters, CpuidSource};
use crate::error_pointers::ErrorPointers;
use crate::feature_bit::features;
use crate::tile_config::TileEnumeration;

const FEATURES: u32 = 0x1;
const EXTENDED_STATE: u32 = 0xd;

/// An instruction, or a group that one CPUID bit announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Instruction {
    /// FXSAVE and FXRSTOR: CPUID.1:EDX\[24\].
    Fxsave,
    /// XSAVE, XRSTOR, XSETBV, XGETBV with ECX=0: CPUID.1:ECX\[26\].
    Xsave,
    /// XSAVEOPT: CPUID.(0DH,1):EAX\[0\].
    Xsaveopt,
    /// XSAVEC, and XRSTOR of the compacted format: CPUID.(0DH,1):EAX\[1\].
    Xsavec,
    /// XGETBV with ECX=1: CPUID.(0DH,1):EAX\[2\].
    XgetbvInUse,
    /// XSAVES, XRSTORS and IA32_XSS: CPUID.(0DH,1):EAX\[3\].
    Xsaves,
    /// IA32_XFD and IA32_XFD_ERR: CPUID.(0DH,1):EAX\[4\].
    Xfd,
}

impl Instruction {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [
        Self::Fxsave,
        Self::Xsave,
        Self::Xsaveopt,
        Self::Xsavec,
        Self::XgetbvInUse,
        Self::Xsaves,
        Self::Xfd,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::Fxsave => 1 << 0,
            Self::Xsave => 1 << 1,
            Self::Xsaveopt => 1 << 2,
            Self::Xsavec => 1 << 3,
            Self::XgetbvInUse => 1 << 4,
            Self::Xsaves => 1 << 5,
            Self::Xfd => 1 << 6,
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fxsave => "FXSAVE",
            Self::Xsave => "XSAVE",
            Self::Xsaveopt => "XSAVEOPT",
            Self::Xsavec => "XSAVEC",
            Self::XgetbvInUse => "XGETBV(1)",
            Self::Xsaves => "XSAVES",
            Self::Xfd => "XFD",
        })
    }
}

/// Which of the [`Instruction`]s a CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct InstructionSet(u8);

impl InstructionSet {
    /// No instruction.
    pub const EMPTY: Self = Self(0);

    /// This set and `instruction`.
    #[must_use]
    pub const fn with(self, instruction: Instruction) -> Self {
        Self(self.0 | instruction.bit())
    }

    /// This set without `instruction`: what a kernel that distrusts it would use.
    #[must_use]
    pub const fn without(self, instruction: Instruction) -> Self {
        Self(self.0 & !instruction.bit())
    }

    /// Whether `instruction` is there.
    #[must_use]
    pub const fn contains(self, instruction: Instruction) -> bool {
        self.0 & instruction.bit() != 0
    }

    /// The instructions in the set, oldest first.
    pub fn iter(self) -> impl Iterator<Item = Instruction> {
        Instruction::ALL
            .into_iter()
            .filter(move |&i| self.contains(i))
    }
}

/// What sub-leaf i >= 2 of CPUID leaf 0DH says of component i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ComponentEntry {
    /// Length of the component in bytes: EAX.
    pub len: u32,
    /// Offset from byte 0 of a standard-format area: EBX. Supervisor components have none; the
    /// register reads 0.
    pub standard_offset: u32,
    /// ECX: bit 0 supervisor, bit 1 aligned to 64 bytes in the compacted format, bit 2 XFD.
    /// Unknown bits are kept.
    pub flags: u32,
}

impl ComponentEntry {
    /// Bit 2 of [`flags`](Self::flags).
    pub const XFD: u32 = 1 << 2;

    /// ECX\[0\]: managed by IA32_XSS and XSAVES; otherwise by XCR0.
    #[must_use]
    pub const fn is_supervisor(self) -> bool {
        self.flags & 1 != 0
    }

    /// ECX\[1\]: starts at a multiple of 64 in the compacted format.
    #[must_use]
    pub const fn is_aligned_64(self) -> bool {
        self.flags & 2 != 0
    }

    /// ECX\[2\]: can be disabled with IA32_XFD.
    #[must_use]
    pub const fn has_xfd(self) -> bool {
        self.flags & Self::XFD != 0
    }
}

/// CPUID leaf 0DH of one CPU as data: what it has, not what is enabled.
///
/// Nothing is corrected or dropped here. A CPU without XSAVE has an enumeration too; it says which
/// of FXSAVE and nothing is there, and no component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    instructions: InstructionSet,
    user: ComponentSet,
    supervisor: ComponentSet,
    announced: ComponentSet,
    /// Of the entries, which would have to be walked for it at every switch.
    xfd: ComponentSet,
    entries: [Option<ComponentEntry>; 63],
    standard_len: u32,
    standard_len_for_xcr0: u32,
    compacted_len_for_xcr0_and_xss: u32,
    tiles: TileEnumeration,
    error_pointers: ErrorPointers,
}

impl Enumeration {
    /// Reads leaf 0DH, and what belongs to it in leaves 1, 6, 7, 1DH and 1EH, from `source`.
    pub fn read(mut source: impl CpuidSource) -> Self {
        let features = source.cpuid(FEATURES, 0);
        let mut enumeration = Self {
            instructions: instructions_of_leaf_1(features),
            user: ComponentSet::EMPTY,
            supervisor: ComponentSet::EMPTY,
            announced: ComponentSet::EMPTY,
            xfd: ComponentSet::EMPTY,
            entries: [None; 63],
            standard_len: 0,
            standard_len_for_xcr0: 0,
            compacted_len_for_xcr0_and_xss: 0,
            tiles: TileEnumeration::default(),
            error_pointers: ErrorPointers::read(&mut source),
        };
        if !enumeration.has(Instruction::Xsave) {
            return enumeration;
        }
        let main = source.cpuid(EXTENDED_STATE, 0);
        enumeration.user = ComponentSet::from_halves(main.eax, main.edx);
        enumeration.standard_len_for_xcr0 = main.ebx;
        enumeration.standard_len = main.ecx;
        let sub1 = source.cpuid(EXTENDED_STATE, 1);
        enumeration.supervisor = ComponentSet::from_halves(sub1.ecx, sub1.edx);
        enumeration.compacted_len_for_xcr0_and_xss = sub1.ebx;
        enumeration.instructions = instructions_of_sub_leaf_1(enumeration.instructions, sub1.eax);
        for component in enumeration
            .components()
            .difference(ComponentSet::LEGACY)
            .iter()
        {
            let number = component.number();
            let leaf = source.cpuid(EXTENDED_STATE, u32::from(number));
            if let Some(slot) = enumeration.entries.get_mut(usize::from(number)) {
                *slot = entry_of(leaf);
            }
        }
        enumeration.xfd = enumeration
            .components()
            .iter()
            .filter(|&c| enumeration.entry(c).is_some_and(ComponentEntry::has_xfd))
            .fold(ComponentSet::EMPTY, ComponentSet::with);
        enumeration.announced = enumeration
            .components()
            .iter()
            .filter(|&component| is_announced(component, &mut source))
            .fold(ComponentSet::EMPTY, ComponentSet::with);
        enumeration.tiles = TileEnumeration::read(&mut source);
        enumeration
    }

    /// The instructions this CPU has.
    #[must_use]
    pub const fn instructions(&self) -> InstructionSet {
        self.instructions
    }

    /// Whether the CPU has `instruction`.
    #[must_use]
    pub const fn has(&self, instruction: Instruction) -> bool {
        self.instructions.contains(instruction)
    }

    /// User components: the bits XCR0 may have, CPUID.(0DH,0):EDX:EAX.
    #[must_use]
    pub const fn user_components(&self) -> ComponentSet {
        self.user
    }

    /// Supervisor components: the bits IA32_XSS may have, CPUID.(0DH,1):EDX:ECX.
    #[must_use]
    pub const fn supervisor_components(&self) -> ComponentSet {
        self.supervisor
    }

    /// User and supervisor components.
    #[must_use]
    pub const fn components(&self) -> ComponentSet {
        self.user.union(self.supervisor)
    }

    /// The [`components`](Self::components) whose feature CPUID announces too, by at least one of
    /// its [`features`] bits; a component without such bits is announced by its own sub-leaf.
    #[must_use]
    pub const fn announced_components(&self) -> ComponentSet {
        self.announced
    }

    /// Components that IA32_XFD can disable.
    #[must_use]
    #[inline]
    pub const fn xfd_components(&self) -> ComponentSet {
        self.xfd
    }

    /// The sub-leaf of `component`. `None` for x87 and SSE, which have no sub-leaf of their own,
    /// for a component the CPU lacks, and for one whose sub-leaf reads as zero length.
    #[inline]
    pub fn entry(&self, component: Component) -> Option<ComponentEntry> {
        self.entries
            .get(usize::from(component.number()))
            .copied()
            .flatten()
    }

    /// CPUID.(0DH,0):ECX: bytes of a standard-format area for all user components, as the CPU
    /// computes it.
    #[must_use]
    pub const fn standard_len(&self) -> u32 {
        self.standard_len
    }

    /// CPUID.(0DH,0):EBX: the same for the components in XCR0 when this was read.
    #[must_use]
    pub const fn standard_len_for_xcr0(&self) -> u32 {
        self.standard_len_for_xcr0
    }

    /// CPUID.(0DH,1):EBX: bytes of a compacted area for XCR0 | IA32_XSS when this was read; 0 on
    /// CPUs that do not report it.
    #[must_use]
    pub const fn compacted_len_for_xcr0_and_xss(&self) -> u32 {
        self.compacted_len_for_xcr0_and_xss
    }

    /// What a restore does with FIP, FDP and FOP.
    #[must_use]
    pub const fn error_pointers(&self) -> ErrorPointers {
        self.error_pointers
    }

    /// CPUID leaves 1DH and 1EH.
    #[must_use]
    pub const fn tiles(&self) -> &TileEnumeration {
        &self.tiles
    }
}

const fn has_bit(register: u32, bit: u32) -> bool {
    register.wrapping_shr(bit) & 1 == 1
}

const fn instructions_of_leaf_1(leaf: CpuidRegisters) -> InstructionSet {
    let mut set = InstructionSet::EMPTY;
    if has_bit(leaf.edx, 24) {
        set = set.with(Instruction::Fxsave);
    }
    if has_bit(leaf.ecx, 26) {
        set = set.with(Instruction::Xsave);
    }
    set
}

fn instructions_of_sub_leaf_1(set: InstructionSet, eax: u32) -> InstructionSet {
    [
        Instruction::Xsaveopt,
        Instruction::Xsavec,
        Instruction::XgetbvInUse,
        Instruction::Xsaves,
        Instruction::Xfd,
    ]
    .into_iter()
    .zip(0..)
    .filter(|&(_, bit)| has_bit(eax, bit))
    .fold(set, |set, (instruction, _)| set.with(instruction))
}

fn is_announced(component: Component, source: &mut impl CpuidSource) -> bool {
    let bits = features(component);
    bits.is_empty()
        || bits.iter().any(|bit| {
            let (leaf, subleaf) = bit.leaf();
            bit.is_set(source.cpuid(leaf, subleaf))
        })
}

const fn entry_of(leaf: CpuidRegisters) -> Option<ComponentEntry> {
    if leaf.eax == 0 {
        return None;
    }
    Some(ComponentEntry {
        len: leaf.eax,
        standard_offset: leaf.ebx,
        flags: leaf.ecx,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpuid::RecordedLeaves;

    const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
        CpuidRegisters { eax, ebx, ecx, edx }
    }

    /// An EPYC 9654 (Genoa), as its dump records it.
    const GENOA: [(u32, u32, CpuidRegisters); 10] = [
        (
            0x1,
            0,
            leaf(0x00A1_0F11, 0x00C0_0800, 0x7EFA_320B, 0x178B_FBFF),
        ),
        (0xd, 0, leaf(0x2E7, 0x980, 0x988, 0)),
        (0xd, 1, leaf(0xF, 0x990, 0x1800, 0)),
        (0xd, 2, leaf(0x100, 0x240, 0, 0)),
        (0xd, 5, leaf(0x40, 0x340, 0, 0)),
        (0xd, 6, leaf(0x200, 0x380, 0, 0)),
        (0xd, 7, leaf(0x400, 0x580, 0, 0)),
        (0xd, 9, leaf(0x8, 0x980, 0, 0)),
        (0xd, 11, leaf(0x10, 0, 1, 0)),
        (0xd, 12, leaf(0x18, 0, 1, 0)),
    ];

    /// C2 · peers · Asterinas · the length of an area was read from the wrong sub-leaf of CPUID
    #[test]
    fn a_recorded_cpu_is_read_as_its_dump_says() {
        let genoa = Enumeration::read(RecordedLeaves(&GENOA));
        assert_eq!(genoa.user_components().bits(), 0x2e7);
        assert_eq!(genoa.supervisor_components().bits(), 0x1800);
        assert!(genoa.has(Instruction::Xsaves) && !genoa.has(Instruction::Xfd));
        let hi16 = genoa.entry(Component::Hi16Zmm).unwrap();
        assert_eq!((hi16.len, hi16.standard_offset), (0x400, 0x580));
        assert!(genoa.entry(Component::CetU).unwrap().is_supervisor());
        assert_eq!(genoa.entry(Component::TileData), None);
        assert_eq!(genoa.standard_len(), 0x988);
    }

    #[test]
    fn a_component_whose_feature_is_hidden_is_enumerated_and_not_announced() {
        let genoa = |leaf: u32, subleaf: u32| RecordedLeaves(&GENOA).cpuid(leaf, subleaf);
        // The recorded leaf 1 has AVX; leaf 7 is not among the figures above.
        let without_leaf_7 = Enumeration::read(genoa);
        assert_eq!(without_leaf_7.announced_components().bits(), 0x7);
        assert_eq!(without_leaf_7.components().bits(), 0x1ae7);
        // Indirect-branch tracking alone announces CET.
        let with_ibt = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (7, 0) => CpuidRegisters {
                edx: 1 << 20,
                ..CpuidRegisters::default()
            },
            _ => genoa(leaf, subleaf),
        });
        assert_eq!(with_ibt.announced_components().bits(), 0x1807);
    }

    #[test]
    fn a_cpu_without_xsave_has_an_enumeration_without_components() {
        let pentium3 = Enumeration::read(|leaf, _| match leaf {
            1 => CpuidRegisters {
                edx: 1 << 24,
                ..CpuidRegisters::default()
            },
            _ => CpuidRegisters {
                eax: !0,
                ebx: !0,
                ecx: !0,
                edx: !0,
            },
        });
        assert!(pentium3.has(Instruction::Fxsave) && !pentium3.has(Instruction::Xsave));
        assert_eq!(pentium3.components(), ComponentSet::EMPTY);
    }

    #[test]
    fn components_no_manual_names_and_unknown_flags_are_kept() {
        let future = Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                ..CpuidRegisters::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: 3,
                edx: 1 << 8,
                ..CpuidRegisters::default()
            },
            (0xd, 40) => CpuidRegisters {
                eax: 192,
                ebx: 0x900,
                ecx: 0xf2,
                edx: 0,
            },
            _ => CpuidRegisters::default(),
        });
        let forty = Component::from_number(40).unwrap();
        assert!(future.components().contains(forty));
        let entry = future.entry(forty).unwrap();
        assert_eq!(
            (entry.len, entry.standard_offset, entry.flags),
            (192, 0x900, 0xf2)
        );
    }

    #[test]
    fn each_instruction_has_a_bit_of_its_own_and_the_manuals_name() {
        extern crate alloc;
        use alloc::{string::ToString, vec::Vec};
        let all = [
            (Instruction::Fxsave, "FXSAVE"),
            (Instruction::Xsave, "XSAVE"),
            (Instruction::Xsaveopt, "XSAVEOPT"),
            (Instruction::Xsavec, "XSAVEC"),
            (Instruction::XgetbvInUse, "XGETBV(1)"),
            (Instruction::Xsaves, "XSAVES"),
            (Instruction::Xfd, "XFD"),
        ];
        let mut set = InstructionSet::EMPTY;
        for (number, (instruction, name)) in all.into_iter().enumerate() {
            assert!(!set.contains(instruction), "{name}");
            set = set.with(instruction).with(instruction);
            assert!(set.contains(instruction), "{name}");
            assert_eq!(set.iter().count(), number + 1, "{name}");
            assert_eq!(instruction.to_string(), name);
        }
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            all.map(|(instruction, _)| instruction)
        );
        let fewer = set.without(Instruction::Xsavec);
        assert!(!fewer.contains(Instruction::Xsavec) && fewer.contains(Instruction::Xsaveopt));
        assert_eq!(fewer.without(Instruction::Xsavec), fewer);
    }

    #[test]
    fn each_flag_of_a_component_is_a_bit_of_ecx() {
        let entry = |flags| ComponentEntry {
            len: 64,
            standard_offset: 0,
            flags,
        };
        for flags in 0..16 {
            let entry = entry(flags);
            assert_eq!(entry.is_supervisor(), flags & 1 != 0, "{flags:#x}");
            assert_eq!(entry.is_aligned_64(), flags & 2 != 0, "{flags:#x}");
            assert_eq!(entry.has_xfd(), flags & 4 != 0, "{flags:#x}");
        }
    }

    #[test]
    fn lengths_and_instructions_come_from_their_own_leaves() {
        let cpu = Enumeration::read(|number, subleaf| match (number, subleaf) {
            (1, _) => leaf(0, 0, 1 << 26, 1 << 24),
            (0xd, 0) => leaf(7, 0x340, 0x988, 0),
            (0xd, 1) => leaf(0b1_1111, 0x348, 0, 0),
            (0xd, 2) => leaf(0x100, 0x240, 0, 0),
            (0xd, 17) => leaf(0x40, 0xac0, 2, 0),
            (0xd, 18) => leaf(0x2000, 0xb00, 6, 0),
            _ => CpuidRegisters::default(),
        });
        assert_eq!(cpu.standard_len(), 0x988);
        assert_eq!(cpu.standard_len_for_xcr0(), 0x340);
        assert_eq!(cpu.compacted_len_for_xcr0_and_xss(), 0x348);
        assert_eq!(cpu.instructions().iter().count(), 7);
        assert_eq!(cpu.xfd_components(), ComponentSet::EMPTY);
        assert_eq!(cpu.error_pointers(), ErrorPointers::Restored);
        let with_tiles = Enumeration::read(|number, subleaf| match (number, subleaf) {
            (0, 0) => leaf(0x1e, u32::from_le_bytes(*b"Auth"), 0, 0),
            (1, _) => leaf(0, 0, 1 << 26, 1 << 24),
            (0xd, 0) => leaf(0x6_0003, 0, 0, 0),
            (0xd, 17) => leaf(0x40, 0xac0, 2, 0),
            (0xd, 18) => leaf(0x2000, 0xb00, 6, 0),
            (0x1d, 0) => leaf(1, 0, 0, 0),
            (0x1d, 1) => leaf(0x0400_2000, 0x0008_0040, 0x10, 0),
            _ => CpuidRegisters::default(),
        });
        assert_eq!(with_tiles.xfd_components().bits(), 1 << 18);
        assert_eq!(with_tiles.error_pointers(), ErrorPointers::LeftAlone);
        assert_eq!(with_tiles.tiles().max_palette(), 1);
        assert!(with_tiles.has(Instruction::Fxsave));
        assert!(!with_tiles.has(Instruction::Xsaveopt));
    }
}
