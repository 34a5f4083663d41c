//! The hardware keeps a confidential guest's registers: the library touches none of them, and puts all
//! of the host's back.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use fpstate::{Restore, Restoring, Save, Switch};
use fpstate_arch::{ComponentSet, Fault, Processor, Xcr0};
use fpstate_native::Ring0Processor;

use crate::host_registers::{Aligned, enumeration, faulted};
use crate::random_image;
use crate::scenario::{Outcome, Scenario, Twin, failed};
use crate::vcpu::{Exit, GeneralRegisters, Hardware, MsrAccess};
use crate::vcpu_run::{leave, run_entered};
use crate::workbench::{Guest, Workbench, outcome, require_step};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "a-confidential-guest",
    run: |twin| outcome(run(twin)),
    left_out: "seal",
};

const STEPS: u64 = 3;

fn run(twin: Twin) -> Result<(), Outcome> {
    let mut bench = Workbench::new()?;
    let mut guest = bench.new_holder(6, STEPS)?;
    let inner = guest.vcpu.hardware;
    guest.vcpu.hardware = Box::new(KeepsRegisters::new(inner, bench.guest_components())?);
    if twin == Twin::Whole {
        guest.vcpu.fpu.seal().map_err(failed)?;
    }
    let before = area(&mut guest);
    let xcr0 = bench.cpu.processor().xgetbv().map_err(faulted)?;
    bench.user_writes(61)?;
    for _ in 0..STEPS {
        let switch = run_once(&mut bench, &mut guest)?;
        if area(&mut guest) != before {
            return Err(failed("the memory of a sealed state was written"));
        }
        if bench.cpu.processor().xgetbv().map_err(faulted)? != xcr0 {
            return Err(failed("the host's XCR0 is not back"));
        }
        bench.user_finds(61)?;
        if switch.restore != Restore::Nothing || switch.save == Save::Nothing {
            return Err(failed(format!("entering does {switch:?}")));
        }
    }
    bench.run_to_end(&mut guest)
}

fn run_once(bench: &mut Workbench, guest: &mut Guest) -> Result<Switch, Outcome> {
    let switch = bench
        .thread
        .enter_guest(&mut guest.vcpu.fpu, &mut bench.cpu, Restoring::Now)
        .map_err(failed)?;
    let stop = run_entered(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    leave(&mut bench.host(), &mut guest.vcpu).map_err(failed)?;
    require_step(stop)?;
    Ok(switch)
}

fn area(guest: &mut Guest) -> Option<Vec<u8>> {
    guest.vcpu.fpu.area().map(|bytes| bytes.to_vec())
}

/// Hardware as SEV-ES and TDX have it: it loads the guest's registers at an entry and leaves rubbish at an
/// exit.
#[derive(Debug)]
struct KeepsRegisters {
    inner: Box<dyn Hardware>,
    xcr0: Xcr0,
    guests: Aligned,
    rubbish: Aligned,
}

impl KeepsRegisters {
    fn new(inner: Box<dyn Hardware>, components: ComponentSet) -> Result<Self, Outcome> {
        let image = random_image::image(enumeration(), components, 0xbad).map_err(failed)?;
        let mut rubbish = Aligned::zeroed(image.len());
        rubbish.bytes().copy_from_slice(&image);
        Ok(Self {
            inner,
            xcr0: Xcr0::new(components, components).map_err(failed)?,
            guests: Aligned::zeroed(image.len()),
            rubbish,
        })
    }

    fn enter(&mut self, registers: &mut GeneralRegisters) -> Result<Exit, Fault> {
        // SAFETY: as in `Workbench::new`; the CPU's owner does nothing meanwhile.
        let mut processor = unsafe { Ring0Processor::assume_ring0() };
        let all = self.xcr0.components();
        processor.xsetbv(self.xcr0)?;
        processor.xrstor(self.guests.bytes(), all)?;
        let exit = self.inner.enter(registers);
        processor.xsave(self.guests.bytes(), all)?;
        processor.xrstor(self.rubbish.bytes(), all)?;
        processor.xsetbv(Xcr0::AFTER_RESET)?;
        Ok(exit)
    }
}

impl Hardware for KeepsRegisters {
    fn enter(&mut self, registers: &mut GeneralRegisters) -> Exit {
        Self::enter(self, registers).unwrap_or(Exit::Other(u64::MAX))
    }

    fn skip_instruction(&mut self) {
        self.inner.skip_instruction();
    }

    fn inject(&mut self, vector: u8, error_code: Option<u32>) {
        self.inner.inject(vector, error_code);
    }

    fn cr0(&self) -> u64 {
        self.inner.cr0()
    }

    fn cr4(&self) -> u64 {
        self.inner.cr4()
    }

    fn intercept_msr(&mut self, msr: u32, access: MsrAccess) {
        self.inner.intercept_msr(msr, access);
    }
}
