//! A guest as a program of steps, each of which it can be taken off after.

use fpstate_arch::{Component, ComponentSet, Fault, Processor};
use fpstate_model::{ModelCpu, RegisterFile};

use super::chacha20::{Answer, ChaCha20};
use super::guest_cpu::{Exit, GuestCpu, Reply};
use super::tile_program::{self, Progress, TileProgram};
use super::tile_shape::TILES;
use super::tile_values;
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
    /// Loading its tiles: the configuration, then tile after tile.
    LoadingTiles(u8),
    /// Turns of its loop left.
    Holding(u64),
    /// Back from its call with the pattern in every register.
    Held,
    /// Storing its tiles one after the other.
    StoringTiles(u8),
    /// Between two steps of a computation.
    Computing,
    /// Asking for tiles that it is not offered.
    AskingForTiles,
    /// Using them all the same.
    TryingTiles,
}

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestStep {
    /// The guest goes on.
    GoesOn,
    /// It called the host.
    CalledHost,
    /// It exited in the middle of its program.
    Exits(Exit),
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
    tile_program: TileProgram,
    /// To its last exit.
    reply: Option<Reply>,
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
            tile_program: match kind {
                GuestKind::TogglesXfd => TileProgram::toggle(),
                GuestKind::Pattern
                | GuestKind::KnownAnswer
                | GuestKind::TilePattern
                | GuestKind::TileProduct
                | GuestKind::Denied => TileProgram::product(),
            },
            reply: None,
            answers: KnownAnswers::default(),
            was_taken_off: false,
        }
    }

    /// The guest was taken off after its last step.
    pub(super) const fn taken_off(&mut self) {
        self.was_taken_off = true;
    }

    /// What it finds after its exit.
    pub(super) const fn answer(&mut self, reply: Reply) {
        self.reply = Some(reply);
    }

    /// One step on `cpu`.
    pub(super) fn step(&mut self, cpu: &mut GuestCpu<'_>) -> GuestStep {
        self.was_taken_off = false;
        let reply = self.reply.take();
        match self.place {
            Place::Start => {
                self.found = values::read(cpu.direct);
                let then = match self.kind {
                    GuestKind::Pattern | GuestKind::TilePattern | GuestKind::Denied => {
                        self.first_write()
                    }
                    GuestKind::KnownAnswer | GuestKind::TileProduct | GuestKind::TogglesXfd => {
                        Place::Computing
                    }
                };
                self.call(GuestPhase::Begun, then)
            }
            Place::AskingForTiles => match reply {
                None => {
                    let xcr0 = cpu.direct.xgetbv().unwrap_or_default();
                    GuestStep::Exits(Exit::Xsetbv(xcr0.union(ComponentSet::TILES)))
                }
                Some(reply) => {
                    self.judge(if reply == Reply::GeneralProtection {
                        Answer::Right
                    } else {
                        Answer::Wrong
                    });
                    self.go_on(Place::TryingTiles)
                }
            },
            Place::TryingTiles => {
                let done = cpu.direct.ldtilecfg(&tile_program::configuration());
                self.judge(match done {
                    Err(Fault::InvalidOpcode) => Answer::Right,
                    Ok(()) | Err(_) => Answer::Wrong,
                });
                self.go_on(self.first_component())
            }
            Place::Writing(component) => {
                values::write(cpu.direct, &self.pattern, component);
                self.go_on(self.after_write(component))
            }
            Place::LoadingTiles(TILES) => self.go_on(self.first_turn()),
            Place::LoadingTiles(tile) => self.load_tile(cpu.direct, tile),
            Place::Holding(0) => match self.how {
                Hold::AcrossACall(_) => self.call(GuestPhase::Holding, Place::Held),
                Hold::ForAWhile(_) => self.read_back(cpu.direct),
            },
            Place::Holding(turns) => self.go_on(Place::Holding(turns - 1)),
            Place::Held => self.read_back(cpu.direct),
            Place::StoringTiles(tile) => self.store_tile(cpu.direct, tile),
            Place::Computing if self.kind == GuestKind::KnownAnswer => {
                match self.chacha20.step(cpu.direct) {
                    None => GuestStep::GoesOn,
                    Some(answer) => self.answered(answer),
                }
            }
            Place::Computing => match self.tile_program.step(cpu, reply) {
                Progress::GoesOn => GuestStep::GoesOn,
                Progress::Exits(exit) => GuestStep::Exits(exit),
                Progress::CallsHost => self.call(GuestPhase::Answered, Place::Computing),
                Progress::Answered(answer) => self.answered(answer),
            },
        }
    }

    /// The configuration before tile 0.
    fn load_tile(&mut self, cpu: &mut ModelCpu, tile: u8) -> GuestStep {
        let configured = if tile == 0 {
            tile_values::configure(cpu, &self.pattern)
        } else {
            Ok(())
        };
        let done = configured.and_then(|()| tile_values::load(cpu, &self.pattern, tile));
        match done {
            Err(Fault::DeviceNotAvailable) => GuestStep::Exits(Exit::DeviceNotAvailable),
            done => {
                if done.is_err() {
                    self.judge(Answer::Wrong);
                }
                self.go_on(Place::LoadingTiles(tile + 1))
            }
        }
    }

    fn store_tile(&mut self, cpu: &mut ModelCpu, tile: u8) -> GuestStep {
        match tile_values::store(cpu, &self.pattern, tile) {
            Ok(stored) => self.judge(stored),
            // There has been room since they were loaded: a #NM is as wrong as any other fault.
            Err(_) => self.judge(Answer::Wrong),
        }
        if tile + 1 < TILES {
            self.go_on(Place::StoringTiles(tile + 1))
        } else {
            self.call(GuestPhase::Held, self.first_write())
        }
    }

    fn go_on(&mut self, place: Place) -> GuestStep {
        self.place = place;
        GuestStep::GoesOn
    }

    fn answered(&mut self, answer: Answer) -> GuestStep {
        self.judge(answer);
        self.call(GuestPhase::Answered, Place::Computing)
    }

    fn judge(&mut self, answer: Answer) {
        self.answers.checked += 1;
        self.answers.wrong += u64::from(answer == Answer::Wrong);
    }

    fn call(&mut self, phase: GuestPhase, then: Place) -> GuestStep {
        (self.phase, self.place) = (phase, then);
        GuestStep::CalledHost
    }

    fn read_back(&mut self, cpu: &ModelCpu) -> GuestStep {
        self.found = values::read(cpu);
        if self.kind == GuestKind::TilePattern {
            self.go_on(Place::StoringTiles(0))
        } else {
            self.call(GuestPhase::Held, self.first_write())
        }
    }

    fn first_write(&self) -> Place {
        if self.kind == GuestKind::Denied {
            Place::AskingForTiles
        } else {
            self.first_component()
        }
    }

    fn first_component(&self) -> Place {
        self.components
            .iter()
            .next()
            .map_or(Place::Held, Place::Writing)
    }

    fn after_write(&self, component: Component) -> Place {
        match self.components.iter().find(|next| *next > component) {
            Some(next) => Place::Writing(next),
            None if self.kind == GuestKind::TilePattern => Place::LoadingTiles(0),
            None => self.first_turn(),
        }
    }

    fn first_turn(&self) -> Place {
        match self.how {
            Hold::AcrossACall(turns) | Hold::ForAWhile(turns) => Place::Holding(turns),
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
        matches!(
            self.kind,
            GuestKind::Pattern | GuestKind::TilePattern | GuestKind::Denied
        ) && matches!(self.how, Hold::AcrossACall(_))
            && matches!(self.phase, GuestPhase::Begun | GuestPhase::Held)
            // Taken off on the way, its area would have part of the pattern already.
            && self.place == self.first_write()
    }
}
