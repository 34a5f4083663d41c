//! Which instructions touch an extended register: x87, MMX, SSE, AVX, AVX-512, AMX.
//!
//! PKRU, XCR0 and the shadow stack pointers are none: the kernel itself may use them.

use iced_x86::{CpuidFeature, Instruction, InstructionInfoFactory, Mnemonic};

/// Says it of one instruction after the other.
#[derive(Debug)]
pub(crate) struct ExtendedInstructions {
    information: InstructionInfoFactory,
}

impl ExtendedInstructions {
    /// One with buffers that it uses again and again.
    pub(crate) fn new() -> Self {
        Self {
            information: InstructionInfoFactory::new(),
        }
    }

    /// Whether it reads or writes an extended register, all of them, or their control registers.
    pub(crate) fn has(&mut self, instruction: &Instruction) -> bool {
        is_x87(instruction)
            || names_no_register_and_touches_some(instruction.mnemonic())
            || (self.information.info(instruction).used_registers().iter()).any(|used| {
                let register = used.register();
                register.is_vector_register()
                    || register.is_mm()
                    || register.is_st()
                    || register.is_k()
                    || register.is_tmm()
            })
    }
}

fn is_x87(instruction: &Instruction) -> bool {
    (instruction.cpuid_features().iter()).any(|feature| {
        matches!(
            feature,
            CpuidFeature::FPU
                | CpuidFeature::FPU287
                | CpuidFeature::FPU287XL_ONLY
                | CpuidFeature::FPU387
                | CpuidFeature::FPU387SL_ONLY
        )
    })
}

fn names_no_register_and_touches_some(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Wait
            | Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Fxrstor
            | Mnemonic::Fxrstor64
            | Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xsavec
            | Mnemonic::Xsavec64
            | Mnemonic::Xsaveopt
            | Mnemonic::Xsaveopt64
            | Mnemonic::Xsaves
            | Mnemonic::Xsaves64
            | Mnemonic::Xrstor
            | Mnemonic::Xrstor64
            | Mnemonic::Xrstors
            | Mnemonic::Xrstors64
            | Mnemonic::Ldmxcsr
            | Mnemonic::Vldmxcsr
            | Mnemonic::Stmxcsr
            | Mnemonic::Vstmxcsr
            | Mnemonic::Emms
            | Mnemonic::Femms
            | Mnemonic::Vzeroupper
            | Mnemonic::Vzeroall
            | Mnemonic::Ldtilecfg
            | Mnemonic::Sttilecfg
            | Mnemonic::Tilerelease
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn has(bytes: &[u8]) -> bool {
        let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
        assert!(!instruction.is_invalid(), "{bytes:02x?}");
        assert_eq!(instruction.len(), bytes.len());
        ExtendedInstructions::new().has(&instruction)
    }

    #[test]
    fn instructions_on_extended_registers_are_found() {
        for (name, bytes) in [
            ("fninit", &[0xdb, 0xe3][..]),
            ("fwait", &[0x9b]),
            ("fld1", &[0xd9, 0xe8]),
            ("emms", &[0x0f, 0x77]),
            ("movq mm0, rax", &[0x48, 0x0f, 0x6e, 0xc0]),
            ("movq xmm7, rax", &[0x66, 0x48, 0x0f, 0x6e, 0xf8]),
            ("pxor xmm0, xmm0", &[0x66, 0x0f, 0xef, 0xc0]),
            ("vzeroupper", &[0xc5, 0xf8, 0x77]),
            ("vpxor ymm0, ymm0, ymm0", &[0xc5, 0xfd, 0xef, 0xc0]),
            ("kmovq k1, rax", &[0xc4, 0xe1, 0xfb, 0x92, 0xc8]),
            ("ldmxcsr [rax]", &[0x0f, 0xae, 0x10]),
            ("fxsave64 [rdx]", &[0x48, 0x0f, 0xae, 0x02]),
            ("xsaves64 [rdi]", &[0x48, 0x0f, 0xc7, 0x2f]),
            ("xrstor [rdi]", &[0x0f, 0xae, 0x2f]),
            ("tilezero tmm1", &[0xc4, 0xe2, 0x7b, 0x49, 0xc8]),
            ("tilerelease", &[0xc4, 0xe2, 0x78, 0x49, 0xc0]),
        ] {
            assert!(has(bytes), "{name}");
        }
    }

    #[test]
    fn instructions_that_came_with_them_but_touch_none_are_not() {
        for (name, bytes) in [
            ("mov rax, rbx", &[0x48, 0x89, 0xd8][..]),
            ("pause", &[0xf3, 0x90]),
            ("lfence", &[0x0f, 0xae, 0xe8]),
            ("sfence", &[0x0f, 0xae, 0xf8]),
            ("prefetcht0 [rax]", &[0x0f, 0x18, 0x08]),
            ("movnti [rax], ecx", &[0x0f, 0xc3, 0x08]),
            ("popcnt eax, eax", &[0xf3, 0x0f, 0xb8, 0xc0]),
            ("crc32 eax, eax", &[0xf2, 0x0f, 0x38, 0xf1, 0xc0]),
            ("andn eax, eax, eax", &[0xc4, 0xe2, 0x78, 0xf2, 0xc0]),
            ("xgetbv", &[0x0f, 0x01, 0xd0]),
            ("xsetbv", &[0x0f, 0x01, 0xd1]),
            ("wrpkru", &[0x0f, 0x01, 0xef]),
            ("clts", &[0x0f, 0x06]),
        ] {
            assert!(!has(bytes), "{name}");
        }
    }
}
