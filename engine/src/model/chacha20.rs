//! A known answer, computed in the model's XMM registers: one block of ChaCha20, a round a step.

use fpstate_model::ModelCpu;

/// RFC 8439, 2.3.2: the state at the beginning, one row in each of XMM0 to XMM3.
const BEGIN: [u32; 16] = [
    0x6170_7865,
    0x3320_646e,
    0x7962_2d32,
    0x6b20_6574, //
    0x0302_0100,
    0x0706_0504,
    0x0b0a_0908,
    0x0f0e_0d0c, //
    0x1312_1110,
    0x1716_1514,
    0x1b1a_1918,
    0x1f1e_1d1c, //
    0x0000_0001,
    0x0900_0000,
    0x4a00_0000,
    0x0000_0000,
];

/// RFC 8439, 2.3.2: "ChaCha state at the end of the ChaCha20 operation".
const END: [u32; 16] = [
    0xe4e7_f110,
    0x1559_3bd1,
    0x1fdd_0f50,
    0xc471_20a3, //
    0xc7f4_d1c7,
    0x0368_c033,
    0x9aaa_2204,
    0x4e6c_d4c3, //
    0x4664_82d2,
    0x09aa_9f07,
    0x05d7_c214,
    0xa202_8bd9, //
    0xd19c_12b5,
    0xb94e_16de,
    0xe883_d0cb,
    0x4e3c_50a2,
];

/// Twenty rounds: a column round and a diagonal round, ten times.
const ROUNDS: u8 = 20;

/// The words of each quarter round; column rounds first (RFC 8439, 2.3).
const COLUMNS: [[usize; 4]; 4] = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
const DIAGONALS: [[usize; 4]; 4] = [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]];

/// How far the computation is. What it computes with is in the registers and nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChaCha20 {
    rounds_done: u8,
    is_loaded: bool,
}

impl ChaCha20 {
    /// One step; says at the last one whether the answer is right.
    pub(super) fn step(&mut self, cpu: &mut ModelCpu) -> Option<Answer> {
        if !self.is_loaded {
            write_words(cpu, BEGIN);
            self.is_loaded = true;
            return None;
        }
        if self.rounds_done < ROUNDS {
            let mut words = read_words(cpu);
            let quarters = if self.rounds_done.is_multiple_of(2) {
                COLUMNS
            } else {
                DIAGONALS
            };
            for quarter in quarters {
                quarter_round(&mut words, quarter);
            }
            write_words(cpu, words);
            self.rounds_done += 1;
            return None;
        }
        *self = Self::default();
        let mut words = read_words(cpu);
        for (word, begin) in words.iter_mut().zip(BEGIN) {
            *word = word.wrapping_add(begin);
        }
        Some(if words == END {
            Answer::Right
        } else {
            Answer::Wrong
        })
    }
}

/// Whether a computed answer is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
}

/// RFC 8439, 2.1.
fn quarter_round(words: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (add, to, turn, by) in [(b, a, d, 16), (d, c, b, 12), (b, a, d, 8), (d, c, b, 7)] {
        words[to] = words[to].wrapping_add(words[add]);
        words[turn] = (words[turn] ^ words[to]).rotate_left(by);
    }
}

fn read_words(cpu: &ModelCpu) -> [u32; 16] {
    let mut words = [0; 16];
    let bytes = cpu.registers().sse.xmm.as_flattened();
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

fn write_words(cpu: &mut ModelCpu, words: [u32; 16]) {
    let registers = cpu.registers_mut().xmm().as_flattened_mut();
    for (to, from) in registers
        .iter_mut()
        .zip(words.into_iter().flat_map(u32::to_le_bytes))
    {
        *to = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate_arch::CpuidRegisters;

    fn cpu() -> ModelCpu {
        ModelCpu::new(&[(
            1,
            0,
            CpuidRegisters {
                edx: 1 << 24,
                ..Default::default()
            },
        )])
    }

    fn answer(cpu: &mut ModelCpu, mut between: impl FnMut(&mut ModelCpu)) -> Answer {
        let mut chacha20 = ChaCha20::default();
        loop {
            match chacha20.step(cpu) {
                Some(answer) => return answer,
                None => between(cpu),
            }
        }
    }

    #[test]
    fn the_registers_alone_lead_to_the_answer_of_the_rfc() {
        assert_eq!(answer(&mut cpu(), |_| ()), Answer::Right);
    }

    #[test]
    fn one_bit_changed_on_the_way_makes_it_wrong() {
        let flip = |cpu: &mut ModelCpu| cpu.registers_mut().xmm()[2][5] ^= 1;
        assert_eq!(answer(&mut cpu(), flip), Answer::Wrong);
    }
}
