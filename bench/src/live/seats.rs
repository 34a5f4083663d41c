//! One of each policy, on this CPU.

use fpstate_engine::footprint::LiveHeapBytes;
use xsave::XSave;

use crate::bench_error::BenchError;
use crate::image::ByMoves;
use crate::live::bare::{BareInstructions, CrateXsave, live_processor};
use crate::live::contest::{Competitor, Seat};
use crate::live::own_registers::OwnRegisters;
use crate::live::this_cpu::ThisCpu;
use crate::live::touch::Touch;
use crate::policy::PolicyError;
use crate::policy_name::{PerPolicy, PolicyName};
use crate::setting::{Boxed, Setting};

/// Everybody that can run here.
pub(super) fn all<'e>(
    cpu: &'e ThisCpu,
    setting: &Setting<'e>,
    registers: &mut OwnRegisters<'e>,
) -> Result<Vec<Seat<'e>>, BenchError> {
    let mut seats = Vec::new();
    for name in PolicyName::ALL {
        if let Some(contestant) = of_policy(name, cpu, setting, registers)? {
            let competitor = Competitor::Policy(name);
            seats.push(Seat {
                competitor,
                contestant,
            });
        }
    }
    Ok(seats)
}

/// The same, for another way to measure them.
///
/// # Errors
/// A CPUID that contradicts itself, or no memory.
pub fn contestants<'e>(
    cpu: &'e ThisCpu,
    setting: &Setting<'e>,
) -> Result<Vec<(PolicyName, Boxed<'e>)>, BenchError> {
    let seats = all(cpu, setting, &mut OwnRegisters::new(cpu)?)?;
    let named = seats.into_iter().map(|seat| match seat.competitor {
        Competitor::Policy(name) => Some((name, seat.contestant)),
        Competitor::Touch => None,
    });
    Ok(named.flatten().collect())
}

/// A seat for the cache lines alone.
pub(super) fn touch<'e>(setting: &Setting<'e>) -> Result<Seat<'e>, BenchError> {
    Ok(Seat {
        competitor: Competitor::Touch,
        contestant: Box::new(Touch::new(setting)?),
    })
}

fn of_policy<'e>(
    name: PolicyName,
    cpu: &'e ThisCpu,
    setting: &Setting<'e>,
    registers: &mut OwnRegisters<'e>,
) -> Result<Option<Boxed<'e>>, BenchError> {
    let (instructions, rfbm) = (setting.instructions, setting.layout.components());
    Ok(match name {
        PolicyName::InstructionsPair | PolicyName::TwoBuffers | PolicyName::PointerSwap => {
            setting.by_mover(name, BareInstructions::new(cpu)?)?
        }
        PolicyName::PlainMoves => {
            setting.by_mover(name, ByMoves::new(live_processor(), instructions, rfbm))?
        }
        PolicyName::XsaveCrate => xsave_crate(cpu, setting, registers)?,
        PolicyName::OursInstructions | PolicyName::OursFull | PolicyName::OursAbi => {
            setting.ours(name, live_processor())?
        }
    })
}

fn xsave_crate<'e>(
    cpu: &'e ThisCpu,
    setting: &Setting<'e>,
    registers: &mut OwnRegisters<'e>,
) -> Result<Option<Boxed<'e>>, PolicyError> {
    let Some(mut policy) = CrateXsave::new(cpu) else {
        return Ok(None);
    };
    // Nothing between load and save: whatever allocates or clears memory uses the registers.
    let thread = setting.thread_area()?;
    registers.load(&thread)?;
    policy.thread().save();
    for vcpu in 0..setting.vcpus {
        let (guest, mut state) = (setting.guest_area(vcpu)?, Box::<XSave>::default());
        registers.load(&guest)?;
        state.save();
        policy.push(state);
    }
    registers.initialise()?;
    Ok(Some(Box::new(policy)))
}

/// What each policy allocates for a vCPU: what it allocates for all, without what it does for none.
pub(super) fn bytes_per_vcpu<'e>(
    cpu: &'e ThisCpu,
    setting: &Setting<'e>,
    registers: &mut OwnRegisters<'e>,
    live: LiveHeapBytes,
) -> Result<PerPolicy<f64>, BenchError> {
    let mut bytes = PerPolicy::default();
    let none = Setting {
        vcpus: 0,
        ..*setting
    };
    for name in PolicyName::ALL {
        let mut held = |setting: &Setting<'e>| {
            let before = live();
            let contestant = of_policy(name, cpu, setting, registers)?;
            let after = live();
            Ok::<_, BenchError>(contestant.map(|_| after.saturating_sub(before)))
        };
        if let (Some(all), Some(without)) = (held(setting)?, held(&none)?) {
            let grown = all.saturating_sub(without);
            bytes.set(name, grown as f64 / setting.vcpus as f64);
        }
    }
    Ok(bytes)
}
