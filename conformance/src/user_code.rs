//! Reading and writing registers as user code does, on the model and on silicon.

use fpstate_arch::{Component, ComponentSet, LegacyRegion, Processor};
use fpstate_model::{ModelCpu, X87, X87Pointers};

use crate::contents::Contents;

/// What a program does with registers between two switches. MXCSR is written with
/// [`Processor::ldmxcsr`].
pub trait UserCode: Processor {
    /// All components that have registers here.
    fn components(&self) -> ComponentSet;

    /// What the registers of `components` hold. x87, SSE and MXCSR are read in any case.
    fn contents(&mut self, components: ComponentSet) -> Contents;

    /// `component`'s registers take the value that `values` has for it.
    fn write(&mut self, component: Component, values: &Contents);

    /// An instruction that initialises `components` and is known to: VZEROUPPER, TILERELEASE.
    fn initialise(&mut self, components: ComponentSet);

    /// All of `components` as `values` has them, and MXCSR if SSE is one of them.
    fn write_all(&mut self, components: ComponentSet, values: &Contents) {
        for component in components.iter() {
            self.write(component, values);
        }
        if components.contains(Component::Sse) {
            self.ldmxcsr(values.legacy().mxcsr).expect("a valid MXCSR");
        }
    }
}

impl UserCode for ModelCpu {
    fn components(&self) -> ComponentSet {
        self.registers().components()
    }

    fn contents(&mut self, components: ComponentSet) -> Contents {
        let registers = self.registers();
        let X87 {
            fcw,
            fsw,
            ftw,
            fop,
            fip,
            fdp,
            st,
        } = &registers.x87;
        // Where a save leaves the pointers out they are whatever a kernel put there: no part of what
        // the owner had. tests/error_pointers.rs says what they must not be.
        let saved = self.vendor_differences().x87_pointers != X87Pointers::LeftAlone
            || registers.x87.has_pending_exception();
        let (fop, fip, fdp) = if saved { (*fop, *fip, *fdp) } else { (0, 0, 0) };
        let mut legacy = LegacyRegion {
            fcw: *fcw,
            fsw: *fsw,
            ftw: *ftw,
            fop,
            fip,
            fdp,
            mxcsr: registers.sse.mxcsr,
            xmm: registers.sse.xmm,
            ..LegacyRegion::INITIAL
        };
        for (to, from) in legacy.st.iter_mut().zip(st) {
            to[..10].copy_from_slice(from);
        }
        let extended = components.difference(ComponentSet::LEGACY);
        Contents::from_parts(
            &legacy,
            extended
                .iter()
                .filter_map(|c| Some((c, registers.component(c)?.to_vec()))),
        )
    }

    fn write(&mut self, component: Component, values: &Contents) {
        let legacy = values.legacy();
        if component == Component::X87 {
            let x87 = self.registers_mut().x87();
            (x87.fcw, x87.fsw, x87.ftw) = (legacy.fcw, legacy.fsw, legacy.ftw);
            (x87.fop, x87.fip, x87.fdp) = (legacy.fop, legacy.fip, legacy.fdp);
            for (to, from) in x87.st.iter_mut().zip(&legacy.st) {
                to.copy_from_slice(&from[..10]);
            }
        } else if component == Component::Sse {
            *self.registers_mut().xmm() = legacy.xmm;
        } else if let (Some(to), Some(from)) = (
            self.registers_mut().component(component),
            values.extended(component),
        ) {
            to.copy_from_slice(from);
        }
    }

    fn initialise(&mut self, components: ComponentSet) {
        self.registers_mut().initialise(components);
    }
}
