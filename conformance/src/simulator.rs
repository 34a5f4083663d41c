//! The simulator: large [growth worlds](crate::growth_world), on CPUs of every kind, from seeds.
//!
//! A world of 64 CPUs, 500 threads and 1,000 vCPUs cannot be exhausted; what it adds to small worlds is
//! what needs many: states that wait for long, memory that was many states' before, every CPU holding a
//! stale copy of somebody. Each [`Setting`] has a seed, from which all follows. A world that fails is
//! [`shrunk`] to a few actions, a [`Schedule`] that is text and can be run again.
//!
//! After each action what it had to do with is checked, and everything now and then and at the end.
//!
//! * [`Fault`] - what is broken on purpose
//! * [`Setting`] - everything about a world but its actions
//! * [`Schedule`] - a setting and a list of actions, as text
//! * [`Trial`] - one world's life
//! * [`shrunk`] - the shortest list that fails in the same way
//! * [`Campaign`] - world after world

mod campaign;
mod fault;
mod schedule;
mod setting;
mod shrink;
mod trial;

pub use campaign::{Campaign, Counts};
pub use fault::Fault;
pub use schedule::{Schedule, ScheduleError};
pub use setting::{Setting, SettingError, cpu_by_name, cpu_names};
pub use shrink::{Shrunk, shrunk};
pub use trial::{Ending, Finding, Lived, Sight, Trial};
