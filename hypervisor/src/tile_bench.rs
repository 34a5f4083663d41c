//! A workbench whose guests have tiles from the start.
//!
//! A kernel that goes by [`Offer`](fpstate::Offer) lends a guest room for tiles when it uses them, by
//! IA32_XFD, and offers no tiles where the CPU has tiles without IA32_XFD. No CPU that is sold is so, but
//! Bochs is: its Sapphire Rapids has AMX and CPUID.(0DH,1):EAX\[4\] = 0. There growth cannot be shown. What
//! can be shown is all else about tiles, so the CPU is brought up by hand: tiles are in XCR0, nothing
//! is disabled, and every state has room.

use fpstate::{ControlRegisters, CpuFpu, GuestFpu, Layout, SwitchInstructions, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Xcr0, Xfd, Xss};
use fpstate_native::Ring0Processor;

use crate::guest_code::{Program, hold, parameter};
use crate::guest_memory::GIVEN_IMAGE;
use crate::pattern;
use crate::scenario::Outcome;
use crate::workbench::{Guest, IDENTITIES, Thread, Workbench, failed, new_state, skipped};

/// A [`Workbench`] on a CPU with tiles.
#[derive(Debug)]
pub struct TileBench {
    /// What is not about tiles.
    pub bench: Workbench,
    layout: Layout<'static>,
}

impl TileBench {
    /// A CPU that was just brought up with tiles, and a new thread.
    ///
    /// # Errors
    /// What the machine lacks, or what went wrong.
    pub fn new() -> Result<Self, Outcome> {
        let mut bench = Workbench::new()?;
        let enumeration = bench.offer.enumeration();
        if !enumeration
            .user_components()
            .contains_all(ComponentSet::TILES)
        {
            return Err(skipped("the CPU has no tiles"));
        }
        let instructions = SwitchInstructions::for_ring0(enumeration);
        let offered = bench.offer.control_registers();
        let user = offered.xcr0.components().union(ComponentSet::TILES);
        let supervisor = offered
            .xss
            .components()
            .difference(bench.offer.independent());
        let registers = ControlRegisters {
            xcr0: Xcr0::new(user, enumeration.user_components()).map_err(failed)?,
            xss: Xss::new(supervisor, enumeration.supervisor_components()).map_err(failed)?,
            xfd: Xfd::NOTHING,
        };
        let components = user.union(supervisor).without(Component::Pkru);
        let layout =
            Layout::for_instructions(enumeration, instructions, components).map_err(failed)?;
        // SAFETY: 1 to 4: this kernel. 5: `trap` has both. 6, 7: no shadow stacks, no user pages.
        let processor = unsafe { Ring0Processor::assume_ring0() };
        bench.cpu =
            CpuFpu::bring_up(processor, 0, &IDENTITIES, instructions, registers).map_err(failed)?;
        bench.thread = ThreadFpu::new(new_state(layout)?);
        Ok(Self { bench, layout })
    }

    /// Another thread.
    ///
    /// # Errors
    /// No memory.
    pub fn new_thread(&self) -> Result<Thread, Outcome> {
        Ok(ThreadFpu::new(new_state(self.layout)?))
    }

    /// A new guest that begins with `program`, and enables all that its state has room for.
    ///
    /// # Errors
    /// No memory.
    pub fn new_guest(&self, program: Program) -> Result<Guest, Outcome> {
        let fpu = GuestFpu::new(new_state(self.layout)?);
        let enabled = fpu.features().user();
        let guest = self.bench.guest(program, fpu);
        guest.set(parameter::XCR0, enabled.bits());
        Ok(guest)
    }

    /// A guest that fills all its registers from `seed`, tiles too, and finds them so after each of
    /// `steps`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_holder(&self, seed: u64, steps: u64) -> Result<Guest, Outcome> {
        let guest = self.new_guest(hold())?;
        let components = guest.vcpu.fpu.features().user();
        let image = pattern::image(self.layout.enumeration(), components, seed).map_err(failed)?;
        guest.memory.write(GIVEN_IMAGE, &image);
        guest.set(parameter::STEPS, steps);
        guest.set(parameter::IMAGE_LEN, image.len() as u64);
        Ok(guest)
    }
}
