//! A VM of one vCPU whose guest code runs at CPL 3 from the first instruction on.

use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{Host, Permitted, VcpuXsave};
use kvm_bindings::{CpuId, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

use super::code::{HOLDS, LEN, Vectors, WROTE};

const PAGE: usize = 4096;
const PML4: usize = PAGE;
const PDPT: usize = 2 * PAGE;
const PAGE_DIRECTORY: usize = 3 * PAGE;
const CODE: usize = 4 * PAGE;
const PATTERNS: usize = 8 * PAGE;
const RESULTS: usize = 9 * PAGE;
const STACK: usize = 11 * PAGE;
const TASK_STATE: usize = 12 * PAGE;
const PAGES: usize = 16;

/// Present, writable, for user code: in every level, so that CPL 3 reaches the page.
const FOR_USER: u64 = 1 << 0 | 1 << 1 | 1 << 2;
const LARGE: u64 = 1 << 7;
const CR0_PE_MP_ET_NE_WP_AM_PG: u64 = 0x8005_0033;
/// PAE, OSFXSR, OSXMMEXCPT, OSXSAVE.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18;
/// SCE, LME, LMA.
const EFER: u64 = 1 << 0 | 1 << 8 | 1 << 10;
/// IOPL 3: ports may be written at CPL 3. Bit 1 is always 1.
const RFLAGS: u64 = 3 << 12 | 1 << 1;
const USER_CODE: u16 = 0x33;
const USER_DATA: u16 = 0x2b;

#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// A VM; its memory is at guest-physical 0.
pub(crate) struct Machine {
    pub(crate) vm: VmFd,
    pub(crate) vcpu: VcpuFd,
    // Behind `vm` and `vcpu`: it goes when nobody can reach it any more.
    memory: Vec<Page>,
}

/// How the guest stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Every register holds its pattern.
    Holds,
    /// Results are written.
    Wrote,
    /// It did not get there.
    Died(String),
}

impl Machine {
    pub(crate) fn new(permitted: &Permitted<'_>, cpuid: &CpuId) -> Self {
        let vm = permitted.create_vm().unwrap();
        let mut memory = vec![Page([0; PAGE]); PAGES];
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: u64::try_from(PAGES * PAGE).unwrap(),
            userspace_addr: memory.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: the pages are the machine's own, stay where they are as long as the VM is reachable,
        // and are touched by nobody else while the guest runs.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        let vcpu = vm.create_vcpu(0).unwrap();
        vcpu.set_cpuid2(cpuid).unwrap();
        Self { vm, vcpu, memory }
    }

    /// The guest is about to execute its first instruction, with `xcr0` and these patterns.
    pub(crate) fn boot(&mut self, vectors: Vectors, xcr0: ComponentSet, patterns: &[u8]) {
        self.write(PML4, &(PDPT as u64 | FOR_USER).to_le_bytes());
        self.write(PDPT, &(PAGE_DIRECTORY as u64 | FOR_USER).to_le_bytes());
        self.write(PAGE_DIRECTORY, &(FOR_USER | LARGE).to_le_bytes());
        self.write(CODE, vectors.code());
        self.write(PATTERNS, patterns);
        let sregs = user_mode(self.vcpu.get_sregs().unwrap());
        self.vcpu.set_sregs(&sregs).unwrap();
        let mut xcrs = self.vcpu.get_xcrs().unwrap();
        xcrs.xcrs[0].value = xcr0.bits();
        self.vcpu.set_xcrs(&xcrs).unwrap();
        let regs = kvm_regs {
            rip: CODE as u64,
            rsi: PATTERNS as u64,
            rdi: RESULTS as u64,
            rsp: STACK as u64,
            rflags: RFLAGS,
            ..kvm_regs::default()
        };
        self.vcpu.set_regs(&regs).unwrap();
    }

    /// Memory and general registers of `other`, whatever becomes of the extended state.
    pub(crate) fn take_over(&mut self, other: &Self) {
        self.memory.clone_from_slice(&other.memory);
        let (regs, sregs) = (other.vcpu.get_regs(), other.vcpu.get_sregs());
        self.vcpu.set_sregs(&sregs.unwrap()).unwrap();
        self.vcpu.set_regs(&regs.unwrap()).unwrap();
    }

    /// Runs the guest to its next stop, with the port write completed.
    pub(crate) fn run(&mut self) -> Stop {
        let stop = match self.vcpu.run() {
            Ok(VcpuExit::IoOut(HOLDS, _)) => Stop::Holds,
            Ok(VcpuExit::IoOut(WROTE, _)) => Stop::Wrote,
            other => return Stop::Died(format!("{other:?}")),
        };
        // The write is complete, and the registers are the guest's, when the vCPU was entered again.
        self.vcpu.set_kvm_immediate_exit(1);
        assert!(self.vcpu.run().is_err(), "it should come back at once");
        self.vcpu.set_kvm_immediate_exit(0);
        stop
    }

    pub(crate) fn xsave<'v>(&'v self, host: &'v Host) -> VcpuXsave<'v> {
        VcpuXsave::of(host, &self.vm, &self.vcpu)
    }

    /// What the guest wrote out.
    pub(crate) fn results(&self) -> Vec<u8> {
        self.memory[RESULTS / PAGE].0[..LEN].to_vec()
    }

    fn write(&mut self, address: usize, bytes: &[u8]) {
        let page = &mut self.memory[address / PAGE].0;
        page[..bytes.len()].copy_from_slice(bytes);
    }
}

/// Long mode, CPL 3.
fn user_mode(mut sregs: kvm_sregs) -> kvm_sregs {
    let data = kvm_segment {
        selector: USER_DATA,
        limit: u32::MAX,
        type_: 3,
        present: 1,
        dpl: 3,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    sregs.cs = kvm_segment {
        selector: USER_CODE,
        type_: 11,
        db: 0,
        l: 1,
        ..data
    };
    (sregs.ss, sregs.ds, sregs.es) = (data, data, data);
    (sregs.fs, sregs.gs) = (data, data);
    sregs.tr = kvm_segment {
        base: TASK_STATE as u64,
        limit: 0x67,
        selector: 0x40,
        type_: 11,
        present: 1,
        ..kvm_segment::default()
    };
    sregs.cr0 = CR0_PE_MP_ET_NE_WP_AM_PG;
    sregs.cr3 = PML4 as u64;
    sregs.cr4 = CR4;
    sregs.efer = EFER;
    sregs
}

/// The CPUID of the guest: what KVM supports, with XSAVE and AVX announced where leaf 0DH has their
/// components: a KVM may leave the bits out and run the instructions.
pub(crate) fn cpuid_for_vectors(permitted: &Permitted<'_>) -> CpuId {
    const XSAVE_AND_AVX: u32 = 1 << 26 | 1 << 28;
    const AVX512F_DQ_BW_VL: u32 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31;
    let mut cpuid = permitted.supported_cpuid().unwrap();
    let offered = components(&cpuid);
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (1, _) if offered.contains(Component::Avx) => entry.ecx |= XSAVE_AND_AVX,
            (7, 0) if offered.contains_all(ComponentSet::AVX512) => entry.ebx |= AVX512F_DQ_BW_VL,
            _ => {}
        }
    }
    cpuid
}

/// CPUID.(0DH,0):EDX:EAX.
pub(crate) fn components(cpuid: &CpuId) -> ComponentSet {
    let leaf = cpuid.as_slice().iter();
    let mut leaf = leaf.filter(|entry| (entry.function, entry.index) == (0xd, 0));
    leaf.next().map_or(ComponentSet::EMPTY, |entry| {
        ComponentSet::from_halves(entry.eax, entry.edx)
    })
}
