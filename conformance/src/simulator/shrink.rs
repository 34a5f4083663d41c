//! A failing schedule made short, by leaving out what is not needed (Zeller's delta debugging), and
//! its world made small.

use super::schedule::Schedule;
use super::setting::Setting;
use super::trial::{Ending, Finding, Sight, Trial};
use crate::growth_world::{Action, Room};

/// After so many trials what was found by then is good enough.
const MOST_TRIALS: u64 = 20_000;

/// The shortest schedule found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// It.
    pub schedule: Schedule,
    /// What is wrong at its end.
    pub finding: Finding,
    /// How many actions it was found by.
    pub from: usize,
    /// How many schedules were tried.
    pub trials: u64,
}

/// The shortest schedule found that fails in the same way as `finding` in a world of `setting`.
#[must_use]
pub fn shrunk(setting: &Setting, finding: &Finding) -> Shrunk {
    let mut shrinking = Shrinking {
        setting: *setting,
        kind: finding.kind(),
        // What an action's own check finds it finds in a shorter list too, and much faster.
        ending: match finding.sight {
            Sight::Action => Ending::Unchecked,
            Sight::Everything => Ending::Checked,
            Sight::End => Ending::AllEnd,
        },
        best: finding.clone(),
        trials: 0,
    };
    shrinking.try_last_actions();
    shrinking.leave_out();
    loop {
        let before = shrinking.size();
        shrinking.try_small_world();
        shrinking.leave_out();
        if shrinking.size() == before {
            break;
        }
    }
    Shrunk {
        schedule: Schedule {
            setting: shrinking.setting,
            actions: shrinking.best.actions.clone(),
        },
        finding: shrinking.best,
        from: finding.actions.len(),
        trials: shrinking.trials,
    }
}

struct Shrinking {
    setting: Setting,
    kind: String,
    ending: Ending,
    best: Finding,
    trials: u64,
}

impl Shrinking {
    fn size(&self) -> (usize, Setting) {
        (self.best.actions.len(), self.setting)
    }

    /// Whether `actions` fail in the same way in a world of `setting`; they are the best then.
    fn fails(&mut self, setting: Setting, actions: &[Action]) -> bool {
        if self.trials == MOST_TRIALS {
            return false;
        }
        self.trials += 1;
        match Trial::of(&setting, self.ending).replay(actions) {
            Err(found) if found.kind() == self.kind => {
                (self.setting, self.best) = (setting, found);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The world is full from the beginning, so the last actions mostly fail alone.
    fn try_last_actions(&mut self) {
        let all = self.best.actions.clone();
        let lengths = std::iter::successors(Some(1), |length| Some(length * 2));
        for length in lengths.take_while(|&length| length < all.len()) {
            if self.fails(self.setting, &all[all.len() - length..]) {
                return;
            }
        }
    }

    /// Long pieces first, then shorter ones, until no single action can be left out.
    fn leave_out(&mut self) {
        let mut piece = self.best.actions.len().div_ceil(2).max(1);
        loop {
            let before = self.best.actions.len();
            self.leave_out_pieces(piece);
            let shorter = self.best.actions.len() < before;
            match (piece, shorter) {
                (1, false) => return,
                (1, true) => {}
                (_, _) => piece /= 2,
            }
        }
    }

    /// From the end, where what led to the failure is.
    fn leave_out_pieces(&mut self, piece: usize) {
        let mut end = self.best.actions.len();
        while end > 0 {
            let start = end.saturating_sub(piece);
            let (before, after) = (&self.best.actions[..start], &self.best.actions[end..]);
            let shorter = [before, after].concat();
            self.fails(self.setting, &shorter);
            end = start.min(self.best.actions.len());
        }
    }

    /// Fewer CPUs, threads and guests: the smallest world that fails, and CPUs numbered from 0.
    fn try_small_world(&mut self) {
        let mut used: Vec<_> = self.best.actions.iter().map(|action| action.cpu).collect();
        used.sort_unstable();
        used.dedup();
        let number = |cpu| used.iter().position(|&used| used == cpu);
        let renumbered = |action: &Action| Action {
            cpu: number(action.cpu)
                .and_then(|cpu| u16::try_from(cpu).ok())
                .unwrap_or(0),
            ..*action
        };
        let actions: Vec<_> = self.best.actions.iter().map(renumbered).collect();
        let given = self.setting;
        let rooms = std::iter::successors(Some(Room::SMALL), |room| {
            Some(Room {
                threads: room.threads * 2,
                guests: room.guests * 2,
            })
        });
        let smaller = |room: &Room| room.threads < given.room.threads;
        let not_larger = rooms.take_while(smaller).chain([given.room]);
        for room in not_larger {
            let setting = Setting {
                cpus: used.len().max(1),
                room: Room {
                    threads: room.threads.min(given.room.threads),
                    guests: room.guests.min(given.room.guests),
                },
                ..given
            };
            if setting == given || self.fails(setting, &actions) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::*;

    fn found(fault: &str, seed: u64) -> (Setting, Finding) {
        let setting = Setting {
            cpu: "sapphire-rapids",
            cpus: 8,
            room: Room {
                threads: 30,
                guests: 30,
            },
            seed,
            fault: Fault::by_name(fault).unwrap(),
        };
        let lived = Trial::of(&setting, Ending::AllEnd).live(20_000);
        (setting, lived.expect_err("nothing was found"))
    }

    #[test]
    fn what_is_left_fails_in_the_same_way_and_without_any_one_action_it_does_not() {
        let (setting, finding) = found("keeps-expansion-at-exec", 2);
        let shrunk = shrunk(&setting, &finding);
        let schedule = &shrunk.schedule;
        assert_eq!(shrunk.finding.kind(), finding.kind());
        assert_eq!(schedule.replay().unwrap_err().kind(), finding.kind());
        assert!((3..=12).contains(&schedule.actions.len()), "{schedule}");
        assert!(schedule.actions.len() < shrunk.from);
        for left_out in 0..schedule.actions.len() {
            let mut shorter = schedule.clone();
            shorter.actions.remove(left_out);
            let same = |found: Finding| found.kind() == finding.kind();
            assert!(!shorter.replay().is_err_and(same), "{shorter}");
        }
    }

    #[test]
    fn the_world_is_made_small_and_its_cpus_are_numbered_from_0() {
        let (setting, finding) = found("skips-saves", 1);
        let Shrunk { schedule, .. } = shrunk(&setting, &finding);
        assert!(schedule.setting.cpus < setting.cpus, "{schedule}");
        assert!(schedule.setting.room.guests < setting.room.guests);
        let used = |cpu| schedule.actions.iter().any(|a| usize::from(a.cpu) == cpu);
        assert!((0..schedule.setting.cpus).all(used), "{schedule}");
    }

    #[test]
    fn what_only_a_check_of_everything_or_the_end_finds_is_looked_for_there() {
        let (setting, finding) = found("skips-saves", 1);
        let seen_later = Finding {
            sight: Sight::Everything,
            ..finding
        };
        let Shrunk { finding, .. } = shrunk(&setting, &seen_later);
        assert!(finding.actions.len() < 10);
    }
}
