//! Images: bytes as they came, or a good image in which the input changes some bytes.

use fastrand::Rng;
use fpstate::{ImageOrigin, ImageState, StandardImage};
use fpstate_arch::{Component, ComponentSet, LegacyRegion, Xfd};

use super::cpu::Cpu;
use super::input::Input;
use crate::contents::Contents;
use crate::images::standard_image;
use crate::memory::Memory;

/// The longest that any reader needs is shorter.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// Whose rules an image is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Standard,
    Kvm,
    Ptrace,
    Compacted,
    Fxsave,
    Sigreturn,
}

impl Form {
    pub(super) const ALL: [Self; 6] = [
        Self::Standard,
        Self::Kvm,
        Self::Ptrace,
        Self::Compacted,
        Self::Fxsave,
        Self::Sigreturn,
    ];
}

/// Values for `room`, of which `live` are announced and `zeros` have their initial value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    pub(super) room: ComponentSet,
    live: ComponentSet,
    zeros: ComponentSet,
    seed: u16,
}

impl Recipe {
    pub(super) fn chosen(room: ComponentSet, input: &mut Input<'_>) -> Self {
        Self {
            room,
            // Everything is the simplest.
            live: room.difference(ComponentSet::from_bits(input.dword().into())),
            zeros: ComponentSet::from_bits(input.dword().into()),
            seed: input.word(),
        }
    }

    /// An image in the standard format without the library's help; FXSAVE's 512 bytes where there is
    /// no XSAVE.
    pub(super) fn standard(self, cpu: &Cpu) -> Vec<u8> {
        let mut random = Rng::with_seed(self.seed.into());
        let mut values = Contents::initial(&cpu.enumeration, self.room);
        values.write_all(self.room, &mut random, cpu.kind.error_pointers());
        values.initialise(self.zeros);
        if self.zeros.contains(Component::Sse) && !self.seed.is_multiple_of(2) {
            values.set_mxcsr(LegacyRegion::INITIAL.mxcsr);
        }
        if !cpu.has_xsave() {
            let mut bytes = [0; 512];
            values.legacy().write_to(&mut bytes);
            return bytes.to_vec();
        }
        let mut image = standard_image(&cpu.enumeration, &values, self.room);
        image.bytes_mut()[512..520].copy_from_slice(&self.live.bits().to_le_bytes());
        image.bytes().to_vec()
    }
}

/// What `form` needs beside the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) form: Form,
    /// The layout's components.
    pub(super) room: ComponentSet,
    /// The guest's IA32_XFD.
    pub(super) xfd: Xfd,
}

impl Reading {
    /// Nothing is disabled.
    pub(super) const fn of(form: Form, room: ComponentSet) -> Self {
        Self {
            form,
            room,
            xfd: Xfd::NOTHING,
        }
    }

    pub(super) fn chosen(cpu: &Cpu, input: &mut Input<'_>) -> Self {
        let form = *input.choose(&Form::ALL);
        let form = if cpu.has_xsave() { form } else { Form::Fxsave };
        let room = cpu.user_room(input);
        let xfd = ComponentSet::from_bits(u64::from(input.byte()) << 16);
        let can_be_disabled = cpu.enumeration.xfd_components();
        Self {
            form,
            room,
            xfd: Xfd::new(xfd.intersection(can_be_disabled), can_be_disabled)
                .expect("what can be disabled"),
        }
    }
}

/// The bytes that are to be read.
pub(super) fn image(cpu: &Cpu, reading: Reading, input: &mut Input<'_>) -> Memory {
    if input.byte() & 1 == 1 {
        let rest = input.rest();
        return Memory::holding(&rest[..rest.len().min(MOST_BYTES)]);
    }
    let supervisor = match reading.form {
        Form::Compacted => cpu.supervisor_room(input),
        Form::Standard | Form::Kvm | Form::Ptrace | Form::Fxsave | Form::Sigreturn => {
            ComponentSet::EMPTY
        }
    };
    let recipe = Recipe::chosen(reading.room, input);
    let mut bytes = good_image(cpu, reading, recipe, supervisor);
    while !input.is_empty() {
        change(&mut bytes, input);
    }
    Memory::holding(&bytes)
}

/// An image that its reader accepts; without compacted images a CPU has zeros in their place.
pub(super) fn good_image(
    cpu: &Cpu,
    reading: Reading,
    recipe: Recipe,
    supervisor: ComponentSet,
) -> Vec<u8> {
    let mut standard = recipe.standard(cpu);
    if reading.form == Form::Fxsave || !cpu.has_xsave() {
        standard.truncate(512);
        return standard;
    }
    let layout = cpu.image_layout(recipe.room);
    let image = StandardImage::parse(&standard, layout, cpu.mxcsr_mask());
    let state = image.expect("a good image").state();
    let origin = ImageOrigin {
        xcr0: recipe.room,
        mxcsr_mask: cpu.mxcsr_mask(),
    };
    let mut out = vec![0; MOST_BYTES];
    let len = match reading.form {
        Form::Standard | Form::Fxsave => return standard,
        Form::Kvm => state.write_kvm(&layout, origin, None, &mut out),
        Form::Ptrace => state.write_ptrace(&layout, origin, None, &mut out),
        Form::Sigreturn => state.write_signal_frame(&layout, cpu.mxcsr_mask(), None, &mut out),
        Form::Compacted => return compacted(cpu, &state, supervisor),
    };
    out.truncate(len.expect("room for an image"));
    out
}

/// Supervisor components are announced and filled too.
fn compacted(cpu: &Cpu, state: &ImageState<'_>, supervisor: ComponentSet) -> Vec<u8> {
    let mut out = vec![0; MOST_BYTES];
    if !cpu.has_compacted() {
        return out;
    }
    let layout = cpu.kernels_layout(state.layout().components().union(supervisor));
    let len = state.write_compacted(&layout, &mut out);
    out.truncate(len.expect("room for an image"));
    let mut xstate_bv = ComponentSet::from_bits(u64::from_le_bytes(
        *out[512..].first_chunk().expect("a header"),
    ));
    for placed in layout.extended_components() {
        if supervisor.contains(placed.component()) {
            out[placed.range()].fill(0x3c);
            xstate_bv = xstate_bv.with(placed.component());
        }
    }
    out[512..520].copy_from_slice(&xstate_bv.bits().to_le_bytes());
    out
}

/// One change, mostly of what rules are about.
fn change(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte();
    let place = match kind % 6 {
        // The header.
        0 => 512 + usize::from(input.byte()) % 64,
        // What belongs to software.
        1 => 464 + usize::from(input.byte()) % 48,
        // MXCSR and its mask.
        2 => 24 + usize::from(input.byte()) % 8,
        3 => usize::from(input.byte()) % 32,
        4 => usize::from(input.word()),
        _ => {
            bytes.resize(usize::from(input.word()).min(MOST_BYTES), 0xee);
            return;
        }
    };
    let value = input.byte();
    if let Some(byte) = bytes.get_mut(place) {
        *byte = value;
    }
}
