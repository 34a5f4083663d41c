//! A guest as a program of steps, each of which it can be taken off after.

use fpstate_arch::{Component, ComponentSet};
use fpstate_model::{ModelCpu, RegisterFile};

use super::chacha20::{Answer, ChaCha20};
use super::values;
use crate::report::KnownAnswers;
use crate::schedule::backend::{GuestCode, GuestKind, GuestPhase, Hold};

/// Where a guest is in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before its first step.
    Start,
    /// Writing its pattern, this component next.
    Writing(Component),
    /// Turns of its loop left.
    Holding(u64),
    /// Back from its call with the pattern in every register.
    Held,
    /// Between two steps of a computation.
    Computing,
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestStep {
    /// The guest goes on.
    GoesOn,
    /// It called the host.
    CalledHost,
}

/// A guest of the model engine.
#[derive(Clone, Debug)]
pub(crate) struct ModelGuest {
    kind: GuestKind,
    /// The components a guest may write.
    components: ComponentSet,
    place: Place,
    phase: GuestPhase,
    pattern: RegisterFile,
    how: Hold,
    found: RegisterFile,
    chacha20: ChaCha20,
    answers: KnownAnswers,
    was_taken_off: bool,
}

impl ModelGuest {
    pub(super) fn new(kind: GuestKind, components: ComponentSet, initial: RegisterFile) -> Self {
        Self {
            kind,
            components,
            place: Place::Start,
            phase: GuestPhase::Begun,
            pattern: initial.clone(),
            how: Hold::ForAWhile(0),
            found: initial,
            chacha20: ChaCha20::default(),
            answers: KnownAnswers::default(),
            was_taken_off: false,
        }
    }

    /// The guest was taken off after its last step.
    pub(super) const fn taken_off(&mut self) {
        self.was_taken_off = true;
    }

    /// One step on `cpu`.
    pub(super) fn step(&mut self, cpu: &mut ModelCpu) -> GuestStep {
        self.was_taken_off = false;
        match (self.place, self.kind) {
            (Place::Start, GuestKind::Pattern) => {
                self.found = values::read(cpu);
                self.call(GuestPhase::Begun, self.first_write())
            }
            (Place::Start, GuestKind::KnownAnswer) => {
                self.found = values::read(cpu);
                self.call(GuestPhase::Begun, Place::Computing)
            }
            (Place::Writing(component), _) => {
                values::write(cpu, &self.pattern, component);
                self.place = self.after_write(component);
                GuestStep::GoesOn
            }
            (Place::Holding(0), _) => match self.how {
                Hold::AcrossACall(_) => self.call(GuestPhase::Holding, Place::Held),
                Hold::ForAWhile(_) => self.read_back(cpu),
            },
            (Place::Holding(turns), _) => {
                self.place = Place::Holding(turns - 1);
                GuestStep::GoesOn
            }
            (Place::Held, _) => self.read_back(cpu),
            (Place::Computing, _) => match self.chacha20.step(cpu) {
                None => GuestStep::GoesOn,
                Some(answer) => {
                    self.answers.checked += 1;
                    self.answers.wrong += u64::from(answer == Answer::Wrong);
                    self.call(GuestPhase::Answered, Place::Computing)
                }
            },
        }
    }

    fn call(&mut self, phase: GuestPhase, then: Place) -> GuestStep {
        (self.phase, self.place) = (phase, then);
        GuestStep::CalledHost
    }

    fn read_back(&mut self, cpu: &ModelCpu) -> GuestStep {
        self.found = values::read(cpu);
        self.call(GuestPhase::Held, self.first_write())
    }

    fn first_write(&self) -> Place {
        self.components
            .iter()
            .next()
            .map_or(Place::Held, Place::Writing)
    }

    fn after_write(&self, component: Component) -> Place {
        match (
            self.components.iter().find(|next| *next > component),
            self.how,
        ) {
            (Some(next), _) => Place::Writing(next),
            (None, Hold::AcrossACall(turns) | Hold::ForAWhile(turns)) => Place::Holding(turns),
        }
    }
}

impl GuestCode for ModelGuest {
    type Values = RegisterFile;

    fn phase(&self) -> GuestPhase {
        self.phase
    }

    fn found(&self) -> RegisterFile {
        self.found.clone()
    }

    fn pattern(&self) -> RegisterFile {
        self.pattern.clone()
    }

    fn hold(&mut self, pattern: RegisterFile, how: Hold) {
        self.pattern = pattern;
        self.how = how;
    }

    fn take_answers(&mut self) -> KnownAnswers {
        std::mem::take(&mut self.answers)
    }

    fn begin_again(&mut self) {
        let initial = self.found.clone();
        *self = Self::new(self.kind, self.components, initial);
    }

    fn holds_only_a_pattern(&self) -> bool {
        self.phase == GuestPhase::Holding && self.place == Place::Held && !self.was_taken_off
    }

    fn will_hold_a_pattern(&self) -> bool {
        self.kind == GuestKind::Pattern
            && matches!(self.how, Hold::AcrossACall(_))
            && matches!(self.phase, GuestPhase::Begun | GuestPhase::Held)
            // Taken off on the way, its area would have part of the pattern already.
            && self.place == self.first_write()
    }
}
