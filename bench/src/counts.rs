//! Each event once under each policy, counted.

use fpstate_arch::Processor;
use serde::Serialize;

use crate::counted::Counted;
use crate::event::Event;
use crate::image::{ByInstructions, ByMoves};
use crate::policy::PolicyError;
use crate::policy_name::{PerPolicy, PolicyName};
use crate::scenario::Scenario;
use crate::setting::{Boxed, Setting};
use crate::tally::{Counts, Tally};

/// What an event executes under each policy, once what came before has settled.
#[derive(Clone, Debug, Serialize)]
pub struct EventCounts {
    /// What was live.
    pub scenario: Scenario,
    /// What happened.
    pub event: Event,
    /// `null` where the design has no such event, or does not cover what is live.
    pub counts: PerPolicy<Counts>,
}

/// Counts `event` for each policy, on processors that `new_processor` makes.
///
/// # Errors
/// The policies', but for plain moves that do not cover what is live.
pub fn count<'e, P: Processor>(
    setting: &Setting<'e>,
    event: Event,
    mut new_processor: impl FnMut() -> Result<P, PolicyError>,
) -> Result<EventCounts, PolicyError> {
    let mut counts = PerPolicy::default();
    for name in PolicyName::ALL
        .into_iter()
        .filter(|&name| event.is_of(name))
    {
        let tally = Tally::default();
        let processor = Counted::new(new_processor()?, &tally);
        let Some(mut contestant) = counted(setting, name, processor)? else {
            continue;
        };
        match once(&mut contestant, event, &tally) {
            Ok(counted) => counts.set(name, counted),
            Err(PolicyError::NotCovered) => {}
            Err(error) => return Err(error),
        }
    }
    let scenario = setting.scenario;
    Ok(EventCounts {
        scenario,
        event,
        counts,
    })
}

fn counted<'p, P: Processor + 'p>(
    setting: &Setting<'p>,
    name: PolicyName,
    processor: Counted<'p, P>,
) -> Result<Option<Boxed<'p>>, PolicyError> {
    let (instructions, rfbm) = (setting.instructions, setting.layout.components());
    match name {
        PolicyName::PlainMoves => {
            setting.by_mover(name, ByMoves::new(processor, instructions, rfbm))
        }
        PolicyName::InstructionsPair | PolicyName::TwoBuffers | PolicyName::PointerSwap => {
            setting.by_mover(name, ByInstructions::new(processor, instructions, rfbm))
        }
        PolicyName::OursInstructions | PolicyName::OursFull | PolicyName::OursAbi => {
            setting.ours(name, processor)
        }
        PolicyName::XsaveCrate => Ok(None),
    }
}

/// The second time: the first one may find the thread where no earlier one left it.
fn once(contestant: &mut Boxed<'_>, event: Event, tally: &Tally) -> Result<Counts, PolicyError> {
    contestant.prepare(event)?;
    contestant.happen(event, &[0])?;
    tally.take();
    let copied = contestant.bytes_copied();
    contestant.happen(event, &[0])?;
    let counted = tally.take();
    contestant.finish(event)?;
    Ok(counted.with_copied(contestant.bytes_copied() - copied))
}
