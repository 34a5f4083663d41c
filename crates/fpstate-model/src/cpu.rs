//! The processor: its registers, and how a test reaches them from outside.

use alloc::sync::Arc;

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, Enumeration, Fault, Instruction, Mxcsr, Xcr0, Xfd,
    XfdErr, Xss,
};

use crate::component_table::ComponentTable;
use crate::control_state::{
    ControlState, Emulation, Osfxsr, Osxsave, Pke, Privilege, TaskSwitched,
};
use crate::memory::Memory;
use crate::poisoning::PresumedUse;
use crate::register_file::{RegisterFile, X87};
use crate::tracking::{Optimisation, Tracking};
use crate::vendor::{InUseTracking, VendorDifferences, X87Pointers};

/// One logical processor in software.
///
/// It starts as after RESET, with CR4.OSXSAVE, CR4.OSFXSR and, where there are protection keys,
/// CR4.PKE set and CPL 0: XCR0 is 1, IA32_XSS and
/// IA32_XFD are 0, every component is in its initial configuration.
#[derive(Clone, Debug)]
pub struct ModelCpu {
    // What never changes is shared by all copies of a CPU.
    pub(crate) leaves: Arc<[(u32, u32, CpuidRegisters)]>,
    pub(crate) enumeration: Arc<Enumeration>,
    pub(crate) table: Arc<ComponentTable>,
    pub(crate) vendor: VendorDifferences,
    pub(crate) optimisation: Optimisation,
    pub(crate) registers: RegisterFile,
    pub(crate) tracking: Tracking,
    pub(crate) control: ControlState,
    pub(crate) memory: Memory,
    pub(crate) presumed_use: PresumedUse,
    pub(crate) xcr0: Xcr0,
    pub(crate) xss: Xss,
    pub(crate) xfd: Xfd,
    pub(crate) xfd_err: XfdErr,
}

impl ModelCpu {
    /// A processor that answers CPUID from `leaves`: `(leaf, sub-leaf, registers)`. Leaf 0DH may
    /// come from a machine with any XCR0; what depends on XCR0 and IA32_XSS is computed anew. Leaf
    /// 0 chooses [`VendorDifferences`], and without it they are Intel's; AMD without leaf 80000008H,
    /// or with EBX\[2\] = 0 there, has [`X87Pointers::LeftAlone`].
    #[must_use]
    pub fn new(leaves: &[(u32, u32, CpuidRegisters)]) -> Self {
        let enumeration = Enumeration::read(RecordedLeaves(leaves));
        let table = ComponentTable::new(&enumeration);
        let registers = RegisterFile::initial(table.lengths());
        let mut cpu = Self {
            leaves: leaves.into(),
            enumeration: Arc::new(enumeration),
            table: Arc::new(table),
            vendor: VendorDifferences::INTEL,
            optimisation: Optimisation::InitialAndModified,
            registers,
            tracking: Tracking::AFTER_RESET,
            control: ControlState::OPERATING_SYSTEM,
            memory: Memory::PRESENT,
            presumed_use: PresumedUse::AFTER_RESET,
            xcr0: Xcr0::AFTER_RESET,
            xss: Xss::AFTER_RESET,
            xfd: Xfd::NOTHING,
            xfd_err: XfdErr::NOTHING,
        };
        if cpu.recorded_leaf(0, 0).ebx == AUTHENTIC_AMD_EBX {
            cpu.vendor = VendorDifferences::AMD;
            if cpu.recorded_leaf(0x8000_0008, 0).ebx & XSAVE_ER_PTR == 0 {
                cpu.vendor.x87_pointers = X87Pointers::LeftAlone;
            }
        }
        cpu.set_cr4_pke(Pke::Set);
        cpu
    }

    /// What the processor enumerates.
    #[must_use]
    pub fn enumeration(&self) -> &Enumeration {
        &self.enumeration
    }

    /// What the registers hold.
    #[must_use]
    pub const fn registers(&self) -> &RegisterFile {
        &self.registers
    }

    /// The registers as user code writes them: each access to a component counts as a write, so
    /// the component is in use and modified from then on.
    #[must_use]
    pub const fn registers_mut(&mut self) -> RegistersMut<'_> {
        RegistersMut { cpu: self }
    }

    /// XINUSE, not limited to XCR0 as XGETBV(1) has it.
    #[must_use]
    pub fn in_use(&self) -> ComponentSet {
        let components = self.registers.components();
        if self.optimisation == Optimisation::None {
            return components;
        }
        match self.vendor.in_use {
            InUseTracking::SinceWritten => self.tracking.in_use(),
            InUseTracking::ByContents => components
                .iter()
                .filter(|&component| !self.registers.is_initial(component))
                .fold(ComponentSet::EMPTY, ComponentSet::with),
        }
    }

    /// Chooses the optimisations; [`Optimisation::InitialAndModified`] unless set.
    pub const fn set_optimisation(&mut self, optimisation: Optimisation) {
        self.optimisation = optimisation;
    }

    /// Chooses the vendor's differences.
    pub const fn set_vendor_differences(&mut self, vendor: VendorDifferences) {
        self.vendor = vendor;
    }

    /// The vendor's differences.
    #[must_use]
    pub const fn vendor_differences(&self) -> VendorDifferences {
        self.vendor
    }

    /// MOV to CR0, bit 3.
    pub const fn set_cr0_ts(&mut self, ts: TaskSwitched) {
        self.control.task_switched = ts;
    }

    /// MOV to CR0, bit 2.
    pub const fn set_cr0_em(&mut self, em: Emulation) {
        self.control.emulation = em;
    }

    /// MOV to CR4, bit 18.
    pub const fn set_cr4_osxsave(&mut self, osxsave: Osxsave) {
        self.control.osxsave = osxsave;
    }

    /// MOV to CR4, bit 9.
    pub const fn set_cr4_osfxsr(&mut self, osfxsr: Osfxsr) {
        self.control.osfxsr = osfxsr;
    }

    /// MOV to CR4, bit 22. On a CPU without protection keys, where the bit is reserved, it stays 0.
    pub fn set_cr4_pke(&mut self, pke: Pke) {
        if self.has_protection_keys() {
            self.control.pke = pke;
        }
    }

    /// Changes CPL.
    pub const fn set_cpl(&mut self, privilege: Privilege) {
        self.control.privilege = privilege;
    }

    fn has_protection_keys(&self) -> bool {
        self.recorded_leaf(7, 0).ecx & PKU != 0
    }

    pub(crate) fn recorded_leaf(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        fpstate_arch::CpuidSource::cpuid(&mut RecordedLeaves(&self.leaves), leaf, subleaf)
    }

    /// #UD, the conditions that all XSAVE instructions share (SDM 1, 13.3).
    pub(crate) fn require(&self, instruction: Instruction) -> Result<(), Fault> {
        if self.enumeration.has(Instruction::Xsave)
            && self.enumeration.has(instruction)
            && self.control.osxsave == Osxsave::Set
        {
            Ok(())
        } else {
            Err(Fault::InvalidOpcode)
        }
    }

    /// #NM for CR0.TS. IA32_XFD_ERR is left alone (SDM 1, 13.14).
    pub(crate) fn require_task_not_switched(&self) -> Result<(), Fault> {
        match self.control.task_switched {
            TaskSwitched::Clear => Ok(()),
            TaskSwitched::Set => Err(Fault::DeviceNotAvailable),
        }
    }

    /// #GP(0) above CPL 0.
    pub(crate) fn require_ring_0(&self) -> Result<(), Fault> {
        match self.control.privilege {
            Privilege::Ring0 => Ok(()),
            Privilege::Ring3 => Err(Fault::GeneralProtection),
        }
    }
}

/// Leaf 0 of AMD and of Hygon, "Auth" and "Hygo"; only AMD has been compared with the model.
const AUTHENTIC_AMD_EBX: u32 = u32::from_le_bytes(*b"Auth");
/// CPUID.80000008H:EBX of AMD. The leaf, or the bit, is missing on CPUs before Zen.
const XSAVE_ER_PTR: u32 = 1 << 2;
const PKU: u32 = 1 << 3; // CPUID.(7,0):ECX

/// Access of user code to the registers. What is touched counts as written, whatever the value.
///
/// The access is not subject to XCR0, IA32_XFD or CR0.TS: a test may put anything anywhere.
#[derive(Debug)]
pub struct RegistersMut<'a> {
    cpu: &'a mut ModelCpu,
}

impl<'a> RegistersMut<'a> {
    /// State component 0.
    pub fn x87(self) -> &'a mut X87 {
        self.cpu.wrote(ComponentSet::only(Component::X87));
        &mut self.cpu.registers.x87
    }

    /// FNCLEX; EMMS; FILD of a zero: what kernels execute before a restore where the CPU is one of
    /// [`X87Pointers::LeftAlone`]. FIP, FDP and FOP are those of the FILD.
    pub fn fnclex_emms_fild(self, fip: u64, fdp: u64, fop: u16) {
        let x87 = self.x87();
        x87.clear_exceptions();
        x87.push_zero_on_empty_stack();
        (x87.fip, x87.fdp, x87.fop) = (fip, fdp, fop);
    }

    /// XMM0 to XMM15.
    pub fn xmm(self) -> &'a mut [[u8; 16]; 16] {
        self.cpu.wrote(ComponentSet::only(Component::Sse));
        &mut self.cpu.registers.sse.xmm
    }

    /// LDMXCSR without its fault. Not a use of SSE: XINUSE\[1\] is about the XMM registers alone
    /// (SDM 1, 13.6).
    pub fn set_mxcsr(&mut self, mxcsr: Mxcsr) {
        self.cpu.set_mxcsr(mxcsr);
    }

    /// The bytes of a component beyond x87 and SSE; `None` for those two and for what the CPU
    /// lacks.
    pub fn component(self, component: Component) -> Option<&'a mut [u8]> {
        let bytes = self.cpu.registers.component_mut(component)?;
        self.cpu.tracking.wrote(ComponentSet::only(component));
        Some(bytes)
    }

    /// Fills `components` as [`RegisterFile::fill`] does.
    pub fn fill(&mut self, components: ComponentSet, generator: impl FnMut() -> u64) {
        self.cpu.registers.fill(components, generator);
        let present = components.intersection(self.cpu.registers.components());
        self.cpu.wrote(present);
    }

    /// The processor takes `components` for in use without a write to them, as it may at any time
    /// (SDM 1, 13.6) and as Zen 4 does with AVX when XMM5 is written while ZMM_Hi256 is in use. They
    /// do not count as modified. Shows with [`InUseTracking::SinceWritten`] alone.
    pub fn presume_in_use(&mut self, components: ComponentSet) {
        self.cpu.tracking.presumed_in_use(components);
    }

    /// An instruction that leaves `components` in their initial configuration and the processor
    /// aware of it, as VZEROUPPER does for AVX and TILERELEASE for the tiles.
    pub fn initialise(&mut self, components: ComponentSet) {
        self.cpu.registers.initialise(components);
        self.cpu.tracking.initialised(components);
    }
}

impl ModelCpu {
    pub(crate) fn wrote(&mut self, components: ComponentSet) {
        self.tracking.wrote(components);
    }

    pub(crate) fn set_mxcsr(&mut self, mxcsr: Mxcsr) {
        self.registers.sse.mxcsr = mxcsr;
        // XSAVES saves MXCSR only together with SSE, so a change must count as one of SSE.
        self.tracking.modified(ComponentSet::only(Component::Sse));
    }

    /// SSE if MXCSR does not have its RESET value: XSAVEC and XSAVES then save SSE even with
    /// XINUSE\[1\] = 0 (SDM 1, 13.10).
    pub(crate) fn mxcsr_as_component(&self) -> ComponentSet {
        if self.registers.sse.mxcsr == Mxcsr::INITIAL {
            ComponentSet::EMPTY
        } else {
            ComponentSet::only(Component::Sse)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_cpus::{ALL, EMERALD_RAPIDS, GENOA, emerald_rapids, generator, set};
    use fpstate_arch::Processor;

    #[test]
    fn after_reset_everything_is_initial_and_only_x87_is_enabled() {
        let mut cpu = ModelCpu::new(&EMERALD_RAPIDS);
        assert_eq!(cpu.xgetbv().unwrap().bits(), 1); // SDM 1, 13.3
        assert_eq!(cpu.read_xss().unwrap(), ComponentSet::EMPTY);
        assert_eq!(cpu.read_xfd().unwrap(), ComponentSet::EMPTY);
        assert_eq!(cpu.in_use(), ComponentSet::EMPTY);
        assert_eq!(cpu.registers().x87.fcw, 0x37f); // SDM 1, 13.6
        assert_eq!(cpu.stmxcsr().unwrap().bits(), 0x1f80);
        for component in cpu.registers().components().iter() {
            assert!(cpu.registers().is_initial(component), "{component}");
        }
    }

    #[test]
    fn a_write_makes_the_component_in_use_even_if_the_value_is_the_initial_one() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().component(Component::Avx).unwrap()[3] = 0;
        assert_eq!(cpu.in_use(), set(&[Component::Avx]));
        cpu.registers_mut().xmm()[0] = [0; 16];
        cpu.registers_mut().x87().fcw = 0x37f;
        assert_eq!(
            cpu.xgetbv_in_use().unwrap(),
            set(&[Component::X87, Component::Sse, Component::Avx])
        );
    }

    #[test]
    fn a_processor_that_looks_at_contents_sees_no_use_in_a_written_zero() {
        let mut cpu = ModelCpu::new(&GENOA);
        let avx = Component::Avx;
        cpu.registers_mut().component(avx).unwrap()[3] = 1;
        assert_eq!(cpu.in_use(), ComponentSet::only(avx));
        cpu.registers_mut().component(avx).unwrap()[3] = 0;
        assert_eq!(cpu.in_use(), ComponentSet::EMPTY);
    }

    #[test]
    fn mxcsr_alone_is_no_use_of_sse_for_xinuse_but_zen_4_reports_it() {
        let fast = Mxcsr::from_bits(0x9fc0);
        for (leaves, reported) in [(&EMERALD_RAPIDS[..], 0), (&GENOA[..], 0x2)] {
            let mut cpu = crate::recorded_cpus::cpu_with_everything_enabled(leaves);
            cpu.ldmxcsr(fast).unwrap();
            assert_eq!(cpu.in_use(), ComponentSet::EMPTY); // SDM 1, 13.6
            assert_eq!(cpu.xgetbv_in_use().unwrap().bits(), reported);
        }
    }

    #[test]
    fn without_the_init_optimisation_everything_is_in_use() {
        let mut cpu = ModelCpu::new(&GENOA);
        cpu.set_optimisation(Optimisation::None);
        assert_eq!(cpu.in_use().bits(), 0x1ae7); // XCR0 2E7H and IA32_XSS 1800H of the dump
    }

    #[test]
    fn initialising_a_component_ends_its_use() {
        let mut cpu = emerald_rapids();
        cpu.registers_mut().fill(ALL, generator(1));
        cpu.registers_mut().initialise(ComponentSet::TILES);
        assert!(!cpu.in_use().intersects(ComponentSet::TILES));
        assert!(cpu.registers().is_initial(Component::TileData));
        assert!(!cpu.registers().is_initial(Component::Avx));
    }

    #[test]
    fn an_enumeration_of_absurd_lengths_makes_a_processor_without_those_registers() {
        let mut leaves = EMERALD_RAPIDS;
        for (leaf, subleaf, registers) in &mut leaves {
            if (*leaf, *subleaf) == (0xd, 18) {
                registers.eax = u32::MAX;
            }
        }
        let cpu = ModelCpu::new(&leaves);
        assert_eq!(cpu.registers().component(Component::TileData), None);
        assert!(cpu.registers().component(Component::TileConfig).is_some());
    }
}
