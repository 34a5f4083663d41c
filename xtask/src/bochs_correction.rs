//! The one mistake of Bochs 3.0 that keeps a kernel from having guests with tiles, and its correction.
//!
//! XSAVE must store tile data that is in use. Bochs asks "is the set of tiles that were written empty?",
//! takes a yes for "in use", and so saves tiles only where there are none. In its code that is one
//! instruction, SETE where SETNE belongs; docs/surprises.md has the rest of its mistakes, which stay.

use std::fmt;

/// MOV EAX, [RAX+2080H], the set, behind 8 KB of tiles; TEST EAX, EAX; SETE AL; RET. In Debian's
/// `bochs-bin` 3.0+dfsg-1 it is once.
const MISTAKEN: [u8; 12] = [
    0x8b, 0x80, 0x80, 0x20, 0x00, 0x00, 0x85, 0xc0, 0x0f, 0x94, 0xc0, 0xc3,
];
/// Where SETE AL is in it, and the byte that makes SETNE AL of it.
const SETE: usize = 8;
const SETNE_OPCODE: u8 = 0x95;

/// What was made right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    /// Of the instruction, from the beginning of the file.
    offset: usize,
}

impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        write!(f, "tile data in use: sete made setne at offset {offset:#x}")
    }
}

/// It is not known what to make right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the code that is known to be mistaken is in it {times} times, not once")]
pub(crate) struct NotOnce {
    times: usize,
}

/// Makes the mistake right, if it is there and nothing else looks like it.
pub(crate) fn correct(program: &mut [u8]) -> Result<Correction, NotOnce> {
    let places: Vec<usize> = (program.windows(MISTAKEN.len()).enumerate())
        .filter_map(|(place, code)| (code == MISTAKEN).then_some(place))
        .collect();
    let &[place] = places.as_slice() else {
        let times = places.len();
        return Err(NotOnce { times });
    };
    let offset = place + SETE;
    program[offset + 1] = SETNE_OPCODE;
    Ok(Correction { offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with other code around each of `times` mistakes.
    fn program(times: usize) -> Vec<u8> {
        let mut program = vec![0x90; 20];
        for _ in 0..times {
            program.extend(MISTAKEN);
            program.extend([0x90; 20]);
        }
        program
    }

    #[test]
    fn one_byte_of_the_mistaken_code_changes() {
        let mut corrected = program(1);
        let correction = correct(&mut corrected).unwrap();
        assert_eq!(
            correction.to_string(),
            "tile data in use: sete made setne at offset 0x1c"
        );
        let changed: Vec<(usize, u8)> = (program(1).into_iter().zip(corrected).enumerate())
            .filter_map(|(at, (before, after))| (before != after).then_some((at, after)))
            .collect();
        assert_eq!(changed, [(29, 0x95)]);
    }

    #[test]
    fn a_program_without_the_mistake_stays_as_it_is() {
        let mut right = program(1);
        correct(&mut right).unwrap();
        for (before, times) in [(program(0), 0), (right, 0), (MISTAKEN[..11].to_vec(), 0)] {
            let mut after = before.clone();
            assert_eq!(correct(&mut after), Err(NotOnce { times }));
            assert_eq!(after, before);
        }
    }

    #[test]
    fn code_that_is_there_twice_is_not_known_to_be_the_mistake() {
        let mut after = program(2);
        let refusal = correct(&mut after).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the code that is known to be mistaken is in it 2 times, not once"
        );
        assert_eq!(after, program(2));
    }
}
