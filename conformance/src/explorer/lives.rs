//! Fork, exec, exit.

use fpstate::{Grantee, LifeError};
use fpstate_arch::ComponentSet;

use super::reference::Expected;
use super::small_cpu::TILE_DATA;
use super::values::INITIAL;
use super::world::{Mode, Step, Thread, World};

impl World<'_> {
    pub(super) fn fork(&mut self, cpu: usize, child: usize) -> Step {
        let state = self
            .machine
            .state(Grantee::Threads, self.free.pop().expect("memory"));
        self.cpus[cpu].mode = Mode::Kernel;
        let (fpu, parent) = self.parts(cpu);
        let forked = parent.fpu.fork(fpu, state);
        let forked = forked.map_err(|(error, _)| format!("I19: fork: {error}"))?;
        let mut expected = parent.expected;
        expected.wrote(TILE_DATA, INITIAL);
        expected.grown = ComponentSet::EMPTY;
        self.threads[child] = Some(Thread::new(forked, expected, parent.granted));
        Ok(())
    }

    pub(super) fn exec(&mut self, cpu: usize) -> Step {
        self.cpus[cpu].mode = Mode::Kernel;
        let (fpu, thread) = self.parts(cpu);
        let grown = !thread.expected.grown.is_empty();
        thread.pending = None;
        thread.granted = ComponentSet::EMPTY;
        thread.expected = Expected::INITIAL;
        match thread.fpu.exec(fpu) {
            Ok(()) if !grown => return Ok(()),
            Err(LifeError::Grown { .. }) if grown => {}
            other => return Err(format!("I19: exec, grown: {grown}: {other:?}")),
        }
        let piece = self.lend();
        let (fpu, thread) = self.parts(cpu);
        let former = thread.fpu.exec_and_release(fpu, piece);
        let former = former.map_err(|(error, _)| format!("I19: exec: {error}"))?;
        self.free.push(former);
        Ok(())
    }

    /// The thread has to leave its guest before.
    pub(super) fn exec_in_guest(&mut self, cpu: usize) -> Step {
        let (fpu, thread) = self.parts(cpu);
        match thread.fpu.exec(fpu) {
            Err(LifeError::InGuest { .. }) => Ok(()),
            other => Err(format!("I24: exec in a guest: {other:?}")),
        }
    }

    /// The same.
    pub(super) fn exit_in_guest(&mut self, cpu: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let slot = on.current.expect("a current thread");
        let thread = self.threads[slot].take().expect("a thread");
        match thread.fpu.exit(on.fpu.as_mut().expect("online")) {
            Err((LifeError::InGuest { .. }, fpu)) => {
                self.threads[slot] = Some(Thread { fpu, ..thread });
                Ok(())
            }
            other => Err(format!("I24: exit in a guest: {other:?}")),
        }
    }

    pub(super) fn ask(&mut self, cpu: usize) -> Step {
        self.parts(cpu).1.granted = TILE_DATA;
        Ok(())
    }

    pub(super) fn exit(&mut self, cpu: usize) -> Step {
        let on = &mut self.cpus[cpu];
        let slot = on.current.take().expect("a current thread");
        on.mode = Mode::Kernel;
        let thread = self.threads[slot].take().expect("a thread");
        let ended = thread.fpu.exit(on.fpu.as_mut().expect("online"));
        let former = ended.map_err(|(error, _)| format!("exit: {error}"))?;
        self.free.push(former);
        Ok(())
    }
}
