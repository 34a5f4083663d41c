//! Edits of states in memory, and images that take the place of a save.

use fpstate::{BoxedArea, StandardImage, StateId, XsaveArea};
use fpstate::{GuestFpu, GuestStateError, ImportError, Layout, NotInMemory, Residence, ThreadFpu};
use fpstate_arch::{Component, ComponentSet, Enumeration, Instruction};

use super::{Event, Mode, Negligence, Step, World, is_sealed};
use crate::contents::Contents;
use crate::cpus::XSAVE_ONLY;
use crate::images::standard_image;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::user_code::UserCode;

/// PKRU is switched on its own.
const KEPT_ELSEWHERE: ComponentSet = ComponentSet::only(Component::Pkru);
/// The model's, and that of every CPU since the Pentium 4.
const MXCSR_MASK: u32 = 0xffff;

/// What is done to an area.
#[derive(Debug)]
enum Edit {
    /// It takes the initial configuration.
    Initialise,
    /// x87, SSE and MXCSR are replaced.
    SetLegacy,
    /// All user components are replaced by this image.
    Import(Box<Enumeration>, Memory),
}

/// A state that can be edited: a thread's own, or a guest's.
enum Target<'w, 'e> {
    Thread(&'w mut ThreadFpu<'e, BoxedArea>),
    Guest(&'w mut GuestFpu<'e, BoxedArea>),
}

impl Target<'_, '_> {
    fn id(&self) -> StateId {
        match self {
            Self::Thread(thread) => thread.own().id(),
            Self::Guest(guest) => guest.id(),
        }
    }

    /// Where the state is and what it has room for; `None` while a thread runs the guest.
    fn found(&self) -> Option<(Residence, ComponentSet)> {
        let state = match self {
            Self::Thread(thread) => Some(thread.own()),
            Self::Guest(guest) => guest.fpstate(),
        };
        state.map(|state| (state.residence(), state.components()))
    }

    fn apply(&mut self, edit: &Edit, values: &Contents) -> Result<(), GuestStateError> {
        match (self, edit) {
            (Self::Guest(guest), Edit::Import(enumeration, memory)) => {
                guest.import(&parse(enumeration, memory.bytes()), KEPT_ELSEWHERE)
            }
            (Self::Guest(guest), Edit::Initialise | Edit::SetLegacy) => {
                apply_to(guest.edit()?, edit, values)
            }
            (Self::Thread(thread), _) => {
                let area = thread.edit_own().map_err(GuestStateError::NotInMemory)?;
                apply_to(area, edit, values)
            }
        }
    }
}

fn apply_to(
    area: &mut XsaveArea<'_, BoxedArea>,
    edit: &Edit,
    values: &Contents,
) -> Result<(), GuestStateError> {
    match edit {
        Edit::Initialise => area.initialise(),
        Edit::SetLegacy => area
            .set_legacy(values.legacy(), MXCSR_MASK)
            .expect("a valid MXCSR"),
        Edit::Import(enumeration, memory) => area
            .import(&parse(enumeration, memory.bytes()), KEPT_ELSEWHERE)
            .map_err(GuestStateError::Import)?,
    }
    Ok(())
}

/// What the library must answer to `edit` of `target`.
fn expected_answer(target: &Target<'_, '_>, edit: &Edit) -> Result<(), GuestStateError> {
    let guest = target.id();
    let not_in_memory = match target.found() {
        None => return Err(GuestStateError::Running { guest }),
        Some((Residence::Memory | Residence::MemoryAndRegisters(_), _)) => return Ok(()),
        Some((Residence::Registers(cpu), _)) => NotInMemory::InRegisters { cpu },
        Some((Residence::Sealed, _)) => NotInMemory::Sealed,
    };
    match (target, edit) {
        (Target::Guest(_), Edit::Import(..)) => Err(GuestStateError::Import(
            ImportError::NotInMemory(not_in_memory),
        )),
        (Target::Thread(_), _) | (Target::Guest(_), Edit::Initialise | Edit::SetLegacy) => {
            Err(GuestStateError::NotInMemory(not_in_memory))
        }
    }
}

impl<P: UserCode> World<'_, P> {
    /// A random state is edited, and refuses if it is not in memory.
    pub(super) fn edit(&mut self) -> Step {
        let machine = self.machine;
        let threads = self.threads.iter_mut().flatten();
        let guests = self.guests.iter_mut().flatten();
        let mut targets: Vec<_> = threads
            .map(|thread| Target::Thread(&mut thread.fpu))
            .chain(guests.map(|guest| Target::Guest(&mut guest.fpu)))
            .collect();
        let mut target = targets.swap_remove(self.random.usize(0..targets.len()));
        let id = target.id();
        let room = target
            .found()
            .map_or(machine.components(), |(_, room)| room);
        let mut values = match self.reference.get(&id) {
            Some(values) => values.clone(),
            None => machine.initial_contents(),
        };
        let mut others = machine.initial_contents();
        let user = machine.user_components();
        let written = user.intersection(room);
        others.write_all(written, &mut self.random, machine.error_pointers);
        let edit = match self.random.u8(0..3) {
            0 => {
                values = machine.initial_contents();
                Edit::Initialise
            }
            1 => {
                values.take_legacy(&others);
                Edit::SetLegacy
            }
            _ => {
                let (enumeration, xstate_bv) =
                    image_of(machine, &others, written, self.random.u64(..));
                let memory = standard_image(&enumeration, &others, xstate_bv);
                // No image has a supervisor component: those stay (invariant I35).
                values.take_all_of(user, &others);
                Edit::Import(Box::new(enumeration), memory)
            }
        };
        let expected = expected_answer(&target, &edit);
        let answer = target.apply(&edit, &values);
        if answer != expected {
            return Err(format!("edit of {id}: {answer:?} instead of {expected:?}"));
        }
        self.tell(format_args!("edit of {id}: {answer:?}"));
        if answer.is_ok() {
            self.reference.insert(id, values);
            self.count(Event::Edited);
        } else {
            self.count(Event::EditRefused);
        }
        Ok(())
    }

    /// The registers of a running thread come back as an image made by someone else, who then uses
    /// them.
    pub(super) fn image_instead_of_save(&mut self, cpu: usize, thread: usize) -> Step {
        self.use_registers(cpu, thread)?;
        let state = self.thread(thread).fpu.active();
        let (id, room) = (state.id(), state.components());
        // Where there are supervisor components an image is refused, as `images_and_registers` shows.
        let is_covered = self.machine.user_components() == self.machine.components();
        if self.cpus[cpu].mode == Mode::Kernel || is_sealed(state) || !is_covered {
            return Ok(());
        }
        self.tell(format_args!(
            "CPU {cpu}: an image instead of a save of {id}"
        ));
        self.write_some(cpu, id, room.intersection(self.machine.user_components()));
        self.count(Event::ImageInsteadOfSave);
        let processor = self.cpus[cpu].fpu.processor();
        let with_pkru = self.machine.user_components().union(
            processor
                .components()
                .intersection(self.machine.enumeration.user_components()),
        );
        let values = processor.contents(with_pkru);
        self.clobber(cpu);
        let (enumeration, xstate_bv) = image_of(self.machine, &values, room, self.random.u64(..));
        let memory = standard_image(&enumeration, &values, xstate_bv);
        let image = parse(&enumeration, memory.bytes());
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        current
            .fpu
            .import_instead_of_saving(&mut on.fpu, &image, KEPT_ELSEWHERE)
            .map_err(|error| error.to_string())?;
        on.mode = Mode::Kernel;
        if self.negligence == Negligence::EditsBehindTheLibrary {
            // The next save is of somebody else's registers.
            let save = self.machine.instructions().save();
            let (own, guest) = current.fpu.areas();
            let target = guest.unwrap_or(own);
            save.execute(on.fpu.processor(), target, room)
                .map_err(|fault| fault.to_string())?;
        }
        Ok(())
    }
}

/// The CPU that an image of `values` is laid out for, and its XSTATE_BV: what is not initial, and of
/// the rest what `written` has. Without XSAVE there is no such image; then it is another machine's.
fn image_of(
    machine: &Machine,
    values: &Contents,
    room: ComponentSet,
    written: u64,
) -> (Enumeration, ComponentSet) {
    if !machine.enumeration.has(Instruction::Xsave) {
        return (XSAVE_ONLY.enumeration(), ComponentSet::LEGACY);
    }
    let written = ComponentSet::from_bits(written).intersection(values.components());
    let xstate_bv = values.not_initial().union(written);
    let user = room
        .union(KEPT_ELSEWHERE)
        .intersection(machine.enumeration.user_components());
    (machine.enumeration.clone(), xstate_bv.intersection(user))
}

fn parse<'b>(enumeration: &'b Enumeration, bytes: &'b [u8]) -> StandardImage<'b> {
    let layout = Layout::standard(enumeration, enumeration.user_components());
    StandardImage::parse(bytes, layout.expect("a layout"), MXCSR_MASK).expect("a valid image")
}
