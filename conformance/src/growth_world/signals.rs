//! Signals: a frame with the interrupted state, a handler that begins with an initial one, and the way
//! back, by whatever memory the state has then (invariant I37).

use fpstate::{FrameForm, Layout, Loss, Sigreturn};
use fpstate_arch::{Component, ComponentSet, Mxcsr, Pkru};

use super::{GrowthEvent, GrowthWorld, Hardware, Mode, Step};
use crate::contents::Contents;
use crate::memory::Memory;

/// PKRU is switched on its own.
const KEPT_ELSEWHERE: ComponentSet = ComponentSet::only(Component::Pkru);
const MXCSR_MASK: u32 = 0xffff;
/// The second magic number.
const BEHIND: usize = 4;

/// What is on the user stack while a handler runs, and what the test knows of it.
#[derive(Debug)]
pub(super) struct Frame {
    image: Memory,
    values: Contents,
    /// Room for tiles at the time.
    grown: ComponentSet,
    pkru: Pkru,
}

impl<'e, P: Hardware> GrowthWorld<'e, P> {
    /// The current thread is interrupted by a signal.
    pub(super) fn signal(&mut self, cpu: usize, thread: usize) -> Step {
        if !self.kind.has_xsave() {
            return self.user_code(cpu, thread);
        }
        self.use_registers(cpu, thread)?;
        self.save_for_signal(cpu, thread)?;
        let layout = self.user_layout(thread);
        let pkru = self.cpus[cpu].pkru;
        let of_cpu = self.kind.has_pkru().then_some(pkru);
        let mut image = Memory::zeroed(layout.area_len() + BEHIND);
        let current = self.threads[thread].as_mut().expect("a thread");
        let id = current.fpu.own().id();
        let area = current.fpu.own().in_memory().map_err(|e| e.to_string())?;
        // No frame has supervisor components: the handler goes on with the program's.
        let supervisor = Loss::Drop(self.offer.enumeration().supervisor_components());
        let state = area.state().limited_to(&layout, supervisor);
        let state = state.map_err(|error| format!("the signal frame of {id}: {error}"))?;
        let written = state.write_signal_frame(&layout, MXCSR_MASK, of_cpu, image.bytes_mut());
        if written != Ok(image.bytes().len()) {
            return Err(format!("the signal frame of {id}: {written:?}"));
        }
        let user = self.offer.user_components();
        let area = current.fpu.edit_own().map_err(|e| e.to_string())?;
        area.initialise_components(user.intersection(area.layout().components()));
        let expected = &self.expected[&id];
        current.frame = Some(Frame {
            image,
            values: expected.values.clone(),
            grown: expected.grown,
            pkru,
        });
        let expected = self.expected(id);
        expected.initialised(user);
        expected.values.set_mxcsr(Mxcsr::INITIAL);
        self.tell(format_args!("CPU {cpu}: {id} gets a signal"));
        self.count(GrowthEvent::SignalDelivered);
        Ok(())
    }

    /// The handler is done. A frame that is longer than the state is now, because tiles were given
    /// back, counts as one of x87 and SSE.
    pub(super) fn sigreturn(&mut self, cpu: usize, thread: usize) -> Step {
        let current = self.threads[thread].as_mut().expect("a thread");
        let id = current.fpu.own().id();
        let Some(frame) = current.frame.take() else {
            return self.user_code(cpu, thread);
        };
        self.save_for_signal(cpu, thread)?;
        let layout = self.user_layout(thread);
        let xcr0 = self.offer.control_registers().xcr0.components();
        let read = Sigreturn::parse(frame.image.bytes(), layout, xcr0, MXCSR_MASK);
        let read = read.map_err(|error| format!("the frame of {id}: {error}"))?;
        let fits = self.expected[&id].grown.contains_all(frame.grown);
        let is_full = read.form() == FrameForm::Full;
        if is_full != fits || is_full && self.kind.has_pkru() && read.pkru() != frame.pkru {
            let (form, pkru) = (read.form(), read.pkru());
            return Err(format!("I37: the frame of {id} is {form:?}, PKRU {pkru:?}"));
        }
        let current = self.threads[thread].as_mut().expect("a thread");
        let area = current.fpu.edit_own().map_err(|e| e.to_string())?;
        area.import_state(&read.state(), KEPT_ELSEWHERE, Loss::Reject)
            .map_err(|error| format!("the frame of {id}: {error}"))?;
        let user = self.offer.user_components();
        let expected = self.expected(id);
        if is_full {
            expected.wrote(user, &frame.values);
        } else {
            expected.initialised(user);
            expected.values.take_legacy(&frame.values);
        }
        self.tell(format_args!("CPU {cpu}: {id} returns, {:?}", read.form()));
        self.count(if is_full {
            GrowthEvent::SignalReturned
        } else {
            GrowthEvent::SignalReturnedShort
        });
        Ok(())
    }

    fn save_for_signal(&mut self, cpu: usize, thread: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let current = self.threads[thread].as_mut().expect("a thread");
        on.mode = Mode::Kernel;
        let saved = current.fpu.save_before_switch(&mut on.fpu);
        saved.map(drop).map_err(|error| format!("refused: {error}"))
    }

    /// Of the user components that the thread's state has room for.
    fn user_layout(&self, thread: usize) -> Layout<'e> {
        let room = self.thread(thread).fpu.own().components();
        self.offer.image_layout(room.with(Component::Pkru))
    }
}
