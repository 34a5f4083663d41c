//! Where this CPU makes use of the manual's freedom, found by trying.
//!
//! The software CPU is told the same; whatever the manual decides itself is not asked here.

use std::fmt;

use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, CpuidSource, Enumeration, Instruction, LegacyRegion,
    Mxcsr, Processor, Xcr0, XsaveHeader, Xss,
};
use fpstate_model::{
    InUseTracking, ModelCpu, Optimisation, Privilege, ReportedInUse, VendorDifferences,
    X87PointerWidth, X87Pointers, XfdErrUpdate,
};
use fpstate_native::cpuid;

use super::case::{Case, LoadedFrom, header_of, legacy_of, set_header, set_legacy};
use super::instruction::{Between, Tested};
use super::silicon::Silicon;

/// What a comparison needs to know of the CPU that executes it.
#[derive(Clone, Debug)]
pub struct ThisCpu {
    leaves: Vec<(u32, u32, CpuidRegisters)>,
    enumeration: Enumeration,
    xcr0: ComponentSet,
    compared: ComponentSet,
    area_len: usize,
    vendor: VendorDifferences,
    optimisation: Optimisation,
}

/// A byte that no probe's registers hold.
const UNTOUCHED: u8 = 0x77;
/// Offset of XMM0 in the legacy region (SDM 1, 13.4.1).
const XMM0_OFFSET: usize = 160;
/// An interrupt ends what XSAVEOPT knows of an XRSTOR: one success of many shows that it knows.
const ATTEMPTS: usize = 50;

impl ThisCpu {
    /// Asks `silicon`.
    #[must_use]
    pub fn new(silicon: &mut Silicon) -> Self {
        let vendor = VendorDifferences {
            in_use: in_use_tracking(silicon),
            reported_in_use: reported_in_use(silicon),
            x87_pointers: x87_pointers(silicon),
            x87_pointer_width: x87_pointer_width(silicon),
            // A process cannot read the register.
            xfd_err_update: XfdErrUpdate::Loaded,
            mxcsr_mask: silicon.mxcsr_mask(),
        };
        Self {
            leaves: recorded_leaves(silicon.enumeration()),
            enumeration: silicon.enumeration().clone(),
            xcr0: silicon.xcr0(),
            compared: silicon.compared(),
            area_len: silicon.area_len(),
            vendor,
            optimisation: optimisation(silicon),
        }
    }

    /// What it enumerates.
    #[must_use]
    pub const fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// XCR0.
    #[must_use]
    pub const fn xcr0(&self) -> ComponentSet {
        self.xcr0
    }

    /// The components that are compared.
    #[must_use]
    pub const fn compared(&self) -> ComponentSet {
        self.compared
    }

    /// Bytes of areas and images.
    #[must_use]
    pub const fn area_len(&self) -> usize {
        self.area_len
    }

    /// The differences found.
    #[must_use]
    pub const fn vendor(&self) -> VendorDifferences {
        self.vendor
    }

    /// The optimisations found.
    #[must_use]
    pub const fn optimisation(&self) -> Optimisation {
        self.optimisation
    }

    /// The same CPU in software, at CPL 3.
    ///
    /// # Panics
    /// If the operating system has put a value into XCR0 that XSETBV does not take.
    #[must_use]
    pub fn model(&self) -> ModelCpu {
        let mut cpu = ModelCpu::new(&self.leaves);
        cpu.set_vendor_differences(self.vendor);
        cpu.set_optimisation(self.optimisation);
        let xcr0 = Xcr0::new(self.xcr0, self.enumeration.user_components());
        cpu.xsetbv(xcr0.expect("a legal XCR0")).expect("XSETBV");
        cpu.set_cpl(Privilege::Ring3);
        cpu
    }

    /// A value of IA32_XSS, which CPL 3 cannot read, with which the software CPU reports the area
    /// sizes that this one reports; `None` if there is none.
    ///
    /// # Panics
    /// If CPUID enumerates components that IA32_XSS cannot have.
    #[must_use]
    pub fn xss_that_explains_sizes(&self) -> Option<ComponentSet> {
        let supervisor = self.enumeration.supervisor_components();
        let mut cpu = self.model();
        cpu.set_cpl(Privilege::Ring0);
        subsets(supervisor).find(|&xss| {
            if self.enumeration.has(Instruction::Xsaves) {
                let xss = Xss::new(xss, supervisor).expect("a legal IA32_XSS");
                cpu.write_xss(xss).expect("WRMSR");
            }
            [0, 1].map(|subleaf| CpuidSource::cpuid(&mut cpuid, 0xd, subleaf).ebx)
                == [0, 1].map(|subleaf| cpu.cpuid(0xd, subleaf).ebx)
        })
    }

    /// What this CPU, at CPL 3, gives no opportunity to compare.
    #[must_use]
    pub fn not_compared(&self) -> Vec<String> {
        let missing = Tested::ALL
            .into_iter()
            .filter(|tested| !tested.is_comparable_on(&self.enumeration))
            .map(|tested| format!("{tested}: not enumerated"));
        let mut list: Vec<_> = missing.collect();
        let withheld = self.xcr0.difference(self.compared);
        if !withheld.is_empty() {
            list.push(format!("{withheld}: the process's own"));
        }
        let disabled = self.enumeration.user_components().difference(self.xcr0);
        if !disabled.is_empty() {
            list.push(format!("{disabled}: not in XCR0"));
        }
        list.push("XSAVES and XRSTORS beyond their fault, supervisor components: CPL 3".into());
        list.push("IA32_XFD, CR0.TS, CR4.OSXSAVE, other values of XCR0: CPL 3".into());
        list.push("page faults, alignment checks, 32-bit forms: no case has them".into());
        list
    }
}

impl fmt::Display for ThisCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vendor, optimisation) = (self.vendor, self.optimisation);
        write!(
            f,
            "XCR0={:#x} ({}), compared: {}; {optimisation:?}, {vendor:?}",
            self.xcr0.bits(),
            self.xcr0,
            self.compared
        )
    }
}

fn subsets(set: ComponentSet) -> impl Iterator<Item = ComponentSet> {
    let components: Vec<_> = set.iter().collect();
    (0..1_u64 << components.len()).map(move |chosen| {
        let members = (0..).zip(&components);
        members
            .filter(|(n, _)| chosen >> n & 1 == 1)
            .fold(ComponentSet::EMPTY, |set, (_, &component)| {
                set.with(component)
            })
    })
}

fn recorded_leaves(enumeration: &Enumeration) -> Vec<(u32, u32, CpuidRegisters)> {
    let components = enumeration.components().iter();
    let extended = components.map(|component| (0xd, u32::from(component.number())));
    [(0, 0), (1, 0), (0xd, 0), (0xd, 1)]
        .into_iter()
        .chain(extended.filter(|&(_, subleaf)| subleaf > 1))
        .map(|(leaf, subleaf)| (leaf, subleaf, cpuid(leaf, subleaf)))
        .collect()
}

/// Registers loaded from an image with this legacy region and XSTATE_BV, extended components zero; the
/// operand is [`UNTOUCHED`] bytes, and the instruction does not matter.
fn probe(silicon: &Silicon, legacy: &LegacyRegion, xstate_bv: ComponentSet) -> Case {
    let mut registers = vec![0; silicon.area_len()];
    set_legacy(&mut registers, legacy);
    set_header(&mut registers, &XsaveHeader::standard(xstate_bv));
    Case {
        tested: Tested::Xsave,
        rfbm: ComponentSet::EMPTY,
        registers,
        loaded_from: LoadedFrom::Elsewhere,
        between: Between::Nothing,
        area: vec![UNTOUCHED; silicon.area_len()],
        misalignment: 0,
    }
}

fn in_use_tracking(silicon: &mut Silicon) -> InUseTracking {
    let zeroes = probe(silicon, &LegacyRegion::INITIAL, silicon.compared());
    let observed = silicon.execute(&zeroes);
    if header_of(observed.before.bytes()).xstate_bv.is_empty() {
        InUseTracking::ByContents
    } else {
        InUseTracking::SinceWritten
    }
}

fn reported_in_use(silicon: &mut Silicon) -> ReportedInUse {
    let legacy = LegacyRegion {
        mxcsr: Mxcsr::from_bits(0x1fa0),
        ..LegacyRegion::INITIAL
    };
    let mxcsr_alone = probe(silicon, &legacy, ComponentSet::EMPTY);
    let observed = silicon.execute(&mxcsr_alone);
    let saved = header_of(observed.before.bytes()).xstate_bv;
    let sse = Component::Sse;
    if observed.in_use.is_some_and(|set| set.contains(sse)) && !saved.contains(sse) {
        ReportedInUse::XinuseOrMxcsr
    } else {
        ReportedInUse::Xinuse
    }
}

fn x87_pointers(silicon: &mut Silicon) -> X87Pointers {
    let legacy = LegacyRegion {
        fip: 0x1234,
        ..LegacyRegion::INITIAL
    };
    let pointer_alone = probe(silicon, &legacy, ComponentSet::only(Component::X87));
    let observed = silicon.execute(&pointer_alone);
    match legacy_of(observed.before.bytes()).fip {
        0 => X87Pointers::WhileExceptionPending,
        _ => X87Pointers::Always,
    }
}

fn x87_pointer_width(silicon: &mut Silicon) -> X87PointerWidth {
    let legacy = LegacyRegion {
        // Invalid operation, not masked: a pending exception.
        fcw: 0x037e,
        fsw: 0x8081,
        fip: 1 << 56 | 1 << 47,
        ..LegacyRegion::INITIAL
    };
    let bits = probe(silicon, &legacy, ComponentSet::only(Component::X87));
    let observed = silicon.execute(&bits);
    match legacy_of(observed.before.bytes()).fip >> 48 {
        0x0100 => X87PointerWidth::Whole,
        0xff00 => X87PointerWidth::LinearAddress57,
        _ => X87PointerWidth::LinearAddress48,
    }
}

fn optimisation(silicon: &mut Silicon) -> Optimisation {
    let initial = probe(silicon, &LegacyRegion::INITIAL, ComponentSet::EMPTY);
    let observed = silicon.execute(&initial);
    if header_of(observed.before.bytes()).xstate_bv == silicon.compared() {
        return Optimisation::None;
    }
    let sse = ComponentSet::only(Component::Sse);
    let legacy = LegacyRegion {
        xmm: [[1; 16]; 16],
        ..LegacyRegion::INITIAL
    };
    let unmodified = Case {
        tested: Tested::Xsaveopt,
        rfbm: sse,
        loaded_from: LoadedFrom::TheOperand,
        ..probe(silicon, &legacy, sse)
    };
    let has_xsaveopt = silicon.enumeration().has(Instruction::Xsaveopt);
    let mut leaves_out = || {
        let observed = silicon.execute(&unmodified);
        let operand = &observed.memory.bytes()[super::case::Surroundings::operand_offset(0)..];
        operand[XMM0_OFFSET] == UNTOUCHED
    };
    if has_xsaveopt && (0..ATTEMPTS).any(|_| leaves_out()) {
        Optimisation::InitialAndModified
    } else {
        Optimisation::Initial
    }
}
