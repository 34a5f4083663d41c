//! How many bytes the registers of a component are, whatever the CPU (SDM 1, 13.5).

use crate::component::Component;

/// Length in bytes of the registers the manuals put into the component; `None` where they leave it
/// to CPUID, and for x87 and SSE, which have no sub-leaf. The tiles are those of palette 1.
#[must_use]
pub const fn len_of_registers(component: Component) -> Option<u32> {
    Some(match component {
        Component::X87 | Component::Sse | Component::Unnamed(_) => return None,
        Component::Avx => 256,
        Component::BndRegs | Component::BndCsr | Component::Opmask | Component::TileConfig => 64,
        Component::ZmmHi256 => 512,
        Component::Hi16Zmm => 1024,
        Component::Pt | Component::Apx => 128,
        Component::Pkru | Component::Pasid | Component::Hdc | Component::Hwp => 8,
        Component::CetU => 16,
        Component::CetS => 24,
        Component::Uintr => 48,
        Component::Lbr => 808,
        Component::TileData => 8192,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM 1, 13.5: what CPUID.(0DH,i):EAX is on every CPU that has the component.
    #[test]
    fn each_component_is_as_long_as_the_manual_says() {
        let lens: [Option<u32>; 21] = core::array::from_fn(|number| {
            let number = u8::try_from(number).expect("20 fits");
            len_of_registers(Component::from_number(number).expect("below 63"))
        });
        let extended = [
            256, 64, 64, 64, 512, 1024, 128, 8, 8, 16, 24, 8, 48, 808, 8, 64, 8192, 128,
        ];
        assert_eq!((lens[0], lens[1], lens[20]), (None, None, None));
        assert_eq!(lens[2..20], extended.map(Some));
    }
}
