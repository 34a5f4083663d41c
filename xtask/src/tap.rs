//! What the kernel says about its scenarios: TAP, a line each.

use serde::Serialize;

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
}

/// A scenario and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// Why it failed or was not tried.
    pub(crate) reason: Option<String>,
}

/// All that the kernel said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) results: Vec<ScenarioResult>,
    /// Names that were listed.
    pub(crate) names: Vec<String>,
    /// How many scenarios the kernel counted, said at the end.
    pub(crate) plan: Option<usize>,
    /// Why the kernel gave up.
    pub(crate) bail_out: Option<String>,
}

impl Report {
    /// Takes a line.
    pub(crate) fn take(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("ok ") {
            self.results.extend(result(text, Verdict::Passed));
        } else if let Some(text) = line.strip_prefix("not ok ") {
            self.results.extend(result(text, Verdict::Failed));
        } else if let Some(count) = line.strip_prefix("1..") {
            self.plan = count.parse().ok();
        } else if let Some(why) = line.strip_prefix("Bail out!") {
            self.bail_out.get_or_insert(why.trim().to_owned());
        } else if let Some(name) = line.strip_prefix("scenario ") {
            self.names.push(name.to_owned());
        }
    }

    /// How many scenarios ended so.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        (self.results.iter())
            .filter(|result| result.verdict == verdict)
            .count()
    }
}

/// Reads `3 - name # reason`.
fn result(text: &str, verdict: Verdict) -> Option<ScenarioResult> {
    let (number, rest) = text.split_once(" - ")?;
    number.parse::<usize>().ok()?;
    let (name, directive) = match rest.split_once(" # ") {
        Some((name, directive)) => (name, Some(directive)),
        None => (rest, None),
    };
    let skipped = directive.and_then(|directive| directive.strip_prefix("SKIP "));
    let (verdict, reason) = match skipped {
        Some(reason) => (Verdict::Skipped, Some(reason)),
        None => (verdict, directive),
    };
    Some(ScenarioResult {
        name: name.to_owned(),
        verdict,
        reason: reason.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_it_says() {
        let mut report = Report::default();
        for line in [
            "TAP version 14",
            "ok 1 - a-state-comes-back",
            "not ok 2 - b # XMM7 is 0x0, not 0x1111 # at 3",
            "ok 3 - c # SKIP no SVM",
            "ok so far - not a result",
            "1..3",
            "# passed 1 failed 1 skipped 1",
        ] {
            report.take(line);
        }
        let result = |name: &str, verdict, reason: Option<&str>| ScenarioResult {
            name: name.to_owned(),
            verdict,
            reason: reason.map(str::to_owned),
        };
        let expected = [
            result("a-state-comes-back", Verdict::Passed, None),
            result("b", Verdict::Failed, Some("XMM7 is 0x0, not 0x1111 # at 3")),
            result("c", Verdict::Skipped, Some("no SVM")),
        ];
        assert_eq!(report.results, expected);
        assert_eq!(report.plan, Some(3));
        assert_eq!(report.bail_out, None);
    }

    #[test]
    fn the_first_bail_out_counts() {
        let mut report = Report::default();
        report.take("Bail out! vector 14");
        report.take("Bail out! vector 8");
        assert_eq!(report.bail_out.as_deref(), Some("vector 14"));
    }
}
