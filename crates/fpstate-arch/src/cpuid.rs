//! One CPUID leaf, from any source.

/// What CPUID returns for one leaf and sub-leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CpuidRegisters {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// Where CPUID leaves come from: this CPU, a closure, figures recorded from another machine, an
/// SNP CPUID page.
///
/// A leaf the source does not have reads as zero in all four registers, as on AMD.
pub trait CpuidSource {
    /// CPUID with EAX = `leaf` and ECX = `subleaf`.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters;
}

impl<F: FnMut(u32, u32) -> CpuidRegisters> CpuidSource for F {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        self(leaf, subleaf)
    }
}

/// Recorded figures: `(leaf, sub-leaf, registers)`; the first match counts.
#[derive(Clone, Copy, Debug)]
pub struct RecordedLeaves<'a>(pub &'a [(u32, u32, CpuidRegisters)]);

impl CpuidSource for RecordedLeaves<'_> {
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        self.0
            .iter()
            .find(|(l, s, _)| (*l, *s) == (leaf, subleaf))
            .map_or(CpuidRegisters::default(), |(_, _, registers)| *registers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_recorded_leaf_counts_and_others_read_as_zero() {
        let eax = |eax| CpuidRegisters {
            eax,
            ..CpuidRegisters::default()
        };
        let mut recorded = RecordedLeaves(&[(7, 0, eax(1)), (7, 1, eax(2)), (7, 1, eax(3))]);
        assert_eq!(recorded.cpuid(7, 0), eax(1));
        assert_eq!(recorded.cpuid(7, 1), eax(2));
        assert_eq!(recorded.cpuid(7, 2), eax(0));
        assert_eq!(
            (|leaf: u32, subleaf: u32| eax(leaf + subleaf)).cpuid(3, 4),
            eax(7)
        );
    }
}
