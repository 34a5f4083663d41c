//! The x87 and MMX registers and SSE's control register, from the legacy region.

use fpstate_arch::{Component, ComponentSet, LegacyRegion};

use super::float80::{Float80, Tag};
use super::{Register, Shape};

const X87: ComponentSet = ComponentSet::only(Component::X87);

/// Control registers under gdb's names, FIP and FDP whole, then ST0 to ST7.
pub(super) fn registers(legacy: &LegacyRegion, live: ComponentSet) -> Vec<Register> {
    let live = live.intersection(X87);
    let number = |name: &str, bytes: &[u8]| Register {
        name: name.to_owned(),
        components: X87,
        shape: Shape::Number,
        bytes: bytes.to_vec(),
        live,
    };
    let mut registers = vec![
        number("fctrl", &legacy.fcw.to_le_bytes()),
        number("fstat", &legacy.fsw.to_le_bytes()),
        number("ftag", &full_tag_word(legacy).to_le_bytes()),
        number("fop", &legacy.fop.to_le_bytes()),
        number("fip", &legacy.fip.to_le_bytes()),
        number("fdp", &legacy.fdp.to_le_bytes()),
    ];
    registers.extend((0..8).map(|i| Register {
        name: format!("st{i}"),
        components: X87,
        shape: Shape::Float80 {
            tag: tag(legacy, physical(legacy, i)),
            mmx: usize::from(physical(legacy, i)),
        },
        bytes: value_bytes(legacy, i).to_vec(),
        live,
    }));
    registers
}

/// MXCSR is stored with SSE and AVX, and kept or taken apart from both: what it has makes it
/// initial.
pub(super) fn mxcsr(legacy: &LegacyRegion, live: ComponentSet) -> Register {
    let components = ComponentSet::only(Component::Sse);
    Register {
        name: "mxcsr".to_owned(),
        components,
        shape: Shape::Number,
        bytes: legacy.mxcsr.bits().to_le_bytes().to_vec(),
        live: if legacy.mxcsr == LegacyRegion::INITIAL.mxcsr {
            live.intersection(components)
        } else {
            components
        },
    }
}

fn value_bytes(legacy: &LegacyRegion, st: u8) -> [u8; 10] {
    let [a, b, c, d, e, f, g, h, i, j, ..] = legacy.st[usize::from(st & 7)];
    [a, b, c, d, e, f, g, h, i, j]
}

/// The physical register that ST(i) is, and so the number of the MMX register in it.
fn physical(legacy: &LegacyRegion, st: u8) -> u8 {
    let [_, high] = legacy.fsw.to_le_bytes();
    (st + (high >> 3 & 7)) & 7
}

fn tag(legacy: &LegacyRegion, physical_register: u8) -> Tag {
    if legacy.ftw.bits() >> physical_register & 1 == 0 {
        return Tag::Empty;
    }
    let st = (physical_register + 8 - physical(legacy, 0)) & 7;
    Float80::from_bytes(value_bytes(legacy, st)).tag()
}

/// The 16-bit tag word of FSAVE, as FNSAVE would compute it from the registers (SDM 1, 10.5.1.1).
fn full_tag_word(legacy: &LegacyRegion) -> u16 {
    (0..8).fold(0, |word, register| {
        word | tag(legacy, register).bits() << (2 * register)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::AbridgedTagWord;

    #[test]
    fn the_tag_word_goes_by_physical_registers_and_the_values_by_the_stack() {
        let mut legacy = LegacyRegion::INITIAL;
        assert_eq!(full_tag_word(&legacy), 0xffff);
        // FLD1 and FLDZ after FNINIT: TOP is 6, ST0 = physical 6 holds 0, ST1 = 7 holds 1.
        legacy.fsw = 6 << 11;
        legacy.ftw = AbridgedTagWord::from_bits(0b1100_0000);
        legacy.st[1][..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        assert_eq!(full_tag_word(&legacy), 0b00_01_11_11_11_11_11_11);
        let registers = registers(&legacy, X87);
        let shapes: Vec<_> = registers
            .iter()
            .skip(6)
            .map(|st| st.shape.clone())
            .collect();
        assert_eq!(
            shapes[0],
            Shape::Float80 {
                tag: Tag::Zero,
                mmx: 6
            }
        );
        assert_eq!(
            shapes[1],
            Shape::Float80 {
                tag: Tag::Valid,
                mmx: 7
            }
        );
        assert_eq!(
            shapes[2],
            Shape::Float80 {
                tag: Tag::Empty,
                mmx: 0
            }
        );
    }
}
