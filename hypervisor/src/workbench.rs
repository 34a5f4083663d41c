//! What scenarios with guests have in common: a CPU, a thread, and guests to run on them.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use fpstate::{
    BoxedArea, CpuFpu, Fpstate, Grantee, GuestFeatures, GuestFpu, KernelUse, Layout, Offer,
    Permissions, SignalStacks,
};
use fpstate_arch::{ComponentSet, Format};
use fpstate_native::Ring0Processor;
use x86_64::instructions::interrupts;

use crate::guest_code::{END, Program, STEP, parameter};
use crate::guest_memory::{self, GuestMemory};
use crate::host_registers::{enumeration, overwrite, user_finds, user_writes};
use crate::percpu::{self, KernelThreadFpu};
use crate::println;
use crate::random_image;
use crate::scenario::{Outcome, failed};
use crate::vcpu::{GeneralRegisters, Hardware};
use crate::vcpu_run::{Host, Stop, Vcpu, vcpu_run};
use crate::virtualization::Virtualization;

/// The extended state of a guest.
pub type GuestState = GuestFpu<'static, BoxedArea>;

/// A CPU, the thread that runs on it, and what guests are offered.
#[derive(Debug)]
pub struct Workbench {
    /// What this kernel offers.
    pub offer: Offer<'static>,
    /// What its guests are offered.
    pub features: GuestFeatures,
    /// The CPU.
    pub cpu: CpuFpu<Ring0Processor>,
    /// The thread.
    pub thread: KernelThreadFpu,
    virtualization: Virtualization,
    _registers: Taken,
}

/// The registers of this CPU, taken from its [`PerCpu`](percpu::PerCpu), which gets a new
/// [`CpuFpu`] afterwards. Meanwhile interrupts are on, as where a kernel runs vCPUs.
#[derive(Debug)]
struct Taken;

impl Taken {
    /// A scenario begins with no thread alive: what a broken twin may have left there is nobody's.
    fn from_kernel() -> Self {
        percpu::with(|cpu| cpu.fpu.discard_registers());
        interrupts::enable();
        Self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        interrupts::disable();
        if let Err(reason) = percpu::bring_up() {
            println!("# {reason}");
        }
    }
}

/// A guest and its memory.
#[derive(Debug)]
pub struct Guest {
    /// The vCPU.
    pub vcpu: Vcpu<'static, Box<dyn Hardware>>,
    /// Its memory.
    pub memory: Arc<GuestMemory>,
}

/// A scenario that this machine cannot have.
pub fn skipped(reason: &str) -> Outcome {
    Outcome::Skipped(String::from(reason))
}

/// The end of a scenario.
pub fn outcome(result: Result<(), Outcome>) -> Outcome {
    result.err().unwrap_or(Outcome::Passed)
}

impl Workbench {
    /// A CPU that was just brought up, and a new thread.
    ///
    /// # Errors
    /// What the machine lacks, or what went wrong.
    pub fn new() -> Result<Self, Outcome> {
        let virtualization =
            Virtualization::of_this_cpu().ok_or_else(|| skipped("no hardware for guests"))?;
        let offer = *percpu::offer();
        if offer.instructions().save().format() == Format::Fxsave {
            return Err(skipped("no XSAVE"));
        }
        let taken = Taken::from_kernel();
        // SAFETY: 1 to 4: this kernel. 5: `trap` has both. 6, 7: no shadow stacks, no user pages.
        let processor = unsafe { Ring0Processor::assume_ring0() };
        let (instructions, registers) = (offer.instructions(), offer.control_registers());
        let cpu = CpuFpu::bring_up(processor, 0, &percpu::IDENTITIES, instructions, registers)
            .map_err(failed)?;
        let mut permissions = Permissions::new(&offer);
        for component in offer.on_demand().iter() {
            let number = component.number().into();
            permissions
                .request(&offer, Grantee::Guests, number, SignalStacks::none())
                .map_err(failed)?;
        }
        let (user, supervisor) = (permissions.guest_maximum(), offer.guest_supervisor());
        let permit = permissions.freeze_guests();
        let features = GuestFeatures::new(&offer, permit, user, supervisor).map_err(failed)?;
        let thread = percpu::new_thread().map_err(failed)?;
        Ok(Self {
            offer,
            features,
            cpu,
            thread,
            virtualization,
            _registers: taken,
        })
    }

    /// Another thread.
    ///
    /// # Errors
    /// No memory.
    pub fn new_thread(&self) -> Result<KernelThreadFpu, Outcome> {
        percpu::new_thread().map_err(failed)
    }

    /// The extended state of a new guest.
    ///
    /// # Errors
    /// No memory.
    pub fn new_guest_state(&self) -> Result<GuestState, Outcome> {
        let state = new_state(self.offer.guest_layout())?;
        GuestFpu::offered(state, self.features).map_err(|(error, _)| failed(error))
    }

    /// The extended state of a new guest in memory that another one had.
    ///
    /// # Errors
    /// The memory does not fit.
    pub fn new_guest_state_in(&self, storage: BoxedArea) -> Result<GuestState, Outcome> {
        let state = Fpstate::new(self.offer.guest_layout(), storage, &percpu::IDENTITIES)
            .map_err(|refused| failed(refused.error))?;
        GuestFpu::offered(state, self.features).map_err(|(error, _)| failed(error))
    }

    /// A new guest that begins with `program`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_guest(&self, program: Program) -> Result<Guest, Outcome> {
        Ok(self.guest(program, self.new_guest_state()?))
    }

    /// A guest that begins with `program` and has `fpu` as its extended state.
    pub fn guest(&self, program: Program, fpu: GuestState) -> Guest {
        let memory = self.virtualization.memory(program);
        let mut registers = GeneralRegisters::default();
        registers.r8_to_r15[7] = guest_memory::HYPERCALL;
        let hardware = self.virtualization.vcpu(&memory);
        let vcpu = Vcpu {
            fpu,
            registers,
            hardware,
        };
        let guest = Guest { vcpu, memory };
        let xcr0 = self.guest_components();
        guest.set(parameter::XCR0, xcr0.bits());
        guest.set(parameter::CR4, cr4_bits(xcr0));
        guest
    }

    /// A guest that fills all its registers from `seed` and finds them so after each of `steps`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_holder(&self, seed: u64, steps: u64) -> Result<Guest, Outcome> {
        let guest = self.new_guest(crate::guest_code::hold())?;
        self.let_hold(&guest, seed, steps)?;
        Ok(guest)
    }

    /// What the program `hold` needs.
    ///
    /// # Errors
    /// CPUID contradicts itself.
    pub fn let_hold(&self, guest: &Guest, seed: u64, steps: u64) -> Result<(), Outcome> {
        let image =
            random_image::image(enumeration(), self.guest_components(), seed).map_err(failed)?;
        guest.memory.write(guest_memory::GIVEN_IMAGE, &image);
        guest.set(parameter::STEPS, steps);
        guest.set(parameter::IMAGE_LEN, image.len() as u64);
        Ok(())
    }

    /// What guests enable: all but tiles, which take a palette and not any bytes.
    pub const fn guest_components(&self) -> ComponentSet {
        self.features.user().difference(ComponentSet::TILES)
    }

    /// The thread, for a scenario that runs it on the kernel's CPUs.
    pub fn into_thread(self) -> KernelThreadFpu {
        self.thread
    }

    /// The thread and the CPU, for the run loop.
    pub const fn host(&mut self) -> Host<'_, 'static, Ring0Processor> {
        Host {
            thread: &mut self.thread,
            cpu: &mut self.cpu,
            enumeration: self.offer.enumeration(),
        }
    }

    /// Runs the guest until it stops.
    ///
    /// # Errors
    /// The run loop's.
    pub fn run(&mut self, guest: &mut Guest) -> Result<Stop, Outcome> {
        vcpu_run(&mut self.host(), &mut guest.vcpu).map_err(failed)
    }

    /// Runs the guest to its next step.
    ///
    /// # Errors
    /// It does something else.
    pub fn run_to_step(&mut self, guest: &mut Guest) -> Result<(), Outcome> {
        let stop = self.run(guest)?;
        require_step(stop)
    }

    /// Runs the guest to its end.
    ///
    /// # Errors
    /// It does something else, or found something wrong.
    pub fn run_to_end(&mut self, guest: &mut Guest) -> Result<(), Outcome> {
        let stop = self.run(guest)?;
        require_end(stop)
    }

    /// The thread's user code fills all registers but PKRU from `seed`.
    ///
    /// # Errors
    /// The state cannot be restored.
    pub fn user_writes(&mut self, seed: u64) -> Result<(), Outcome> {
        user_writes(&mut self.thread, &mut self.cpu, seed)
    }

    /// The thread's user code finds what it wrote.
    ///
    /// # Errors
    /// It does not.
    pub fn user_finds(&mut self, seed: u64) -> Result<(), Outcome> {
        user_finds(&mut self.thread, &mut self.cpu, seed)
    }

    /// The kernel computes with vector registers, in a section.
    ///
    /// # Errors
    /// The section is refused.
    pub fn kernel_section(&mut self) -> Result<(), Outcome> {
        let (section, _) = self
            .cpu
            .begin_kernel_section(&mut self.thread, KernelUse::FloatVectors)
            .map_err(failed)?;
        self.overwrite_registers()?;
        self.cpu.end_kernel_section(section).map_err(failed)
    }

    /// Something uses the registers and tells nobody.
    ///
    /// # Errors
    /// A fault.
    pub fn overwrite_registers(&mut self) -> Result<(), Outcome> {
        overwrite(&mut self.cpu)
    }
}

impl Guest {
    /// Sets a parameter of its program.
    pub fn set(&self, parameter: u64, value: u64) {
        self.memory
            .write_word(guest_memory::PARAMETERS + 8 * parameter, value);
    }
}

/// The stop is a step.
///
/// # Errors
/// It is another one.
pub fn require_step(stop: Stop) -> Result<(), Outcome> {
    match stop {
        Stop::Hypercall { number: STEP, .. } => Ok(()),
        Stop::Hypercall { .. } | Stop::Halt => Err(failed(format!("{stop:x?}, not a step"))),
    }
}

/// The stop is the end, and the guest found everything right.
///
/// # Errors
/// It is not.
pub fn require_end(stop: Stop) -> Result<(), Outcome> {
    let right = Stop::Hypercall {
        number: END,
        value: 0,
    };
    if stop == right {
        Ok(())
    } else {
        Err(failed(format!("the guest says {stop:x?}")))
    }
}

pub(crate) fn new_state(layout: Layout<'static>) -> Result<Fpstate<'static, BoxedArea>, Outcome> {
    let memory = BoxedArea::for_layout(&layout).map_err(failed)?;
    Fpstate::new(layout, memory, &percpu::IDENTITIES).map_err(|refused| failed(refused.error))
}

/// CR4.OSXSAVE, and CR4.PKE if PKRU is among the components.
const fn cr4_bits(xcr0: ComponentSet) -> u64 {
    let pke = if xcr0.contains(fpstate_arch::Component::Pkru) {
        1 << 22
    } else {
        0
    };
    1 << 18 | pke
}
