//! RDPKRU and WRPKRU (SDM 2).

use fpstate_arch::{Component, ComponentSet, Fault, Pkru};

use crate::cpu::ModelCpu;

impl ModelCpu {
    pub(crate) fn execute_rdpkru(&self) -> Result<Pkru, Fault> {
        let register = self.registers.component(Component::Pkru);
        register
            .and_then(<[u8]>::first_chunk)
            .map(|bits| Pkru::from_bits(u32::from_le_bytes(*bits)))
            .ok_or(Fault::InvalidOpcode)
    }

    pub(crate) fn execute_wrpkru(&mut self, pkru: Pkru) -> Result<(), Fault> {
        let register = self.registers.component_mut(Component::Pkru);
        let bits = register
            .and_then(<[u8]>::first_chunk_mut)
            .ok_or(Fault::InvalidOpcode)?;
        *bits = pkru.bits().to_le_bytes();
        self.wrote(ComponentSet::only(Component::Pkru));
        Ok(())
    }
}
