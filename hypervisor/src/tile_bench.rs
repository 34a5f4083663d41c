//! A workbench whose guests have tiles from the start.
//!
//! A kernel that goes by [`Offer`](fpstate::Offer) lends a guest room for tiles when it uses them, by
//! IA32_XFD, and offers no tiles where the CPU has tiles without IA32_XFD. No CPU that is sold is so, but
//! Bochs 3.0 is: its Sapphire Rapids has AMX and CPUID.(0DH,1):EAX\[4\] = 0. There growth cannot be shown.
//! What can be shown is all else about tiles, so the CPU is brought up by hand: tiles are in XCR0,
//! nothing is disabled, and every state has room.
//!
//! Bochs 3.0 also saves tiles wrongly (docs/surprises.md). Tile data that is in use is lost: there every
//! scenario is skipped. With that one instruction of Bochs put right, as `cargo xtask boot` does in a copy,
//! they run, and do what comes out right in spite of the rest: tiles have at most 8 rows, as many as bytes in a row, or are saved an
//! even number of times.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use fpstate::{
    ControlRegisters, CpuFpu, GuestFpu, Layout, SwitchError, SwitchInstructions, ThreadFpu,
};
use fpstate_arch::{Component, ComponentSet, Processor, TileConfig, Xcr0, Xfd, Xss};
use fpstate_native::Ring0Processor;

use crate::guest_code::{Program, hold, parameter};
use crate::guest_memory::GIVEN_IMAGE;
use crate::host_registers::Aligned;
use crate::percpu::{self, KernelThreadFpu};
use crate::random_image;
use crate::scenario::{Outcome, failed};
use crate::workbench::{Guest, GuestState, Workbench, new_state, skipped};

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
        bench.cpu = CpuFpu::bring_up(processor, 0, &percpu::IDENTITIES, instructions, registers)
            .map_err(failed)?;
        bench.thread = ThreadFpu::new(new_state(layout)?);
        let mut tiles = Self { bench, layout };
        if tiles.keeps_tiles()? {
            Ok(tiles)
        } else {
            Err(skipped(
                "XSAVE of this CPU loses tile data, as Bochs 3.0's does",
            ))
        }
    }

    /// Whether XSAVE stores tile data that XRSTOR has loaded. The registers are nobody's before and after.
    fn keeps_tiles(&mut self) -> Result<bool, Outcome> {
        let tile: Vec<u8> = rows(1).take(SMALL_TILE.into()).flatten().collect();
        let image = self.image(1, &small_tiles(), &[&tile])?;
        let mut memory = Aligned::zeroed(image.len());
        memory.bytes().copy_from_slice(&image);
        let fault = |fault| failed(SwitchError::Fault(fault));
        let processor = self.bench.cpu.processor();
        let loaded = processor.xrstor(memory.bytes(), ComponentSet::TILES);
        loaded.map_err(fault)?;
        memory.bytes().fill(0);
        let saved = processor.xsave(memory.bytes(), ComponentSet::TILES);
        saved.map_err(fault)?;
        processor.tilerelease().map_err(fault)?;
        let in_use = memory.bytes()[XSTATE_BV].try_into();
        let in_use = ComponentSet::from_bits(in_use.map_or(0, u64::from_le_bytes));
        Ok(in_use.contains(Component::TileData))
    }

    /// Another thread.
    ///
    /// # Errors
    /// No memory.
    pub fn new_thread(&self) -> Result<KernelThreadFpu, Outcome> {
        Ok(ThreadFpu::new(new_state(self.layout)?))
    }

    /// A new guest that begins with `program`, and enables all that its state has room for.
    ///
    /// # Errors
    /// No memory.
    pub fn new_guest(&self, program: Program) -> Result<Guest, Outcome> {
        Ok(self.guest(program, GuestFpu::new(new_state(self.layout)?)))
    }

    /// The same with `fpu` as its extended state.
    ///
    /// Its memory is never given back: where tiles are enabled Bochs 3.0 may execute the program that was
    /// at the same place before (docs/surprises.md).
    pub fn guest(&self, program: Program, fpu: GuestState) -> Guest {
        let enabled = fpu.features().user();
        let guest = self.bench.guest(program, fpu);
        mem::forget(Arc::clone(&guest.memory));
        guest.set(parameter::XCR0, enabled.bits());
        guest
    }

    /// A guest that fills all its registers from `seed`, tiles too, and finds them so after each of
    /// `steps`.
    ///
    /// # Errors
    /// No memory.
    pub fn new_holder(&self, seed: u64, steps: u64) -> Result<Guest, Outcome> {
        let guest = self.new_guest(hold())?;
        let tile: Vec<u8> = rows(seed).take(SMALL_TILE.into()).flatten().collect();
        let image = self.image(seed, &small_tiles(), &[&tile; TILES])?;
        guest.memory.write(GIVEN_IMAGE, &image);
        guest.set(parameter::STEPS, steps);
        guest.set(parameter::IMAGE_LEN, image.len() as u64);
        Ok(guest)
    }

    /// An image of all registers from `seed`, with these tiles: rows of 64 bytes.
    ///
    /// # Errors
    /// CPUID contradicts itself.
    pub fn image(
        &self,
        seed: u64,
        config: &TileConfig,
        tiles: &[&Vec<u8>],
    ) -> Result<Vec<u8>, Outcome> {
        let enumeration = self.layout.enumeration();
        let components = self.user_components();
        let mut image = random_image::image(enumeration, components, seed).map_err(failed)?;
        let layout = Layout::standard(enumeration, components).map_err(failed)?;
        for placed in layout.extended_components() {
            let bytes = &mut image[placed.range()];
            if placed.component() == Component::TileConfig {
                bytes.copy_from_slice(&config.to_bytes());
            } else if placed.component() == Component::TileData {
                bytes.fill(0);
                for (room, tile) in bytes.chunks_exact_mut(TILE_LEN).zip(tiles) {
                    room[..tile.len()].copy_from_slice(tile);
                }
            }
        }
        Ok(image)
    }

    /// Where component `component` is in an image.
    ///
    /// # Errors
    /// CPUID contradicts itself.
    pub fn place_in_image(&self, component: Component) -> Result<Range<usize>, Outcome> {
        let layout = Layout::standard(self.layout.enumeration(), self.user_components());
        let place = layout.map_err(failed)?.place_of(component);
        place
            .map(|placed| placed.range())
            .ok_or_else(|| skipped("the CPU has no tiles"))
    }

    /// What guests have in XCR0.
    fn user_components(&self) -> ComponentSet {
        let user = self.layout.enumeration().user_components();
        self.layout
            .components()
            .with(Component::Pkru)
            .intersection(user)
    }
}

/// Bytes of a tile's room in an image, and of a row's.
pub const TILE_LEN: usize = 1024;
const ROW_LEN: usize = 64;
const XSTATE_BV: Range<usize> = 512..520;
const TILES: usize = 8;
/// Rows of a small tile, and bytes in each of them.
const SMALL_TILE: u8 = 8;

/// Eight tiles of 8 rows of 8 bytes.
fn small_tiles() -> TileConfig {
    let mut config = TileConfig::INITIAL;
    config.palette = 1;
    config.colsb[..TILES].fill(u16::from(SMALL_TILE));
    config.rows[..TILES].fill(SMALL_TILE);
    config
}

/// Rows with bytes in the first columns that differ by row and seed.
fn rows(seed: u64) -> impl Iterator<Item = [u8; ROW_LEN]> {
    (1u64..).map(move |number| {
        let mut row = [0; ROW_LEN];
        let word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ number;
        row[..usize::from(SMALL_TILE)].copy_from_slice(&word.to_le_bytes());
        row
    })
}
