//! `fpstate cpu`

use std::io;

use fpstate::{Layout, LayoutError, SwitchInstructions};
use fpstate_arch::Component;
use serde::Serialize;

use crate::arguments::CpuArguments;
use crate::component_list::names;
use crate::cpu_choice::{CpuChoice, OddityReport};
use crate::layout_picture::alignment_of;
use crate::output::{align_right, print_json, print_line, print_table, table};
use crate::switching::Switching;
use crate::{Answer, CommandError};

/// What a CPU offers.
#[derive(Debug, Serialize)]
struct CpuReport {
    cpu: String,
    source: String,
    instructions: Vec<String>,
    save_instruction_ring0: String,
    save_instruction_user_mode: String,
    /// The bitmap, and its components by name; `null` for a CPU that is not here.
    xcr0: Option<u64>,
    xcr0_components: Option<Vec<String>>,
    user_components: u64,
    supervisor_components: u64,
    /// `null` for a CPU that is not here.
    mxcsr_mask: Option<u32>,
    area_len: AreaLengths,
    components: Vec<ComponentReport>,
    switching: Switching,
    oddities: Vec<OddityReport>,
}

/// Lengths of areas in bytes; `null` where the CPU has no such format, where CPUID contradicts
/// itself, and what depends on the XCR0 of a CPU that is not here.
#[derive(Debug, Serialize)]
struct AreaLengths {
    standard_for_xcr0: Option<usize>,
    standard_for_all_user_components: Option<usize>,
    compacted_for_xcr0: Option<usize>,
    compacted_for_all_components: Option<usize>,
    /// CPUID.(0DH,0):EBX and ECX: the CPU's own answer to the first two; of a recorded CPU, for the
    /// XCR0 at that time.
    cpuid_standard_for_xcr0: u32,
    cpuid_standard_for_all_user_components: u32,
    /// CPUID.(0DH,1):EBX, for XCR0 and the IA32_XSS that only the kernel knows.
    cpuid_compacted_for_xcr0_and_xss: u32,
}

/// One component.
#[derive(Debug, Serialize)]
struct ComponentReport {
    number: u8,
    name: String,
    /// Length in bytes; `null` for x87 and SSE, which share the legacy region.
    len: Option<u32>,
    /// Offset in the standard format; `null` for supervisor components.
    standard_offset: Option<usize>,
    /// Offset in a compacted area that has every component.
    compacted_offset: Option<usize>,
    /// Alignment in the compacted format, in bytes.
    compacted_alignment: u32,
    kind: &'static str,
    /// Whether IA32_XFD can disable it.
    xfd: bool,
    /// Whether it is in XCR0; `null` for supervisor components, as IA32_XSS cannot be read here, and
    /// for a CPU that is not here.
    enabled: Option<bool>,
}

pub(crate) fn execute(arguments: &CpuArguments) -> Result<Answer, CommandError> {
    let choice = CpuChoice::of(arguments.cpu.as_deref())?;
    let switching = Switching::of(&choice, arguments.switch_by.0)?;
    let report = CpuReport::of(&choice, switching);
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(Answer::Yes)
}

/// The layouts there are; what is wrong where there is none is among the oddities.
struct Layouts<'e> {
    standard: Option<Layout<'e>>,
    standard_for_xcr0: Option<Layout<'e>>,
    compacted: Option<Layout<'e>>,
    compacted_for_xcr0: Option<Layout<'e>>,
}

impl<'e> Layouts<'e> {
    fn of(choice: &'e CpuChoice) -> Self {
        let cpu = &choice.enumeration;
        let xcr0 = choice.running.map(|running| running.xcr0);
        let some = |layout: Result<Layout<'e>, LayoutError>| layout.ok();
        Self {
            standard: some(Layout::standard(cpu, cpu.user_components())),
            standard_for_xcr0: xcr0.and_then(|xcr0| some(Layout::standard(cpu, xcr0))),
            compacted: some(Layout::compacted(cpu, cpu.components())),
            compacted_for_xcr0: xcr0.and_then(|xcr0| some(Layout::compacted(cpu, xcr0))),
        }
    }

    fn lengths(&self, choice: &CpuChoice) -> AreaLengths {
        let cpu = &choice.enumeration;
        let len = |layout: &Option<Layout<'_>>| layout.as_ref().map(Layout::area_len);
        AreaLengths {
            standard_for_xcr0: len(&self.standard_for_xcr0),
            standard_for_all_user_components: len(&self.standard),
            compacted_for_xcr0: len(&self.compacted_for_xcr0),
            compacted_for_all_components: len(&self.compacted),
            cpuid_standard_for_xcr0: cpu.standard_len_for_xcr0(),
            cpuid_standard_for_all_user_components: cpu.standard_len(),
            cpuid_compacted_for_xcr0_and_xss: cpu.compacted_len_for_xcr0_and_xss(),
        }
    }
}

impl CpuReport {
    fn of(choice: &CpuChoice, switching: Switching) -> Self {
        let cpu = &choice.enumeration;
        let layouts = Layouts::of(choice);
        Self {
            switching,
            cpu: choice.name.clone(),
            source: choice.source.description(),
            instructions: cpu.instructions().iter().map(|i| i.to_string()).collect(),
            save_instruction_ring0: SwitchInstructions::for_ring0(cpu).save().to_string(),
            save_instruction_user_mode: SwitchInstructions::for_user_mode(cpu).save().to_string(),
            xcr0: choice.running.map(|running| running.xcr0.bits()),
            xcr0_components: choice.running.map(|running| names(running.xcr0)),
            user_components: cpu.user_components().bits(),
            supervisor_components: cpu.supervisor_components().bits(),
            mxcsr_mask: choice.running.map(|running| running.mxcsr_mask),
            area_len: layouts.lengths(choice),
            components: components(choice, &layouts),
            oddities: choice.oddity_reports(),
        }
    }

    fn print(&self) -> io::Result<()> {
        print_line(&format!("{} ({})", self.cpu, self.source))?;
        print_line(&format!(
            "instructions  {} (switches with {} in ring 0, {} in user mode)",
            self.instructions.join(" "),
            self.save_instruction_ring0,
            self.save_instruction_user_mode
        ))?;
        if let (Some(xcr0), Some(components)) = (self.xcr0, &self.xcr0_components) {
            print_line(&format!(
                "XCR0          {xcr0:#x}: {}",
                components.join("+")
            ))?;
        }
        if let Some(mask) = self.mxcsr_mask {
            print_line(&format!("MXCSR_MASK    {mask:#x}"))?;
        }
        self.print_components()?;
        self.print_lengths()?;
        self.switching.print()?;
        for oddity in &self.oddities {
            print_line(&format!("odd: {oddity}"))?;
        }
        Ok(())
    }

    fn print_components(&self) -> io::Result<()> {
        let mut table = table(&[
            "number",
            "component",
            "bytes",
            "standard",
            "compacted",
            "align",
            "kind",
            "XFD",
            "enabled",
        ]);
        for component in &self.components {
            table.add_row(component.row());
        }
        align_right(&mut table, &[0, 2, 3, 4, 5]);
        print_table(&table)
    }

    fn print_lengths(&self) -> io::Result<()> {
        let len = &self.area_len;
        let for_xcr0 = self.xcr0.map_or(String::new(), |_| {
            format!(
                "for XCR0: {} bytes standard, {} compacted; ",
                or_none(len.standard_for_xcr0),
                or_none(len.compacted_for_xcr0)
            )
        });
        print_line(&format!(
            "area {for_xcr0}for everything: {} bytes standard, {} compacted",
            or_none(len.standard_for_all_user_components),
            or_none(len.compacted_for_all_components)
        ))
    }
}

fn components(choice: &CpuChoice, layouts: &Layouts<'_>) -> Vec<ComponentReport> {
    let cpu = &choice.enumeration;
    let offset = |layout: &Option<Layout<'_>>, component| {
        let placed = layout.as_ref()?.place_of(component)?;
        Some(placed.offset())
    };
    cpu.components()
        .iter()
        .map(|component| {
            let entry = cpu.entry(component);
            let is_supervisor = cpu.supervisor_components().contains(component);
            let running = choice.running.filter(|_| !is_supervisor);
            ComponentReport {
                number: component.number(),
                name: component.to_string(),
                len: entry.map(|entry| entry.len),
                standard_offset: offset(&layouts.standard, component),
                compacted_offset: offset(&layouts.compacted, component),
                compacted_alignment: alignment_of(entry),
                kind: if is_supervisor { "supervisor" } else { "user" },
                xfd: entry.is_some_and(|entry| entry.has_xfd()),
                enabled: running.map(|running| running.xcr0.contains(component)),
            }
        })
        .collect()
}

impl ComponentReport {
    fn row(&self) -> [String; 9] {
        let legacy = Component::from_number(self.number).is_some_and(Component::is_legacy);
        let offset = |offset: Option<usize>| match offset {
            None if legacy => "legacy".to_owned(),
            other => or_none(other),
        };
        let enabled = match self.enabled {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        [
            self.number.to_string(),
            self.name.clone(),
            or_none(self.len),
            offset(self.standard_offset),
            offset(self.compacted_offset),
            self.compacted_alignment.to_string(),
            self.kind.to_owned(),
            if self.xfd {
                "yes".to_owned()
            } else {
                String::new()
            },
            enabled.to_owned(),
        ]
    }
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
