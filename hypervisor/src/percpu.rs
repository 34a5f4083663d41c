//! What each CPU has of its own: whose state its registers hold, and which thread it runs.

use alloc::string::{String, ToString};
use core::cell::RefCell;

use fpstate::{BoxedArea, CpuFpu, Fpstate, Identities, Offer, SwitchError, ThreadFpu};
use fpstate_arch::Enumeration;
use fpstate_native::{Ring0Processor, cpuid};
use spin::Once;
use x86_64::instructions::interrupts::without_interrupts;

use crate::trap::{MOST_CPUS, cpu_number};

/// A thread's extended state, in this kernel's memory.
pub type KernelThreadFpu = ThreadFpu<'static, BoxedArea>;

/// One CPU's.
#[derive(Debug)]
pub struct PerCpu {
    /// Whose state its registers hold.
    pub fpu: CpuFpu<Ring0Processor>,
    /// The state of the thread that it runs; none while it runs no thread.
    pub current: Option<KernelThreadFpu>,
    /// What its timer interrupt does.
    pub work: InterruptWork,
    /// Why that was refused, if it was.
    pub refused: Option<SwitchError>,
}

/// What a timer interrupt does besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterruptWork {
    /// Nothing.
    #[default]
    Nothing,
    /// It uses extended registers in a kernel section.
    KernelSection,
    /// It uses them without one: a mistake.
    WithoutSection,
}

struct Slot(RefCell<Option<PerCpu>>);

// SAFETY: a slot is reached by the CPU of its number alone, with interrupts off.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; MOST_CPUS] = [const { Slot(RefCell::new(None)) }; MOST_CPUS];
static ENUMERATION: Once<Enumeration> = Once::new();
static OFFER: Once<Offer<'static>> = Once::new();

/// The identities of every CPU and state of this kernel's.
pub static IDENTITIES: Identities = Identities::new();

/// What this kernel offers: decided by the first CPU, the same on all.
pub fn offer() -> &'static Offer<'static> {
    OFFER.call_once(|| Offer::for_ring0(ENUMERATION.call_once(|| Enumeration::read(cpuid))))
}

/// This CPU comes online: it gets a new [`CpuFpu`], which believes nothing, and runs no thread. Again, at
/// any time that its registers hold nobody's only copy.
///
/// # Errors
/// The library's words.
pub fn bring_up() -> Result<(), String> {
    let number = u32::try_from(cpu_number()).map_err(|error| error.to_string())?;
    let (instructions, registers) = (offer().instructions(), offer().control_registers());
    // SAFETY: 1, 4: this kernel. 2: it goes to this CPU's slot, which only this CPU reaches. 3: `cpu_features`
    // came first. 5: `trap` has both. 6: no shadow stacks. 7: the kernel reaches user pages
    // by its own addresses.
    let processor = unsafe { Ring0Processor::assume_ring0() };
    let fpu = CpuFpu::bring_up(processor, number, &IDENTITIES, instructions, registers)
        .map_err(|error| error.to_string())?;
    let cpu = PerCpu {
        fpu,
        current: None,
        work: InterruptWork::Nothing,
        refused: None,
    };
    without_interrupts(|| {
        let mut slot = slot().0.borrow_mut();
        *slot = Some(cpu);
    });
    Ok(())
}

/// Calls `f` with what this CPU has, interrupts off: Linux's `fpregs_lock()`. Calls do not nest.
///
/// # Panics
/// If they do, or before [`bring_up`].
pub fn with<R>(f: impl FnOnce(&mut PerCpu) -> R) -> R {
    without_interrupts(|| match &mut *slot().0.borrow_mut() {
        Some(cpu) => f(cpu),
        None => panic!("CPU {} is not up", cpu_number()),
    })
}

fn slot() -> &'static Slot {
    &SLOTS[cpu_number() % MOST_CPUS]
}

/// A new thread's state, in its initial configuration.
///
/// # Errors
/// The library's words.
pub fn new_thread() -> Result<KernelThreadFpu, String> {
    Ok(ThreadFpu::new(new_state()?))
}

/// A new thread's state, in `memory`.
///
/// # Errors
/// The library's words.
pub fn new_thread_in(memory: BoxedArea) -> Result<KernelThreadFpu, String> {
    let state = Fpstate::new(offer().thread_layout(), memory, &IDENTITIES);
    let state = state.map_err(|refused| refused.error.to_string())?;
    Ok(ThreadFpu::new(state))
}

/// A state with the layout of a thread's that has not grown.
///
/// # Errors
/// The library's words.
pub fn new_state() -> Result<Fpstate<'static, BoxedArea>, String> {
    let state = Fpstate::new(offer().thread_layout(), new_memory()?, &IDENTITIES);
    state.map_err(|refused| refused.error.to_string())
}

/// Memory for such a state.
///
/// # Errors
/// There is none.
pub fn new_memory() -> Result<BoxedArea, String> {
    let memory = BoxedArea::for_layout(&offer().thread_layout());
    memory.map_err(|error| error.to_string())
}
