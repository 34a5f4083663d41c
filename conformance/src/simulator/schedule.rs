//! A setting and a list of actions, as text.

use std::fmt;
use std::str::FromStr;

use super::setting::{Setting, SettingError};
use super::trial::{Ending, Finding, Lived, Trial};
use crate::growth_world::{Action, ActionError};

/// What is done in a world, from its beginning.
///
/// As text: the setting, then an action a line; `#` begins a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The world.
    pub setting: Setting,
    /// What is done in it.
    pub actions: Vec<Action>,
}

impl Schedule {
    /// Does it all, and checks everything after it.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn replay(&self) -> Result<Lived, Finding> {
        Trial::of(&self.setting, Ending::AllEnd).replay(&self.actions)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        self.actions
            .iter()
            .try_for_each(|action| writeln!(f, "{action}"))
    }
}

/// What is wrong with the text of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// There is nothing in it.
    Empty,
    /// The first line.
    Setting {
        /// Its number.
        line: usize,
        /// What is wrong.
        error: SettingError,
    },
    /// A line after it.
    Action {
        /// Its number.
        line: usize,
        /// What is wrong.
        error: ActionError,
    },
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no schedule: nothing but comments"),
            Self::Setting { line, error } => write!(f, "line {line}: {error}"),
            Self::Action { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl std::error::Error for ScheduleError {}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let lines = text.lines().map(|line| line.split('#').next());
        let lines = lines.map(|line| line.unwrap_or_default().trim());
        let mut lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
        let (line, setting) = lines.next().ok_or(ScheduleError::Empty)?;
        let setting = setting
            .parse()
            .map_err(|error| ScheduleError::Setting { line, error })?;
        let action = |(line, text): (usize, &str)| {
            text.parse()
                .map_err(|error| ScheduleError::Action { line, error })
        };
        Ok(Self {
            setting,
            actions: lines.map(action).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;
    use crate::growth_world::{Deed, Room};

    fn schedule() -> Schedule {
        Schedule {
            setting: Setting {
                cpu: "sapphire-rapids",
                cpus: 64,
                room: Room {
                    threads: 500,
                    guests: 1000,
                },
                seed: 7,
                fault: Fault::NONE,
            },
            actions: vec![Action {
                deed: Deed::Grow,
                cpu: 3,
                seed: 0xa,
            }],
        }
    }

    #[test]
    fn a_schedule_is_read_as_it_is_written_and_comments_are_not() {
        let text = format!("# found today\n\n{}# the end", schedule());
        assert_eq!(text.parse(), Ok(schedule()));
    }

    #[test]
    fn every_fault_and_every_cpu_is_read_as_it_is_written() {
        for &fault in Fault::ALL {
            for cpu in super::super::setting::cpu_names() {
                let setting = Setting {
                    cpu,
                    fault,
                    ..schedule().setting
                };
                assert_eq!(setting.to_string().parse(), Ok(setting));
            }
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_line() {
        let refusal = |text: &str| text.parse::<Schedule>().unwrap_err();
        assert_eq!(refusal("# nothing\n"), ScheduleError::Empty);
        let written = schedule().to_string();
        let setting = |from: &str, to: &str| refusal(&written.replace(from, to));
        let error = SettingError::Cpu("abacus".into());
        let in_line_1 = ScheduleError::Setting { line: 1, error };
        assert_eq!(setting("sapphire-rapids", "abacus"), in_line_1);
        let error = SettingError::Number("0".into());
        let in_line_1 = ScheduleError::Setting { line: 1, error };
        assert_eq!(setting("cpus=64", "cpus=0"), in_line_1);
        let error = SettingError::Form;
        let in_line_1 = ScheduleError::Setting { line: 1, error };
        assert_eq!(setting("seed=", "need="), in_line_1);
        let error = SettingError::Fault("all".into());
        let in_line_1 = ScheduleError::Setting { line: 1, error };
        assert_eq!(setting("fault=none", "fault=all"), in_line_1);
        let error = ActionError::Words(1);
        let in_line_3 = ScheduleError::Action { line: 3, error };
        assert_eq!(refusal(&format!("{written}grow\n")), in_line_3);
    }
}
