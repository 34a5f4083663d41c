//! `fpstate baseline`

use std::collections::BTreeMap;
use std::io;

use crate::baseline_report::{
    BaselineReport, CommonReport, ComponentReport, ExchangeReport, HostReport, PairReport,
    SetReport,
};
use crate::cpu_choice::CpuChoice;
use crate::image_arguments::BaselineArguments;
use crate::output::{align_right, print_json, print_line, print_table, table};
use crate::{Answer, CommandError};

pub(crate) fn execute(arguments: &BaselineArguments) -> Result<Answer, CommandError> {
    let cpus = arguments.cpus.iter().map(|cpu| CpuChoice::of(Some(cpu)));
    let cpus = cpus
        .collect::<Result<Vec<_>, _>>()
        .map_err(CommandError::Host)?;
    let report = BaselineReport::of(&cpus);
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(if report.is_one_pool() {
        Answer::Yes
    } else {
        Answer::No
    })
}

impl BaselineReport {
    fn print(&self) -> io::Result<()> {
        for host in &self.hosts {
            let HostReport {
                number,
                cpu,
                source,
                ..
            } = host;
            print_line(&format!("host {number}: {cpu} ({source})"))?;
        }
        self.common.print()?;
        print_line(&format!("MXCSR_MASK    {}", self.mxcsr_masks()))?;
        self.print_components()?;
        self.print_exchange("the common XCR0", |pair| &pair.common_xcr0)?;
        self.print_exchange("every user component of its host", |pair| &pair.whole_xcr0)?;
        for host in &self.hosts {
            for oddity in &host.oddities {
                print_line(&format!("odd, host {}: {oddity}", host.number))?;
            }
        }
        Ok(())
    }

    fn mxcsr_masks(&self) -> String {
        let known = self.hosts.iter().filter_map(|host| {
            let mask = host.mxcsr_mask?;
            Some(format!("; host {}: {mask:#x}", host.number))
        });
        format!("not in CPUID, so unknown{}", known.collect::<String>())
    }

    fn print_components(&self) -> io::Result<()> {
        let mut table = table(&[
            "number",
            "component",
            "hosts",
            "bytes",
            "standard",
            "align",
            "kind",
            "XFD",
            "common",
        ]);
        for component in &self.components {
            table.add_row(component.row());
        }
        align_right(&mut table, &[0, 3, 4, 5]);
        print_table(&table)
    }

    /// A row for each host that guests come from, and a column for each that they go to.
    fn print_exchange(
        &self,
        guest: &str,
        exchange: impl Fn(&PairReport) -> &ExchangeReport,
    ) -> io::Result<()> {
        if self.pairs.is_empty() {
            return Ok(());
        }
        print_line(&format!(
            "a guest with {guest}, from the row's host to the column's (same: its standard-format \
             image is read as it is):"
        ))?;
        let numbers = || self.hosts.iter().map(|host| host.number);
        let mut header = vec!["from".to_owned()];
        header.extend(numbers().map(|number| number.to_string()));
        let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
        // The pairs are in the order of the rows.
        for pairs in self.pairs.chunk_by(|one, next| one.from == next.from) {
            let mut row: Vec<_> = pairs
                .iter()
                .map(|pair| exchange(pair).answer.to_owned())
                .collect();
            let from = pairs.first().map_or(1, |pair| pair.from);
            row.insert(from - 1, "-".to_owned());
            row.insert(0, from.to_string());
            table.add_row(row);
        }
        print_table(&table)?;
        self.print_reasons(exchange)
    }

    /// Each reason once, with the pairs it is that of.
    fn print_reasons(&self, exchange: impl Fn(&PairReport) -> &ExchangeReport) -> io::Result<()> {
        let mut pairs_of = BTreeMap::<_, Vec<String>>::new();
        for pair in &self.pairs {
            let ExchangeReport { answer, reason } = exchange(pair);
            if !reason.is_empty() {
                let pairs = pairs_of.entry((*answer, reason)).or_default();
                pairs.push(format!("{}-{}", pair.from, pair.to));
            }
        }
        for ((answer, reason), pairs) in pairs_of {
            print_line(&format!("{answer} {}: {reason}", pairs.join(" ")))?;
        }
        Ok(())
    }
}

impl CommonReport {
    fn print(&self) -> io::Result<()> {
        let set = |set: &Option<SetReport>| match set {
            Some(set) => set.description(),
            None => "none".to_owned(),
        };
        let list = |list: String| {
            if list.is_empty() {
                "none".to_owned()
            } else {
                list
            }
        };
        print_line(&format!("common XCR0   {}", set(&self.xcr0)))?;
        print_line(&format!("  same bytes  {}", set(&self.xcr0_same_bytes)))?;
        print_line(&format!("common XSS    {}", self.xss.description()))?;
        print_line(&format!(
            "instructions  {}",
            list(self.instructions.join(" "))
        ))?;
        print_line(&format!("formats       {}", list(self.formats.join(", "))))
    }
}

impl ComponentReport {
    fn row(&self) -> [String; 9] {
        let figures = |figures: &[Option<u32>]| {
            join(figures, |figure| {
                figure.map_or("-".to_owned(), |figure| figure.to_string())
            })
        };
        let hosts = if self.lacking.is_empty() {
            "all".to_owned()
        } else {
            let numbers: Vec<_> = self.hosts.iter().map(usize::to_string).collect();
            numbers.join(" ")
        };
        [
            self.number.to_string(),
            self.name.clone(),
            hosts,
            figures(&self.len),
            figures(&self.standard_offset),
            join(&self.compacted_alignment, u32::to_string),
            self.kind.to_owned(),
            join(&self.xfd, |xfd| {
                (if *xfd { "yes" } else { "no" }).to_owned()
            }),
            (if self.common { "yes" } else { "" }).to_owned(),
        ]
    }
}

fn join<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    values.iter().map(text).collect::<Vec<_>>().join(" or ")
}
