//! What happened in a run.

use std::fmt;
use std::time::Duration;

use fpstate::Layout;
use fpstate_arch::ComponentSet;
use serde::{Serialize, Serializer};

use crate::config::RunConfig;
use crate::footprint::Footprint;
use crate::switch_by::Chosen;

/// One register that did not hold what its owner had put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corruption {
    /// Whose register: `vCPU 3` or `host task 7`.
    pub owner: String,
    /// When it was read: after which step.
    pub after: String,
    /// The register, by the name the manual gives it.
    pub register: String,
    /// What it should have held, hexadecimal.
    pub expected: String,
    /// What it held.
    pub found: String,
    /// How many registers differed in the same check, this one included.
    pub registers: u32,
}

/// Results of known-answer guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KnownAnswers {
    /// Results compared with published ones.
    pub checked: u64,
    /// Results that differed.
    pub wrong: u64,
}

/// What is counted while a run goes on; one per CPU, added up at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries into a guest.
    pub entries: u64,
    /// Guests that came back by their own call.
    pub exits: u64,
    /// Guests taken off by a timer signal.
    pub preemptions: u64,
    /// Times a thread continued on another CPU than before.
    pub migrations: u64,
    /// Of these, with a guest's state active.
    pub migrations_in_guest: u64,
    /// Registers read back and compared.
    pub registers_checked: u64,
    /// Checks in which at least one register was wrong.
    pub corruptions: u64,
    /// Known-answer guests.
    pub known_answers: KnownAnswers,
    /// Switches that saved registers.
    pub saves: u64,
    /// Switches that found the outgoing state in memory already.
    pub saves_skipped: u64,
    /// Switches that restored registers.
    pub restores: u64,
    /// Switches that restored nothing: the registers held the state, or it was left for later.
    pub restores_skipped: u64,
    /// Kernel sections begun.
    pub kernel_sections: u64,
    /// vCPUs that ended and began anew in the same memory.
    pub vcpus_renewed: u64,
    /// Threads that forked, the child going on, or replaced their program.
    pub forks_and_execs: u64,
    /// States that grew by on-demand components when those were first used.
    pub expansions: u64,
    /// States whose memory for on-demand components was given back.
    pub releases: u64,
    /// #NM because of IA32_XFD, of guests and of threads.
    pub xfd_faults: u64,
    /// Attempts to use what was not permitted, refused.
    pub denied: u64,
    /// Switches broken on purpose.
    pub faults_injected: u64,
}

impl Counts {
    /// Switches counted since `before` were not carried out.
    pub(crate) fn take_back_switches(&mut self, before: &Self) {
        self.saves = before.saves;
        self.saves_skipped = before.saves_skipped;
        self.restores = before.restores;
        self.restores_skipped = before.restores_skipped;
    }

    /// Adds the counts of another CPU.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            entries,
            exits,
            preemptions,
            migrations,
            migrations_in_guest,
            registers_checked,
            corruptions,
            known_answers: KnownAnswers { checked, wrong },
            saves,
            saves_skipped,
            restores,
            restores_skipped,
            kernel_sections,
            vcpus_renewed,
            forks_and_execs,
            expansions,
            releases,
            xfd_faults,
            denied,
            faults_injected,
        } = other;
        self.entries += entries;
        self.exits += exits;
        self.preemptions += preemptions;
        self.migrations += migrations;
        self.migrations_in_guest += migrations_in_guest;
        self.registers_checked += registers_checked;
        self.corruptions += corruptions;
        self.known_answers.checked += checked;
        self.known_answers.wrong += wrong;
        self.saves += saves;
        self.saves_skipped += saves_skipped;
        self.restores += restores;
        self.restores_skipped += restores_skipped;
        self.kernel_sections += kernel_sections;
        self.vcpus_renewed += vcpus_renewed;
        self.forks_and_execs += forks_and_execs;
        self.expansions += expansions;
        self.releases += releases;
        self.xfd_faults += xfd_faults;
        self.denied += denied;
        self.faults_injected += faults_injected;
    }
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// `native` or `model`.
    pub engine: &'static str,
    /// The CPU, by its brand string.
    pub cpu: String,
    /// The components switched, PKRU among them where the engine switches it on its own.
    pub components: Vec<String>,
    /// How it was switched: `XSAVEC`, or `moves+XSAVEC`, which is moves where they cover what is live.
    pub strategy: String,
    /// Who decided that: `CPUID`, `calibration` or `caller`.
    pub strategy_by: String,
    /// The instruction that saved.
    pub save_instruction: String,
    /// The instruction that restored.
    pub restore_instruction: String,
    /// vCPUs.
    pub vcpus: u32,
    /// Host tasks, those that run a vCPU included.
    pub host_tasks: u32,
    /// OS threads that acted as CPUs.
    pub threads: u32,
    /// How long it ran.
    pub seconds: f64,
    /// What all random choices derived from.
    pub seed: u64,
    /// What was broken on purpose.
    pub inject: Option<String>,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// Bytes a vCPU costs beyond its thread's own state, as the allocator counted them.
    pub bytes_per_vcpu: usize,
    /// The same for a design with a user and a guest buffer per vCPU.
    pub bytes_per_vcpu_two_buffers: usize,
    /// Bytes of one area that has not grown.
    pub area_len: usize,
    /// As `bytes_per_vcpu`, of a vCPU that is offered tiles and uses none; `None` without tiles.
    pub bytes_per_vcpu_idle: Option<usize>,
    /// As `bytes_per_vcpu`, of a vCPU that uses tiles; `None` without tiles.
    pub bytes_per_vcpu_tiles: Option<usize>,
    /// Whether guests that use tiles run, or why not.
    pub tiles: TileGuests,
    /// The first corruptions found.
    pub corruption_reports: Vec<Corruption>,
}

/// Whether guests that use tiles run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileGuests {
    /// They do.
    Run,
    /// The CPU has no AMX.
    NoAmx,
    /// The kernel permits tiles, but guests of the native engine do not use them.
    ModelOnly,
    /// The kernel does not permit tiles: this is its answer.
    Refused {
        /// The error number.
        errno: i32,
    },
}

impl fmt::Display for TileGuests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("tile guests run"),
            Self::NoAmx => f.write_str("no tile guests: this CPU has no AMX"),
            Self::ModelOnly => f.write_str(
                "no tile guests: the kernel permits tiles, but only the model engine has such guests",
            ),
            Self::Refused { errno } => {
                write!(f, "no tile guests: the kernel does not permit tiles (error {errno})")
            }
        }
    }
}

impl Serialize for TileGuests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was run on.
#[derive(Clone, Debug)]
pub(crate) struct RunSubject<'e> {
    pub(crate) engine: &'static str,
    pub(crate) cpu: String,
    /// Of a guest's state that has not grown.
    pub(crate) layout: Layout<'e>,
    /// Switched beside those areas: PKRU, and on-demand components.
    pub(crate) switched_apart: ComponentSet,
    pub(crate) tiles: TileGuests,
    pub(crate) chosen: Chosen,
}

impl RunReport {
    pub(crate) fn new(
        subject: &RunSubject<'_>,
        config: &RunConfig,
        took: Duration,
        (counts, corruption_reports): (Counts, Vec<Corruption>),
        footprint: Footprint,
    ) -> Self {
        let components = subject.layout.components().union(subject.switched_apart);
        let Chosen { instructions, by } = subject.chosen;
        Self {
            engine: subject.engine,
            cpu: subject.cpu.clone(),
            components: components
                .iter()
                .map(|component| component.to_string())
                .collect(),
            strategy: instructions.strategy().to_string(),
            strategy_by: by.to_string(),
            save_instruction: instructions.save().to_string(),
            restore_instruction: instructions.restore().to_string(),
            vcpus: config.vcpus(),
            host_tasks: config.vcpus() + config.plain_tasks(),
            threads: config.threads(),
            seconds: took.as_secs_f64(),
            seed: config.seed(),
            inject: config.inject().map(|fault| fault.to_string()),
            counts,
            bytes_per_vcpu: footprint.one_state,
            bytes_per_vcpu_two_buffers: footprint.two_buffers,
            area_len: subject.layout.area_len(),
            bytes_per_vcpu_idle: footprint.with_tiles.map(|tiles| tiles.idle),
            bytes_per_vcpu_tiles: footprint.with_tiles.map(|tiles| tiles.in_use),
            tiles: subject.tiles,
            corruption_reports,
        }
    }

    /// Whether nothing was corrupted and no answer was wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.counts.corruptions == 0 && self.counts.known_answers.wrong == 0
    }
}

/// How far a run is, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Part of the time that has passed, 0 to 1.
    pub done: f64,
    /// Entries so far.
    pub entries: u64,
    /// Corruptions so far.
    pub corruptions: u64,
}
