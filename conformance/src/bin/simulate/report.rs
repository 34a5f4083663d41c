//! What came of it, as text and as JSON.

use std::fmt::Write;
use std::time::Duration;

use conformance::growth_world::GrowthEvent;
use conformance::simulator::{Counts, Finding, Setting, Shrunk};

/// How it ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing is wrong; what the last actions of a replayed schedule did.
    Nothing { told: Vec<String> },
    /// A world failed.
    Failed {
        setting: Setting,
        finding: Finding,
        shrunk: Box<Shrunk>,
        took: Duration,
    },
    /// The schedule that was replayed fails.
    FailedAgain(Finding),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) first: Setting,
    pub(crate) cpus: Vec<&'static str>,
    pub(crate) counts: Counts,
    /// Without the time for shrinking.
    pub(crate) lived: Duration,
    pub(crate) outcome: Outcome,
}

impl Report {
    /// Actions of worlds that ended well, and of the one that did not.
    fn actions(&self) -> u64 {
        let of = |finding: &Finding| u64::try_from(finding.actions.len()).unwrap_or(u64::MAX);
        self.counts.actions
            + match &self.outcome {
                Outcome::Nothing { .. } => 0,
                Outcome::Failed { finding, .. } | Outcome::FailedAgain(finding) => of(finding),
            }
    }

    fn actions_per_second(&self) -> u128 {
        let micros = self.lived.as_micros().max(1);
        u128::from(self.actions()) * 1_000_000 / micros
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text).expect("a string takes all");
        text
    }

    fn write_text(&self, text: &mut String) -> std::fmt::Result {
        let Counts {
            worlds,
            full_checks,
            states,
            ..
        } = self.counts;
        let (cpus, kinds) = (self.first.cpus, self.cpus.join(", "));
        let (threads, guests) = (self.first.room.threads, self.first.room.guests);
        writeln!(text, "{cpus} CPUs of {kinds}")?;
        writeln!(
            text,
            "room for {threads} threads and {guests} vCPUs, {states} states at most"
        )?;
        writeln!(
            text,
            "{worlds} worlds from seed {} ended well; {} actions in {:.1} s, {} a second; {full_checks} checks of everything; {} MiB",
            self.first.seed,
            self.actions(),
            self.lived.as_secs_f64(),
            self.actions_per_second(),
            peak_kib() / 1024,
        )?;
        match &self.outcome {
            Outcome::Nothing { told } => {
                tell(text, told)?;
                writeln!(text, "nothing is wrong")
            }
            Outcome::FailedAgain(finding) => {
                tell(text, &finding.told)?;
                writeln!(text, "wrong: {finding}")
            }
            Outcome::Failed {
                setting,
                finding,
                shrunk,
                took,
            } => {
                writeln!(text, "wrong: {finding}")?;
                writeln!(text, "in the world {setting}")?;
                let Shrunk { from, trials, .. } = shrunk.as_ref();
                let len = shrunk.schedule.actions.len();
                writeln!(
                    text,
                    "from {from} actions to {len}, by {trials} trials in {:.1} s; for --replay FILE, or a test:\n",
                    took.as_secs_f64(),
                )?;
                write!(text, "{}", shrunk.schedule)?;
                writeln!(text, "# {}", shrunk.finding.what)?;
                writeln!(text, "\nwhat its last actions do:")?;
                tell(text, &shrunk.finding.told)
            }
        }
    }

    pub(crate) fn json(&self) -> String {
        let events = GrowthEvent::ALL.iter().zip(&self.counts.events);
        let events: Vec<_> = events
            .map(|(event, count)| format!("\"{event:?}\":{count}"))
            .collect();
        let (violation, shrunk) = match &self.outcome {
            Outcome::Nothing { .. } => ("null".into(), "null".into()),
            Outcome::FailedAgain(finding) => (quoted(&finding.what), "null".into()),
            Outcome::Failed {
                setting,
                finding,
                shrunk,
                took,
            } => {
                let Shrunk { from, trials, .. } = shrunk.as_ref();
                let shrunk = format!(
                    "{{\"world\":{},\"from\":{from},\"actions\":{},\"trials\":{trials},\"seconds\":{:.3},\"what\":{},\"schedule\":{}}}",
                    quoted(&setting.to_string()),
                    shrunk.schedule.actions.len(),
                    took.as_secs_f64(),
                    quoted(&shrunk.finding.what),
                    quoted(&shrunk.schedule.to_string()),
                );
                (quoted(&finding.what), shrunk)
            }
        };
        let cpus: Vec<_> = self.cpus.iter().map(|cpu| quoted(cpu)).collect();
        format!(
            "{{\"seed\":{},\"kinds\":[{}],\"cpus\":{},\"threads\":{},\"vcpus\":{},\"fault\":{},\"worlds\":{},\"actions\":{},\"full_checks\":{},\"states\":{},\"seconds\":{:.3},\"actions_per_second\":{},\"peak_kib\":{},\"events\":{{{}}},\"violation\":{violation},\"shrunk\":{shrunk}}}",
            self.first.seed,
            cpus.join(","),
            self.first.cpus,
            self.first.room.threads,
            self.first.room.guests,
            quoted(self.first.fault.name()),
            self.counts.worlds,
            self.actions(),
            self.counts.full_checks,
            self.counts.states,
            self.lived.as_secs_f64(),
            self.actions_per_second(),
            peak_kib(),
            events.join(","),
        )
    }
}

fn tell(text: &mut String, told: &[String]) -> std::fmt::Result {
    told.iter().try_for_each(|what| writeln!(text, "  {what}"))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".into(),
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
        c => c.into(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// The most memory this process had; 0 where nobody says.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|word| word.parse().ok()).unwrap_or(0)
}
