//! `fpstate cpu`

use std::io;

use fpstate::{Layout, SwitchInstructions};
use fpstate_arch::enumeration::ComponentEntry;
use fpstate_arch::{ComponentSet, Enumeration, Instruction};
use fpstate_engine::HostCpu;
use serde::Serialize;

use crate::arguments::CpuArguments;
use crate::output::{align_right, print_json, print_line, print_table, table};
use crate::{Answer, CommandError};

/// What a CPU offers.
#[derive(Debug, Serialize)]
struct CpuReport {
    cpu: String,
    instructions: Vec<String>,
    save_instruction_ring0: String,
    save_instruction_user_mode: String,
    /// The bitmap, and its components by name.
    xcr0: u64,
    xcr0_components: Vec<String>,
    user_components: u64,
    supervisor_components: u64,
    mxcsr_mask: u32,
    area_len: AreaLengths,
    components: Vec<ComponentReport>,
}

/// Lengths of areas in bytes; `null` where the CPU has no such format.
#[derive(Debug, Serialize)]
struct AreaLengths {
    standard_for_xcr0: Option<usize>,
    standard_for_all_user_components: Option<usize>,
    compacted_for_xcr0: Option<usize>,
    compacted_for_all_components: Option<usize>,
    /// CPUID.(0DH,0):EBX and ECX: the CPU's own answer to the first two.
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
    /// Whether it is in XCR0; `null` for supervisor components, as IA32_XSS cannot be read here.
    enabled: Option<bool>,
}

pub(crate) fn execute(arguments: &CpuArguments) -> Result<Answer, CommandError> {
    let host = HostCpu::read()?;
    let report = CpuReport::of(&host)?;
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print()?;
    }
    Ok(Answer::Yes)
}

impl CpuReport {
    fn of(host: &HostCpu) -> Result<Self, CommandError> {
        let cpu = host.enumeration();
        let standard = Layout::standard(cpu, cpu.user_components())?;
        let has_compacted = cpu.has(Instruction::Xsavec) || cpu.has(Instruction::Xsaves);
        let compacted = has_compacted
            .then(|| Layout::compacted(cpu, cpu.components()))
            .transpose()?;
        let compacted_for_xcr0 = has_compacted
            .then(|| Layout::compacted(cpu, host.xcr0()))
            .transpose()?;
        Ok(Self {
            cpu: host.name(),
            instructions: cpu.instructions().iter().map(|i| i.to_string()).collect(),
            save_instruction_ring0: SwitchInstructions::for_ring0(cpu).save().to_string(),
            save_instruction_user_mode: SwitchInstructions::for_user_mode(cpu).save().to_string(),
            xcr0: host.xcr0().bits(),
            xcr0_components: names(host.xcr0()),
            user_components: cpu.user_components().bits(),
            supervisor_components: cpu.supervisor_components().bits(),
            mxcsr_mask: host.mxcsr_mask(),
            area_len: AreaLengths {
                standard_for_xcr0: Some(Layout::standard(cpu, host.xcr0())?.area_len()),
                standard_for_all_user_components: Some(standard.area_len()),
                compacted_for_xcr0: compacted_for_xcr0.map(|layout| layout.area_len()),
                compacted_for_all_components: compacted.map(|layout| layout.area_len()),
                cpuid_standard_for_xcr0: cpu.standard_len_for_xcr0(),
                cpuid_standard_for_all_user_components: cpu.standard_len(),
                cpuid_compacted_for_xcr0_and_xss: cpu.compacted_len_for_xcr0_and_xss(),
            },
            components: components(host, &standard, compacted.as_ref(), cpu),
        })
    }

    fn print(&self) -> io::Result<()> {
        print_line(&self.cpu)?;
        print_line(&format!(
            "instructions  {} (switches with {} in ring 0, {} in user mode)",
            self.instructions.join(" "),
            self.save_instruction_ring0,
            self.save_instruction_user_mode
        ))?;
        print_line(&format!(
            "XCR0          {:#x}: {}",
            self.xcr0,
            self.xcr0_components.join("+")
        ))?;
        print_line(&format!("MXCSR_MASK    {:#x}", self.mxcsr_mask))?;
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
        print_table(&table)?;
        let len = &self.area_len;
        print_line(&format!(
            "area for XCR0: {} bytes standard, {} compacted; for everything: {} and {}",
            or_none(len.standard_for_xcr0),
            or_none(len.compacted_for_xcr0),
            or_none(len.standard_for_all_user_components),
            or_none(len.compacted_for_all_components)
        ))
    }
}

fn components(
    host: &HostCpu,
    standard: &Layout<'_>,
    compacted: Option<&Layout<'_>>,
    cpu: &Enumeration,
) -> Vec<ComponentReport> {
    cpu.components()
        .iter()
        .map(|component| {
            let entry = cpu.entry(component);
            let is_supervisor = cpu.supervisor_components().contains(component);
            ComponentReport {
                number: component.number(),
                name: component.to_string(),
                len: entry.map(|entry| entry.len),
                standard_offset: standard.place_of(component).map(|placed| placed.offset()),
                compacted_offset: compacted
                    .and_then(|layout| layout.place_of(component))
                    .map(|placed| placed.offset()),
                compacted_alignment: alignment(entry),
                kind: if is_supervisor { "supervisor" } else { "user" },
                xfd: entry.is_some_and(|entry| entry.has_xfd()),
                enabled: (!is_supervisor).then(|| host.xcr0().contains(component)),
            }
        })
        .collect()
}

impl ComponentReport {
    fn row(&self) -> [String; 9] {
        let legacy = self.len.is_none();
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

fn alignment(entry: Option<ComponentEntry>) -> u32 {
    if entry.is_some_and(ComponentEntry::is_aligned_64) {
        64
    } else {
        1
    }
}

fn names(components: ComponentSet) -> Vec<String> {
    components
        .iter()
        .map(|component| component.to_string())
        .collect()
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}
