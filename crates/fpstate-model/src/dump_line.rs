//! One line of a CPUID dump.

use fpstate_arch::CpuidRegisters;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The registers of a leaf.
    Figures {
        leaf: u32,
        subleaf: Subleaf,
        registers: CpuidRegisters,
    },
    /// `CPU 1:`, before the leaves of a CPU.
    NextCpu,
    /// A heading, a comment, anything else.
    Other,
}

/// Where the sub-leaf is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subleaf {
    Written(u32),
    /// The line ends before one: sub-leaf 0, or the rest is cut off.
    LeftOut,
}

impl Subleaf {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Written(number) => number,
            Self::LeftOut => 0,
        }
    }
}

/// A line that begins like figures and does not go on like them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

/// Reads one line, without its line feed.
pub(crate) fn read(line: &[u8]) -> Result<Line, Cut> {
    let line = line.trim_ascii();
    if let Some(rest) = line.strip_prefix(b"CPUID ") {
        return table_line(rest);
    }
    if let Some(rest) = line.strip_prefix(b"0x") {
        return raw_line(rest);
    }
    Ok(match line.strip_prefix(b"CPU") {
        Some(rest) if is_cpu_heading(rest) => Line::NextCpu,
        Some(_) | None => Line::Other,
    })
}

/// `CPU 12:`, or `CPU:` when only one was asked for.
fn is_cpu_heading(rest: &[u8]) -> bool {
    rest.strip_suffix(b":")
        .is_some_and(|number| number.trim_ascii().iter().all(u8::is_ascii_digit))
}

/// `0000000D: 00000007-00000340-00000340-00000000 [SL 00] [x87]`, after `CPUID `. Words that happen
/// to begin with a hexadecimal digit, as in `CPUID CPU Name`, are no figures.
fn table_line(rest: &[u8]) -> Result<Line, Cut> {
    let (digits, rest) = hexadecimal_digits(rest);
    let leaf = match (digits.len(), rest.first()) {
        (1..=8, None) => return Err(Cut),
        (8, Some(b':')) => number(digits).ok_or(Cut)?,
        (_, _) => return Ok(Line::Other),
    };
    let rest = rest.strip_prefix(b":").ok_or(Cut)?.trim_ascii_start();
    let (eax, rest) = eight_digits(rest)?;
    let (ebx, rest) = eight_digits(rest.strip_prefix(b"-").ok_or(Cut)?)?;
    let (ecx, rest) = eight_digits(rest.strip_prefix(b"-").ok_or(Cut)?)?;
    let (edx, rest) = eight_digits(rest.strip_prefix(b"-").ok_or(Cut)?)?;
    Ok(Line::Figures {
        leaf,
        subleaf: bracketed_subleaf(rest)?,
        registers: CpuidRegisters { eax, ebx, ecx, edx },
    })
}

/// ` [SL 0B] [CET_U]`, ` [GenuineIntel]`, or nothing.
fn bracketed_subleaf(rest: &[u8]) -> Result<Subleaf, Cut> {
    if rest.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(Cut);
    }
    let rest = rest.trim_ascii_start();
    if rest.first() == Some(&b'[') && !rest.contains(&b']') {
        return Err(Cut);
    }
    let Some(rest) = rest.strip_prefix(b"[SL ") else {
        return Ok(Subleaf::LeftOut);
    };
    let (digits, rest) = hexadecimal_digits(rest);
    if rest.first() != Some(&b']') {
        return Err(Cut);
    }
    number(digits).map(Subleaf::Written).ok_or(Cut)
}

/// `0000000d 0x00: eax=0x00000007 ebx=0x00000340 ecx=0x00000340 edx=0x00000000`, after `0x`.
fn raw_line(rest: &[u8]) -> Result<Line, Cut> {
    let (digits, rest) = hexadecimal_digits(rest);
    let rest = match (digits.len(), rest.first()) {
        (8, Some(b' ')) | (1..=8, None) => rest,
        (_, _) => return Ok(Line::Other),
    };
    let leaf = number(digits).ok_or(Cut)?;
    let rest = rest.trim_ascii_start().strip_prefix(b"0x").ok_or(Cut)?;
    let (digits, rest) = hexadecimal_digits(rest);
    let subleaf = number(digits).ok_or(Cut)?;
    let rest = rest.strip_prefix(b":").ok_or(Cut)?;
    let (eax, rest) = named_register(rest, b"eax=0x")?;
    let (ebx, rest) = named_register(rest, b"ebx=0x")?;
    let (ecx, rest) = named_register(rest, b"ecx=0x")?;
    let (edx, rest) = named_register(rest, b"edx=0x")?;
    if !rest.is_empty() {
        return Err(Cut);
    }
    Ok(Line::Figures {
        leaf,
        subleaf: Subleaf::Written(subleaf),
        registers: CpuidRegisters { eax, ebx, ecx, edx },
    })
}

fn named_register<'l>(rest: &'l [u8], name: &[u8]) -> Result<(u32, &'l [u8]), Cut> {
    let rest = rest.trim_ascii_start().strip_prefix(name).ok_or(Cut)?;
    eight_digits(rest)
}

/// A register, and what follows it.
fn eight_digits(rest: &[u8]) -> Result<(u32, &[u8]), Cut> {
    let (digits, rest) = rest.split_first_chunk::<8>().ok_or(Cut)?;
    Ok((number(digits).ok_or(Cut)?, rest))
}

fn hexadecimal_digits(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| !byte.is_ascii_hexdigit());
    rest.split_at_checked(end.unwrap_or(rest.len()))
        .unwrap_or((rest, &[]))
}

fn number(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn figures(leaf: u32, subleaf: Subleaf, [eax, ebx, ecx, edx]: [u32; 4]) -> Line {
        let registers = CpuidRegisters { eax, ebx, ecx, edx };
        Line::Figures {
            leaf,
            subleaf,
            registers,
        }
    }

    #[test]
    fn both_forms_of_a_line_are_read() {
        let expected = figures(
            0xd,
            Subleaf::Written(0xb),
            [0x10, 0xdead_beef, 0x8000_0001, 0],
        );
        for line in [
            "CPUID 0000000D: 00000010-DEADBEEF-80000001-00000000 [SL 0B] [CET_U]",
            "CPUID 0000000d: 00000010-deadbeef-80000001-00000000 [SL 0B]\r",
            "   0x0000000d 0x0b: eax=0x00000010 ebx=0xdeadbeef ecx=0x80000001 edx=0x00000000",
        ] {
            assert_eq!(read(line.as_bytes()), Ok(expected), "{line}");
        }
        let without = "CPUID 00000000: 00000016-756E6547-6C65746E-49656E69 [GenuineIntel]";
        assert_eq!(
            read(without.as_bytes()),
            Ok(figures(
                0,
                Subleaf::LeftOut,
                [0x16, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]
            ))
        );
    }

    #[test]
    fn lines_without_figures_are_passed_over() {
        for line in [
            "",
            "# a comment",
            "------[ CPUID Registers / Logical CPU #1 ]------",
            "CPUID Manufacturer : GenuineIntel",
            "CPUID CPU Name: Intel(R) Xeon(R)",
            "CPUID Features",
            "0x80 columns are enough",
            "CPU Type : DualCore",
        ] {
            assert_eq!(read(line.as_bytes()), Ok(Line::Other), "{line}");
        }
        assert_eq!(read(b"CPU 17:"), Ok(Line::NextCpu));
        assert_eq!(read(b"CPU:"), Ok(Line::NextCpu));
    }

    #[test]
    fn a_line_cut_anywhere_after_its_first_digit_is_not_taken_for_whole() {
        let table = "CPUID 0000000D: 00000010-00000000-00000001-00000000 [SL 0B]";
        let figures_end = "CPUID 0000000D: 00000010-00000000-00000001-00000000".len();
        for end in "CPUID 0".len()..table.len() {
            if (figures_end..=figures_end + 1).contains(&end) {
                // Whole registers without a sub-leaf: only the lines around it can tell.
                assert!(matches!(
                    read(&table.as_bytes()[..end]),
                    Ok(Line::Figures {
                        subleaf: Subleaf::LeftOut,
                        ..
                    })
                ));
            } else {
                assert_eq!(read(&table.as_bytes()[..end]), Err(Cut), "{end}");
            }
        }
        let raw = "0x0000000d 0x0b: eax=0x00000010 ebx=0x00000000 ecx=0x00000001 edx=0x00000000";
        for end in "0x0".len()..raw.len() {
            assert_eq!(read(&raw.as_bytes()[..end]), Err(Cut), "{end}");
        }
    }

    #[test]
    fn figures_with_something_else_among_them_are_refused() {
        for line in [
            "CPUID 0000000D: 0000001O-00000000-00000001-00000000 [SL 0B]",
            "CPUID 0000000D: +0000010-00000000-00000001-00000000 [SL 0B]",
            "CPUID 0000000D: 00000010-00000000-00000001-000000000 [SL 0B]",
            "CPUID 0000000D: 00000010-00000000-00000001-00000000 [SL XX]",
            "CPUID 0000000D: 00000010-00000000-00000001-00000000 [SL 100000000]",
            "0x0000000d 0x0b: eax=0x00000010 ebx=0x00000000 ecx=0x00000001 edx=0x00000000 more",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Cut), "{line}");
        }
    }
}
