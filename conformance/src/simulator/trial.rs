//! One world's life: actions, checks, the end.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fpstate::Offer;
use fpstate_model::ModelCpu;

use super::setting::Setting;
use crate::broken::Broken;
use crate::growth_world::{Action, GrowthEvent, GrowthWorld, Performed};

/// Actions from one check of everything to the next.
const UNTIL_FULL_CHECK: usize = 2000;

/// Where something was found to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// By an action, or by the check of what it had to do with.
    Action,
    /// By a check of everything.
    Everything,
    /// When every thread and guest ended.
    End,
}

/// How a trial ends if nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the last action: what only a check of everything finds is not looked for.
    Unchecked,
    /// With a check of everything.
    Checked,
    /// Every thread and guest ends, and everything is checked.
    AllEnd,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Where it was seen.
    pub sight: Sight,
    /// What was done, up to the action after which it was seen.
    pub actions: Vec<Action>,
    /// What the last of them did.
    pub told: Vec<String>,
}

impl Finding {
    /// The words before the first colon, without numbers: two findings of one kind have the same.
    #[must_use]
    pub fn kind(&self) -> String {
        let rule = self.what.split(':').next().unwrap_or_default();
        if rule.starts_with('I') {
            return rule.into();
        }
        rule.chars().filter(|c| !c.is_ascii_digit()).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = match self.sight {
            Sight::Action => "",
            Sight::Everything => ", seen when everything was checked",
            Sight::End => ", seen when everything ended",
        };
        write!(f, "{} (action {}{seen})", self.what, self.actions.len())
    }
}

/// What a world that ended well went through.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// Actions done.
    pub done: u64,
    /// Actions that could not be done.
    pub skipped: u64,
    /// Checks of everything.
    pub full_checks: u64,
    /// The most states there were at a time when everything was checked.
    pub states: usize,
    /// How often each event happened, in the order of [`GrowthEvent::ALL`].
    pub events: Vec<u64>,
    /// What the last actions did.
    pub told: Vec<String>,
}

/// One world's life.
#[derive(Debug)]
pub struct Trial<'s> {
    setting: &'s Setting,
    ending: Ending,
    actions: Vec<Action>,
    lived: Lived,
}

type World<'e> = GrowthWorld<'e, Broken<ModelCpu>>;

impl<'s> Trial<'s> {
    /// A world that has not begun.
    #[must_use]
    pub fn of(setting: &'s Setting, ending: Ending) -> Self {
        Self {
            setting,
            ending,
            actions: Vec::new(),
            lived: Lived::default(),
        }
    }

    /// As many actions as `count`, of the world's own choice.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn live(self, count: usize) -> Result<Lived, Finding> {
        self.run(|world, number| (number < count).then(|| world.choose()))
    }

    /// These actions.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn replay(self, actions: &[Action]) -> Result<Lived, Finding> {
        self.run(|_, number| actions.get(number).copied())
    }

    fn run(
        mut self,
        next: impl FnMut(&mut World<'_>, usize) -> Option<Action>,
    ) -> Result<Lived, Finding> {
        let enumeration = self.setting.kind().enumeration();
        let mut world = None;
        // A panic - of the model, or of the world's own bookkeeping - is a finding like others.
        let run = AssertUnwindSafe(|| {
            let world = world.insert(self.setting.world(Offer::for_ring0(&enumeration)));
            self.steps(world, next)
        });
        let found = catch_unwind(run).unwrap_or_else(|panic| {
            let what = format!("panic: {}", message(panic.as_ref()));
            Err((what, Sight::Action))
        });
        let told = world.map(|world: World<'_>| world.told());
        let told = told.unwrap_or_default();
        match found {
            Ok(()) => Ok(Lived { told, ..self.lived }),
            Err((what, sight)) => Err(Finding {
                what,
                sight,
                actions: self.actions,
                told,
            }),
        }
    }

    fn steps(
        &mut self,
        world: &mut World<'_>,
        mut next: impl FnMut(&mut World<'_>, usize) -> Option<Action>,
    ) -> Result<(), (String, Sight)> {
        let by_action = |what| (what, Sight::Action);
        while let Some(action) = next(world, self.actions.len()) {
            self.actions.push(action);
            match world.perform(action).map_err(by_action)? {
                Performed::Done => self.lived.done += 1,
                Performed::Skipped => self.lived.skipped += 1,
            }
            world.check_touched().map_err(by_action)?;
            if self.actions.len().is_multiple_of(UNTIL_FULL_CHECK) {
                self.check(world)?;
            }
        }
        match self.ending {
            Ending::Unchecked => {}
            Ending::Checked => self.check(world)?,
            Ending::AllEnd => {
                self.check(world)?;
                world.end().map_err(|what| (what, Sight::End))?;
            }
        }
        let counts = GrowthEvent::ALL.iter().map(|&event| world.count_of(event));
        self.lived.events = counts.collect();
        Ok(())
    }

    fn check(&mut self, world: &mut World<'_>) -> Result<(), (String, Sight)> {
        self.lived.full_checks += 1;
        self.lived.states = self.lived.states.max(world.states());
        world.check().map_err(|what| (what, Sight::Everything))
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(owned).unwrap_or("no message")
}
