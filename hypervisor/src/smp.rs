//! The other CPUs: each waits for something to do, halted, and does what another one asks.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use spin::Mutex;
use x86_64::instructions::interrupts;

use crate::trap::{MOST_CPUS, cpu_number};
use crate::{delay, lapic};

/// The page below 1 MB at which a CPU that is started begins.
pub const TRAMPOLINE_PAGE: u8 = 8;
/// Milliseconds for a CPU to come back.
const RESTART_PATIENCE: u32 = 500;

/// A call that another CPU is to make.
struct Job<'a> {
    call: &'a (dyn Fn() + Sync),
    done: AtomicBool,
}

impl<'a> Job<'a> {
    const fn new(call: &'a (dyn Fn() + Sync)) -> Self {
        let done = AtomicBool::new(false);
        Self { call, done }
    }

    /// Waits; meanwhile this CPU does what others ask of it.
    fn wait(&self) {
        while !self.done.load(Ordering::Acquire) {
            serve();
            core::hint::spin_loop();
        }
    }
}

struct Mailbox {
    online: AtomicBool,
    job: AtomicPtr<Job<'static>>,
}

static MAILBOXES: [Mailbox; MOST_CPUS] = [const {
    Mailbox {
        online: AtomicBool::new(false),
        job: AtomicPtr::new(ptr::null_mut()),
    }
}; MOST_CPUS];

/// There is no such CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOnline {
    /// The number asked for.
    pub cpu: usize,
}

impl core::fmt::Display for NotOnline {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CPU {} is not online", self.cpu)
    }
}

/// The numbers of the CPUs that take calls.
pub fn online() -> impl Iterator<Item = usize> {
    let numbered = MAILBOXES.iter().enumerate();
    numbered.filter_map(|(number, mailbox)| {
        let online = mailbox.online.load(Ordering::Acquire);
        online.then_some(number)
    })
}

/// This CPU takes calls from here on.
pub fn come_online() {
    mailbox(cpu_number()).online.store(true, Ordering::Release);
}

/// Calls `f` on CPU `cpu` and waits for what it returns. Interrupts are off there until `f` allows them. On
/// the CPU that asks it is an ordinary call.
///
/// # Errors
/// [`NotOnline`].
pub fn run_on<R: Send>(cpu: usize, f: impl FnOnce() -> R + Send) -> Result<R, NotOnline> {
    if cpu == cpu_number() {
        return Ok(f());
    }
    if !online().any(|number| number == cpu) {
        return Err(NotOnline { cpu });
    }
    let (function, result) = (Mutex::new(Some(f)), Mutex::new(None));
    let call = || {
        let function = function.lock().take();
        *result.lock() = function.map(|function| function());
    };
    let job = Job::new(&call);
    post(cpu, &job);
    job.wait();
    let result = result.lock().take();
    result.ok_or(NotOnline { cpu })
}

/// Calls `f` on every CPU at once and waits for all of them.
pub fn run_on_all(f: impl Fn() + Sync) {
    let here = cpu_number();
    // Who is asked is who is waited for, also if another CPU comes online meanwhile.
    let jobs: [Option<Job<'_>>; MOST_CPUS] = core::array::from_fn(|cpu| {
        let asked = cpu != here && mailbox(cpu).online.load(Ordering::Acquire);
        asked.then(|| Job::new(&f))
    });
    for (cpu, job) in jobs.iter().enumerate() {
        job.iter().for_each(|job| post(cpu, job));
    }
    f();
    jobs.iter().flatten().for_each(Job::wait);
}

/// Puts another CPU where it is after RESET, with all its registers lost, and starts it again. A CPU that
/// ran guests must have left them, or it does not hear INIT.
///
/// # Errors
/// [`NotOnline`]: it did not come back.
pub fn restart(cpu: usize) -> Result<(), NotOnline> {
    mailbox(cpu).online.store(false, Ordering::Release);
    lapic::reset(cpu);
    delay::milliseconds(10);
    for _ in 0..2 {
        lapic::start(cpu, TRAMPOLINE_PAGE);
        for _ in 0..RESTART_PATIENCE {
            delay::milliseconds(1);
            if mailbox(cpu).online.load(Ordering::Acquire) {
                return Ok(());
            }
        }
    }
    Err(NotOnline { cpu })
}

/// Gives `job` to a CPU as soon as it has no other. The caller waits for it before it returns.
fn post(cpu: usize, job: &Job<'_>) {
    let job = ptr::from_ref(job).cast::<Job<'static>>().cast_mut();
    let place = &mailbox(cpu).job;
    let empty = ptr::null_mut();
    while place
        .compare_exchange(empty, job, Ordering::AcqRel, Ordering::Relaxed)
        .is_err()
    {
        serve();
        core::hint::spin_loop();
    }
    lapic::wake(cpu);
}

/// Does what others ask of this CPU, if they do.
fn serve() {
    let job = mailbox(cpu_number())
        .job
        .swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: whoever posted it waits until it is done.
    if let Some(job) = unsafe { job.as_ref() } {
        (job.call)();
        job.done.store(true, Ordering::Release);
    }
}

/// The life of a CPU that nothing is asked of.
pub fn idle() -> ! {
    loop {
        interrupts::disable();
        serve();
        let waiting = mailbox(cpu_number()).job.load(Ordering::Acquire);
        if waiting.is_null() {
            // The interrupt that tells of a job comes behind HLT at the earliest.
            interrupts::enable_and_hlt();
        }
    }
}

fn mailbox(cpu: usize) -> &'static Mailbox {
    &MAILBOXES[cpu % MOST_CPUS]
}
