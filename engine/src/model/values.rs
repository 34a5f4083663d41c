//! What all registers of a model CPU hold.

use fpstate_arch::{Component, ComponentSet};
use fpstate_model::{ModelCpu, RegisterFile, X87Pointers};

use super::tile_shape::{ROW, ROWS};
use crate::schedule::backend::{Comparison, Difference};

/// Reads every register. The error pointers are no part of what their owner had where a save leaves
/// them out.
pub(super) fn read(cpu: &ModelCpu) -> RegisterFile {
    let mut values = cpu.registers().clone();
    let left_out = cpu.vendor_differences().x87_pointers == X87Pointers::LeftAlone
        && !values.x87.has_pending_exception();
    if left_out {
        (values.x87.fop, values.x87.fip, values.x87.fdp) = (0, 0, 0);
    }
    values
}

/// Writes one component of `values` into the registers, as user code does.
pub(super) fn write(cpu: &mut ModelCpu, values: &RegisterFile, component: Component) {
    if component == Component::X87 {
        *cpu.registers_mut().x87() = values.x87.clone();
    } else if component == Component::Sse {
        *cpu.registers_mut().xmm() = values.sse.xmm;
        cpu.registers_mut().set_mxcsr(values.sse.mxcsr);
    } else if let (Some(from), Some(to)) = (
        values.component(component),
        cpu.registers_mut().component(component),
    ) {
        to.copy_from_slice(from);
    }
}

/// Compares the registers of `components`.
pub(super) fn compare(
    components: ComponentSet,
    expected: &RegisterFile,
    found: &RegisterFile,
) -> Comparison {
    let mut comparison = Comparison {
        checked: 0,
        mismatches: 0,
        first: None,
    };
    for component in components.iter() {
        if let Some(equal) = all_equal(component, expected, found) {
            comparison.checked += equal;
            continue;
        }
        for (name, expected, found) in registers(component, expected, found) {
            comparison.checked += 1;
            if expected != found {
                comparison.mismatches += 1;
                comparison.first.get_or_insert(Difference {
                    register: name,
                    expected: hex(&expected),
                    found: hex(&found),
                });
            }
        }
    }
    comparison
}

/// How many registers the component has, if all of them are equal: nearly always, so no name is
/// made for any.
fn all_equal(component: Component, expected: &RegisterFile, found: &RegisterFile) -> Option<u32> {
    let (equal, registers) = if component == Component::X87 {
        (expected.x87 == found.x87, X87_REGISTERS)
    } else if component == Component::Sse {
        (expected.sse == found.sse, SSE_REGISTERS)
    } else {
        let bytes = expected.component(component);
        let (_, _, len) = naming(component, bytes.map_or(0, <[u8]>::len));
        let registers = bytes.map_or(0, |bytes| bytes.chunks(len.max(1)).count());
        (bytes == found.component(component), registers)
    };
    equal.then_some(u32::try_from(registers).unwrap_or(u32::MAX))
}

/// ST0 to ST7 and six more.
const X87_REGISTERS: usize = 14;
/// XMM0 to XMM15 and MXCSR.
const SSE_REGISTERS: usize = 17;

type Register = (String, Vec<u8>, Vec<u8>);

/// The registers of a component by name, with both contents.
fn registers(component: Component, expected: &RegisterFile, found: &RegisterFile) -> Vec<Register> {
    if component == Component::X87 {
        return pair(x87(expected), x87(found));
    }
    if component == Component::Sse {
        return pair(sse(expected), sse(found));
    }
    let split = |values: &RegisterFile| -> Vec<(String, Vec<u8>)> {
        let bytes = values.component(component).unwrap_or(&[]);
        let (prefix, first, len) = naming(component, bytes.len());
        bytes
            .chunks(len.max(1))
            .zip(first..)
            .map(|(bytes, number)| (prefix(number), bytes.to_vec()))
            .collect()
    };
    pair(split(expected), split(found))
}

fn pair(expected: Vec<(String, Vec<u8>)>, found: Vec<(String, Vec<u8>)>) -> Vec<Register> {
    expected
        .into_iter()
        .zip(found)
        .map(|((name, expected), (_, found))| (name, expected, found))
        .collect()
}

fn x87(values: &RegisterFile) -> Vec<(String, Vec<u8>)> {
    let x87 = &values.x87;
    let mut registers = vec![
        ("FCW".to_owned(), x87.fcw.to_le_bytes().to_vec()),
        ("FSW".to_owned(), x87.fsw.to_le_bytes().to_vec()),
        ("FTW".to_owned(), vec![x87.ftw.bits()]),
        ("FOP".to_owned(), x87.fop.to_le_bytes().to_vec()),
        ("FIP".to_owned(), x87.fip.to_le_bytes().to_vec()),
        ("FDP".to_owned(), x87.fdp.to_le_bytes().to_vec()),
    ];
    registers.extend(
        x87.st
            .iter()
            .zip(0..)
            .map(|(st, n): (_, u8)| (format!("ST{n}"), st.to_vec())),
    );
    registers
}

fn sse(values: &RegisterFile) -> Vec<(String, Vec<u8>)> {
    let sse = &values.sse;
    let mut registers = vec![("MXCSR".to_owned(), sse.mxcsr.bits().to_le_bytes().to_vec())];
    registers.extend(
        sse.xmm
            .iter()
            .zip(0..)
            .map(|(xmm, n): (_, u8)| (format!("XMM{n}"), xmm.to_vec())),
    );
    registers
}

type Name = fn(u8) -> String;

/// How the registers in a component's bytes are called, the number of the first, and the length of
/// each.
fn naming(component: Component, len: usize) -> (Box<dyn Fn(u8) -> String>, u8, usize) {
    let numbered = |name: Name, first, len| -> (Box<dyn Fn(u8) -> String>, u8, usize) {
        (Box::new(name), first, len)
    };
    match component {
        Component::Avx => numbered(|n| format!("YMM{n}"), 0, 16),
        Component::Opmask => numbered(|n| format!("K{n}"), 0, 8),
        Component::ZmmHi256 => numbered(|n| format!("ZMM{n}"), 0, 32),
        Component::Hi16Zmm => numbered(|n| format!("ZMM{n}"), 16, 64),
        Component::BndRegs => numbered(|n| format!("BND{n}"), 0, 16),
        // A row at a time: a whole tile would not fit on a line.
        Component::TileData => numbered(|n| format!("TMM{}[{}]", n / ROWS, n % ROWS), 0, ROW),
        Component::Apx => numbered(|n| format!("R{n}"), 16, 8),
        Component::X87
        | Component::Sse
        | Component::BndCsr
        | Component::Pt
        | Component::Pkru
        | Component::Pasid
        | Component::CetU
        | Component::CetS
        | Component::Hdc
        | Component::Uintr
        | Component::Lbr
        | Component::Hwp
        | Component::TileConfig
        | Component::Unnamed(_) => (Box::new(move |_| component.to_string()), 0, len),
    }
}

/// Highest byte first, as numbers are written.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::CpuidRegisters;

    fn cpu() -> ModelCpu {
        let leaf = |eax, ebx, ecx| CpuidRegisters {
            eax,
            ebx,
            ecx,
            edx: 0,
        };
        ModelCpu::new(&[
            (1, 0, leaf(0, 0, 1 << 26)),
            (0xd, 0, leaf(0xe7, 0, 0)),
            (0xd, 2, leaf(256, 576, 0)),
            (0xd, 5, leaf(64, 832, 0)),
            (0xd, 6, leaf(512, 896, 0)),
            (0xd, 7, leaf(1024, 1408, 0)),
        ])
    }

    #[test]
    fn every_register_is_compared_by_its_name() {
        let mut cpu = cpu();
        let all = cpu.enumeration().user_components();
        let initial = read(&cpu);
        let mut counter = 0u64;
        cpu.registers_mut().fill(all, || {
            counter = counter.wrapping_add(0x0101_0101_0101_0101);
            counter
        });
        let filled = read(&cpu);
        // 8 ST and 6 more; 16 XMM and MXCSR; 16 YMM; 8 K; 16 ZMM; 16 ZMM.
        assert_eq!(
            compare(all, &initial, &initial).checked,
            14 + 17 + 16 + 8 + 16 + 16
        );
        assert_eq!(compare(all, &filled, &filled).mismatches, 0);
        let mut changed = filled.clone();
        changed.component_mut(Component::Hi16Zmm).unwrap()[3 * 64 + 5] ^= 0x80;
        let comparison = compare(all, &filled, &changed);
        assert_eq!(comparison.mismatches, 1);
        assert_eq!(comparison.first.unwrap().register, "ZMM19");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut cpu = cpu();
        let all = cpu.enumeration().user_components();
        let mut counter = 7u64;
        cpu.registers_mut().fill(all, || {
            counter = counter.wrapping_add(0x1020_3040_5060_7081);
            counter
        });
        let values = read(&cpu);
        cpu.registers_mut().initialise(all);
        for component in all.iter() {
            write(&mut cpu, &values, component);
        }
        assert_eq!(compare(all, &values, &read(&cpu)).mismatches, 0);
    }
}
