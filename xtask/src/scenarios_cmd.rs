//! `cargo xtask scenarios`: the kernel boots and prints their names.

use serde::Serialize;

use crate::arguments::ScenariosArguments;
use crate::boot_cmd::early_end;
use crate::emulation::{Boot, EmulatorProgram};
use crate::tap::Report;
use crate::{Answer, CommandError, kernel_image, output};

/// The names, for programs.
#[derive(Debug, Serialize)]
struct ScenariosAnswer<'a> {
    scenarios: &'a [String],
}

/// Builds, boots, and prints the names.
pub(crate) fn execute(arguments: &ScenariosArguments) -> Result<Answer, CommandError> {
    let machine = arguments.machine;
    let image = kernel_image::build()?;
    let boot = Boot {
        image: &image,
        cpu_model: machine.default_cpu(),
        cpus: 1,
        command_line: "list",
        emulator: EmulatorProgram::AsIs,
    };
    let mut report = Report::default();
    let limit = machine.default_limit();
    let end = (machine.prepare(&boot)?).run(limit, |line| {
        report.take(line);
        Ok(())
    })?;
    if report.names.is_empty() {
        let trouble = early_end(&report, &end, limit)
            .unwrap_or_else(|| "the kernel has no scenario".to_owned());
        output::remark(&format!("xtask: {trouble}"))?;
        return Ok(Answer::No);
    }
    if arguments.json {
        output::print_json(&ScenariosAnswer {
            scenarios: &report.names,
        })?;
    } else {
        for name in &report.names {
            output::print_line(name)?;
        }
    }
    Ok(Answer::Yes)
}
