//! XMM, YMM and ZMM registers, put together from the components that hold their parts.

use fpstate_arch::{Component, ComponentSet};

use super::{Contents, Register, Shape};

const XMM_LEN: usize = 16;
const YMM_LEN: usize = 32;
const ZMM_LEN: usize = 64;

/// Every vector register in the widest form that `room` has: (XMM|YMM|ZMM)0 to 15, ZMM16 to 31.
pub(super) fn registers(contents: &Contents<'_>, room: ComponentSet) -> Vec<Register> {
    let low = (0..16).map(|number| low_register(contents, room, number));
    let high = (16..32).map(|number| {
        part_of(contents, Component::Hi16Zmm, number - 16, ZMM_LEN).into_register(
            "zmm",
            number,
            contents.live,
        )
    });
    let high = high.filter(|_| room.contains(Component::Hi16Zmm));
    low.chain(high).collect()
}

fn low_register(contents: &Contents<'_>, room: ComponentSet, number: usize) -> Register {
    let mut parts = Parts {
        bytes: contents.legacy.xmm[number].to_vec(),
        components: ComponentSet::only(Component::Sse),
    };
    let mut name = "xmm";
    if room.contains(Component::Avx) {
        parts.append(part_of(contents, Component::Avx, number, XMM_LEN));
        name = "ymm";
    }
    if room.contains(Component::ZmmHi256) {
        parts.bytes.resize(YMM_LEN, 0);
        parts.append(part_of(contents, Component::ZmmHi256, number, YMM_LEN));
        name = "zmm";
    }
    parts.into_register(name, number, contents.live)
}

struct Parts {
    bytes: Vec<u8>,
    components: ComponentSet,
}

impl Parts {
    fn append(&mut self, part: Self) {
        self.bytes.extend(part.bytes);
        self.components = self.components.union(part.components);
    }

    fn into_register(self, name: &str, number: usize, live: ComponentSet) -> Register {
        Register {
            name: format!("{name}{number}"),
            components: self.components,
            shape: Shape::Vector,
            bytes: self.bytes,
            live: live.intersection(self.components),
        }
    }
}

/// The `index`th `len` bytes of a component; zeros where it is initial.
fn part_of(contents: &Contents<'_>, component: Component, index: usize, len: usize) -> Parts {
    Parts {
        bytes: contents.bytes(component, index * len..(index + 1) * len),
        components: ComponentSet::only(component),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::LegacyRegion;

    #[test]
    fn a_register_is_put_together_from_its_parts_lowest_first() {
        let mut legacy = LegacyRegion::INITIAL;
        legacy.xmm[1] = [1; 16];
        let avx: Vec<u8> = (0..16).flat_map(|number| [number; 16]).collect();
        let contents = Contents {
            legacy,
            live: ComponentSet::LEGACY.with(Component::Avx),
            extended: [(Component::Avx, avx.as_slice())].into(),
        };
        let room = contents.live.union(ComponentSet::AVX512);
        let all = registers(&contents, room);
        assert_eq!(all.len(), 32);
        assert_eq!(all[1].name, "zmm1");
        assert_eq!(all[1].bytes[..16], [1; 16]);
        assert_eq!(all[1].bytes[16..32], [1; 16]);
        assert_eq!(all[1].bytes[32..], [0; 32]);
        assert_eq!(all[15].bytes[16..32], [15; 16]);
        assert!(!all[15].is_initial());
        assert!(all[16].is_initial());
        assert_eq!(all[31].name, "zmm31");
        let all = registers(&contents, ComponentSet::LEGACY);
        assert_eq!((all.len(), all[15].name.as_str()), (16, "xmm15"));
    }
}
