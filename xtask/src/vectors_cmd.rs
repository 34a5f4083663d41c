//! `cargo xtask vectors`: no instruction of the kernel touches an extended register, but in the
//! library's wrappers and in the code of guests and user programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use iced_x86::{Formatter, Instruction, IntelFormatter};
use serde::Serialize;

use crate::arguments::VectorsArguments;
use crate::extended_instruction::ExtendedInstructions;
use crate::image_code::{CodeSection, ImageCode, ImageError, Place};
use crate::{Answer, CommandError, kernel_image, output};

/// The code of guests and user programs: lib.rs of the hypervisor says how code gets there.
const THEIR_SECTIONS: [&str; 2] = [".user_code", ".guest_code"];
/// Code for three modes of the CPU, and data among it.
const BOOT_SECTION: &str = ".boot";
/// The crate with the wrappers. They are inlined here and there, so the line tables must tell.
const WRAPPERS: &str = "crates/fpstate-native/src/";

/// Its routines of assembly alone, of which line tables know nothing: naked functions.
const ROUTINES: &str = "fpstate_native::register_moves::";

/// Instructions that must not be, in one function.
#[derive(Debug, Default, Serialize)]
struct Offences {
    /// Each as `address: instruction, file:line`.
    instructions: Vec<String>,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    image: PathBuf,
    /// Instructions that were decoded.
    instructions: u64,
    /// Those of them that touch extended registers where they may.
    in_wrappers: u64,
    /// Those of which the line tables know the function.
    #[serde(skip)]
    with_lines: u64,
    /// By function.
    offenders: BTreeMap<String, Offences>,
}

/// Looks through the image and says what it found.
pub(crate) fn execute(arguments: &VectorsArguments) -> Result<Answer, CommandError> {
    let image = match &arguments.image {
        Some(image) => image.clone(),
        None => kernel_image::build()?,
    };
    let findings = look_through(image)?;
    if arguments.json {
        output::print_json(&findings)?;
    } else {
        say(&findings)?;
    }
    Ok(if findings.offenders.is_empty() {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn say(findings: &Findings) -> Result<(), CommandError> {
    for (function, offences) in &findings.offenders {
        output::print_line(function)?;
        for instruction in &offences.instructions {
            output::print_line(&format!("    {instruction}"))?;
        }
    }
    let functions = findings.offenders.len();
    output::print_line(&format!(
        "{} instructions; on extended registers: {} in the wrappers, {}",
        findings.instructions,
        findings.in_wrappers,
        match functions {
            0 => "none elsewhere".to_owned(),
            _ => format!("others in {functions} functions that must have none"),
        }
    ))?;
    Ok(())
}

fn look_through(image: PathBuf) -> Result<Findings, ImageError> {
    let code = ImageCode::read(&image)?;
    let mut findings = Findings {
        image,
        ..Findings::default()
    };
    for section in &code.sections {
        let name = section.name.as_str();
        if name != BOOT_SECTION && !THEIR_SECTIONS.contains(&name) {
            look_through_section(&code, section, &mut findings)?;
        }
    }
    if findings.with_lines == 0 && !findings.offenders.is_empty() {
        return Err(code.no_line_tables());
    }
    Ok(findings)
}

fn look_through_section(
    code: &ImageCode,
    section: &CodeSection,
    findings: &mut Findings,
) -> Result<(), ImageError> {
    let mut extended = ExtendedInstructions::new();
    section.for_each_instruction(|symbol, instruction| {
        findings.instructions += 1;
        if !instruction.is_invalid() && !extended.has(instruction) {
            return Ok(());
        }
        let address = instruction.ip();
        let place = code.place(address)?;
        findings.with_lines += u64::from(place.is_some());
        let is_wrapper = symbol.starts_with(ROUTINES)
            || (place.as_ref()).is_some_and(|place| place.file.contains(WRAPPERS));
        if is_wrapper && !instruction.is_invalid() {
            findings.in_wrappers += 1;
            return Ok(());
        }
        let text = text_of(instruction);
        let line = match place {
            Some(Place { file, line }) => format!("{address:#x}: {text}, {file}:{line}"),
            None => format!("{address:#x}: {text}"),
        };
        (findings.offenders.entry(symbol.to_owned()).or_default())
            .instructions
            .push(line);
        Ok(())
    })
}

fn text_of(instruction: &Instruction) -> String {
    if instruction.is_invalid() {
        return "no instruction".to_owned();
    }
    let mut text = String::new();
    IntelFormatter::new().format(instruction, &mut text);
    text
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[inline(never)]
    fn adds_doubles(a: f64, b: f64) -> f64 {
        a + b
    }

    #[test]
    fn a_function_on_doubles_is_found_by_name_and_place() {
        assert_eq!(adds_doubles(1.0, 2.0).to_bits(), 3.0f64.to_bits());
        let findings = look_through(std::env::current_exe().unwrap()).unwrap();
        let name = "xtask::vectors_cmd::tests::adds_doubles";
        let found = &findings.offenders[name].instructions;
        let add = found.iter().find(|line| line.contains("addsd")).unwrap();
        assert!(add.contains("vectors_cmd.rs:"), "{add}");
    }
}
