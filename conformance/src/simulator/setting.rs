//! Everything about a world but its actions.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;
use fpstate::Offer;
use fpstate_model::{
    InUseTracking, ModelCpu, Optimisation, Profile, VendorDifferences, XfdErrUpdate,
};

use super::fault::Fault;
use crate::broken::{Broken, Defect};
use crate::cpus::{FXSAVE_ONLY, GENOA_WITHOUT_XSAVES, RecordedCpu, XSAVE_ONLY};
use crate::growth_world::{Failing, GrowthWorld, Room};

/// Kinds of CPUs that are no profile.
const OTHERS: [(&str, RecordedCpu); 3] = [
    ("fxsave-only", FXSAVE_ONLY),
    ("xsave-only", XSAVE_ONLY),
    ("genoa-without-xsaves", GENOA_WITHOUT_XSAVES),
];

/// The names of the CPUs that there are: all profiles, and three kinds that are none.
pub fn cpu_names() -> impl Iterator<Item = &'static str> {
    let profiles = Profile::ALL.iter().map(Profile::name);
    profiles.chain(OTHERS.iter().map(|&(name, _)| name))
}

/// The CPU with this name.
#[must_use]
pub fn cpu_by_name(name: &str) -> Option<RecordedCpu> {
    let other = OTHERS.iter().find(|(known, _)| *known == name);
    let profile = || Profile::by_name(name).map(RecordedCpu::of);
    other.map(|&(_, cpu)| cpu).or_else(profile)
}

/// A world: its CPUs, how many there may be of what, its seed, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The kind of CPUs, one of [`cpu_names`].
    pub cpu: &'static str,
    /// How many CPUs run threads; 1 to 1,024.
    pub cpus: usize,
    /// How many threads and guests there may be.
    pub room: Room,
    /// Of everything left to chance.
    pub seed: u64,
    /// What is broken on purpose.
    pub fault: Fault,
}

impl Setting {
    /// The world before anything happened.
    ///
    /// # Panics
    /// With a name that is none of [`cpu_names`].
    #[must_use]
    pub fn world<'e>(&self, offer: Offer<'e>) -> GrowthWorld<'e, Broken<ModelCpu>> {
        let mut random = Rng::with_seed(!self.seed);
        let failing = random.choice([
            Failing::Never,
            Failing::OneIn(10),
            Failing::OneIn(100),
            Failing::OneIn(1000),
        ]);
        let model = self.processor(&mut random);
        let mut processors: Vec<_> = (0..self.cpus)
            .map(|_| Broken::new(model.clone(), self.fault.defect))
            .collect();
        // The last one reads areas for the check itself.
        processors.push(Broken::new(model, Defect::None));
        let failing = failing.expect("four");
        GrowthWorld::with_room(self.room, offer, processors, self.seed, failing)
            .with_negligence(self.fault.negligence)
    }

    /// The CPUs' kind.
    ///
    /// # Panics
    /// With a name that is none of [`cpu_names`].
    #[must_use]
    pub fn kind(&self) -> RecordedCpu {
        cpu_by_name(self.cpu).expect("one of the names")
    }

    /// What the architecture leaves open is the seed's.
    fn processor(&self, random: &mut Rng) -> ModelCpu {
        let mut processor = self.kind().model();
        let optimisations = [
            Optimisation::None,
            Optimisation::Initial,
            Optimisation::InitialAndModified,
            Optimisation::Poisoning,
        ];
        processor.set_optimisation(random.choice(optimisations).expect("four"));
        let updates = [XfdErrUpdate::Loaded, XfdErrUpdate::Accumulated];
        let tracking = [InUseTracking::SinceWritten, InUseTracking::ByContents];
        processor.set_vendor_differences(VendorDifferences {
            xfd_err_update: random.choice(updates).expect("two"),
            in_use: random.choice(tracking).expect("two"),
            ..processor.vendor_differences()
        });
        processor
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            cpus,
            room,
            seed,
            fault,
        } = self;
        let Room { threads, guests } = room;
        let fault = fault.name();
        write!(
            f,
            "cpu={cpu} cpus={cpus} threads={threads} vcpus={guests} seed={seed} fault={fault}"
        )
    }
}

/// What is wrong with the text of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// It is not `cpu=.. cpus=.. threads=.. vcpus=.. seed=.. fault=..`, in this order.
    Form,
    /// No CPU has this name.
    Cpu(String),
    /// No fault has this name.
    Fault(String),
    /// This is not a number, or none that is allowed: at most 1,024 CPUs, and at least one of each.
    Number(String),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("not cpu=.. cpus=.. threads=.. vcpus=.. seed=.. fault=.."),
            Self::Cpu(found) => write!(f, "no CPU is called {found:?}"),
            Self::Fault(found) => write!(f, "no fault is called {found:?}"),
            Self::Number(found) => write!(f, "{found:?} is no number for this"),
        }
    }
}

impl std::error::Error for SettingError {}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let &[cpu, cpus, threads, vcpus, seed, fault] = words.as_slice() else {
            return Err(SettingError::Form);
        };
        let value = |word: &'_ str, key: &str| {
            let value = word.strip_prefix(key).and_then(|w| w.strip_prefix('='));
            value.map(str::to_owned).ok_or(SettingError::Form)
        };
        let (cpu, fault) = (value(cpu, "cpu")?, value(fault, "fault")?);
        let seed = value(seed, "seed")?;
        Ok(Self {
            cpu: cpu_names()
                .find(|name| **name == cpu)
                .ok_or(SettingError::Cpu(cpu))?,
            cpus: count(value(cpus, "cpus")?, MOST_CPUS)?,
            room: Room {
                threads: count(value(threads, "threads")?, usize::MAX)?,
                guests: count(value(vcpus, "vcpus")?, usize::MAX)?,
            },
            seed: seed.parse().map_err(|_| SettingError::Number(seed))?,
            fault: Fault::by_name(&fault).ok_or(SettingError::Fault(fault))?,
        })
    }
}

const MOST_CPUS: usize = 1024;

fn count(text: String, most: usize) -> Result<usize, SettingError> {
    match text.parse() {
        Ok(count) if (1..=most).contains(&count) => Ok(count),
        _ => Err(SettingError::Number(text)),
    }
}
