//! Guests' programs with tiles: one instruction a step, every result compared with a plain
//! computation.

use fpstate_arch::tile_config::TileConfig;
use fpstate_arch::{Component, ComponentSet, Fault, Processor};

use super::chacha20::Answer;
use super::guest_cpu::{Exit, GuestCpu, Reply};
use crate::config::UNUSED_EXITS_BEFORE_RELEASE;

const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);
/// Rows of each matrix, and dwords of a row.
const ORDER: u8 = 8;
const ROW: u16 = 32;
const STRIDE: usize = 32;
const MATRIX: usize = 8 * STRIDE;
/// Long enough for the host to take memory back.
const IDLE_CALLS: u32 = UNUSED_EXITS_BEFORE_RELEASE + 2;

type Matrix = [u8; MATRIX];

/// What one step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// LDTILECFG: tiles 0 to 2 for a matrix each.
    Configure,
    /// TILELOADD of that matrix.
    Load(u8),
    /// TILELOADD, which must raise #NM in the guest.
    LoadDisabled(u8),
    /// TDPBSSD of tiles 1 and 2 to tile 0.
    Multiply,
    /// TILESTORED of tile 0: matrix 0, or the product added to it.
    ExpectLoaded,
    ExpectProduct,
    /// TILERELEASE.
    Release,
    /// WRMSR and RDMSR of `IA32_XFD`, which must have this value.
    WriteXfd(ComponentSet),
    ExpectXfd(ComponentSet),
    /// RDMSR of `IA32_XFD_ERR`, which must have this value, and WRMSR of 0.
    ExpectXfdErr(ComponentSet),
    ClearXfdErr,
    /// Calls the host so often.
    Call(u32),
    /// Does nothing for so many steps, in which it may be taken off.
    Spin(u32),
}

/// Products of matrices, with calls of the host between all parts.
const PRODUCT: [Op; 13] = [
    Op::Configure,
    Op::Load(0),
    Op::Spin(16),
    Op::Load(1),
    Op::Call(1),
    Op::Load(2),
    Op::Multiply,
    Op::Spin(48),
    Op::Call(1),
    Op::ExpectProduct,
    Op::Spin(16),
    Op::Release,
    Op::Call(1),
];

/// What an operating system does that gives tiles to those of its threads that use them.
const TOGGLE: [Op; 23] = [
    // What others' #NM left there would be seen here.
    Op::ExpectXfdErr(ComponentSet::EMPTY),
    Op::Configure,
    Op::Load(0),
    Op::Spin(32),
    Op::Call(1),
    Op::ExpectLoaded,
    Op::Release,
    Op::WriteXfd(TILE_DATA),
    Op::Spin(16),
    Op::Call(IDLE_CALLS),
    Op::Configure,
    Op::LoadDisabled(0),
    Op::Spin(16),
    Op::ExpectXfdErr(TILE_DATA),
    Op::ExpectXfd(TILE_DATA),
    Op::ClearXfdErr,
    Op::Spin(4),
    Op::ExpectXfdErr(ComponentSet::EMPTY),
    Op::WriteXfd(ComponentSet::EMPTY),
    Op::Load(0),
    Op::Call(1),
    Op::ExpectLoaded,
    Op::Release,
];

/// What a step led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    GoesOn,
    Exits(Exit),
    CallsHost,
    /// The end, or the first thing that was not as it should be; from the beginning again.
    Answered(Answer),
}

/// What became of an operation.
enum Done {
    Next,
    Same,
    Exits(Exit),
    Calls,
    Wrong,
}

/// A program and how far it is. What it computes with is in tiles and nowhere else.
#[derive(Clone, Debug)]
pub(super) struct TileProgram {
    ops: &'static [Op],
    at: usize,
    /// Times that the operation was repeated.
    repeated: u32,
    /// Number of the matrices.
    round: u64,
}

impl TileProgram {
    pub(super) const fn product() -> Self {
        Self::of(&PRODUCT)
    }

    pub(super) const fn toggle() -> Self {
        Self::of(&TOGGLE)
    }

    const fn of(ops: &'static [Op]) -> Self {
        Self {
            ops,
            at: 0,
            repeated: 0,
            round: 0,
        }
    }

    /// One step; `reply` is what the host answered to the exit of the last one.
    pub(super) fn step(&mut self, cpu: &mut GuestCpu<'_>, reply: Option<Reply>) -> Progress {
        let Some(op) = self.ops.get(self.at) else {
            self.begin_again();
            return Progress::Answered(Answer::Right);
        };
        match self.execute(*op, cpu, reply) {
            Done::Next => {
                (self.at, self.repeated) = (self.at + 1, 0);
                Progress::GoesOn
            }
            Done::Same => Progress::GoesOn,
            Done::Exits(exit) => Progress::Exits(exit),
            Done::Calls => Progress::CallsHost,
            Done::Wrong => {
                self.begin_again();
                Progress::Answered(Answer::Wrong)
            }
        }
    }

    fn begin_again(&mut self) {
        (self.at, self.repeated) = (0, 0);
        self.round += 1;
    }

    fn execute(&mut self, op: Op, cpu: &mut GuestCpu<'_>, reply: Option<Reply>) -> Done {
        match (op, reply) {
            (Op::Configure, None) => of_instruction(cpu.direct.ldtilecfg(&configuration())),
            (Op::Load(tile), None) => {
                of_instruction(cpu.direct.tileloadd(tile, &self.matrix(tile), STRIDE))
            }
            (Op::LoadDisabled(tile), None) => {
                match cpu.direct.tileloadd(tile, &self.matrix(tile), STRIDE) {
                    Err(Fault::DeviceNotAvailable) => Done::Exits(Exit::DeviceNotAvailable),
                    Ok(()) | Err(_) => Done::Wrong,
                }
            }
            (Op::LoadDisabled(_), Some(Reply::DeviceNotAvailable)) => Done::Next,
            (Op::Multiply, None) => of_instruction(cpu.direct.tdpbssd(0, 1, 2)),
            (Op::ExpectLoaded, None) => stored(cpu, &self.matrix(0)),
            (Op::ExpectProduct, None) => {
                stored(cpu, &product([0, 1, 2].map(|tile| self.matrix(tile))))
            }
            (Op::Release, None) => of_instruction(cpu.direct.tilerelease()),
            (Op::WriteXfd(value), None) => match cpu.write_xfd(value) {
                Ok(done) => of_instruction(done),
                Err(exit) => Done::Exits(exit),
            },
            (Op::WriteXfd(_) | Op::ClearXfdErr, Some(Reply::Done)) => Done::Next,
            (Op::ExpectXfd(value), None) => match cpu.read_xfd() {
                Ok(found) => expected(found, value),
                Err(exit) => Done::Exits(exit),
            },
            (Op::ExpectXfd(value), Some(Reply::Read(found))) => expected(found, value),
            (Op::ExpectXfdErr(value), None) => match cpu.direct.read_xfd_err() {
                Ok(found) => expected(found.components(), value),
                Err(_) => Done::Wrong,
            },
            (Op::ClearXfdErr, None) => Done::Exits(Exit::WriteXfdErr(ComponentSet::EMPTY)),
            (Op::Call(times) | Op::Spin(times), None) if self.repeated == times => Done::Next,
            (Op::Call(_), None) => {
                self.repeated += 1;
                Done::Calls
            }
            (Op::Spin(_), None) => {
                self.repeated += 1;
                Done::Same
            }
            (_, Some(_)) => Done::Wrong,
        }
    }

    /// The matrix that tile `tile` is loaded with in this round.
    fn matrix(&self, tile: u8) -> Matrix {
        let mut random = fastrand::Rng::with_seed(self.round << 8 | u64::from(tile));
        std::array::from_fn(|_| random.u8(..))
    }
}

fn of_instruction(done: Result<(), Fault>) -> Done {
    match done {
        Ok(()) => Done::Next,
        Err(Fault::DeviceNotAvailable) => Done::Exits(Exit::DeviceNotAvailable),
        Err(_) => Done::Wrong,
    }
}

fn expected(found: ComponentSet, expected: ComponentSet) -> Done {
    if found == expected {
        Done::Next
    } else {
        Done::Wrong
    }
}

fn stored(cpu: &mut GuestCpu<'_>, expected: &Matrix) -> Done {
    let mut found = [0; MATRIX];
    match cpu.direct.tilestored(0, &mut found, STRIDE) {
        Ok(()) if found != *expected => Done::Wrong,
        done => of_instruction(done),
    }
}

/// Tiles 0 to 2 for a matrix each.
pub(super) fn configuration() -> [u8; 64] {
    let mut config = TileConfig {
        palette: 1,
        ..TileConfig::INITIAL
    };
    for (rows, colsb) in config.rows.iter_mut().zip(&mut config.colsb).take(3) {
        (*rows, *colsb) = (ORDER, ROW);
    }
    config.to_bytes()
}

/// SDM 2, TDPBSSD: dword (m, n) plus, for each k, the products of the signed bytes of (m, k) and
/// (k, n).
fn product([to, left, right]: [Matrix; 3]) -> Matrix {
    let signed = |matrix: &Matrix, row: usize, column: usize| -> [i32; 4] {
        let at = row * STRIDE + column * 4;
        std::array::from_fn(|byte| i32::from(matrix[at + byte].cast_signed()))
    };
    let order = usize::from(ORDER);
    let mut result = to;
    for (at, sum) in result.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (m, n) = (at / order, at % order);
        let added = (0..order).fold(i32::from_le_bytes(*sum), |sum, k| {
            let pairs = signed(&left, m, k).into_iter().zip(signed(&right, k, n));
            pairs.fold(sum, |sum, (x, y)| sum.wrapping_add(x * y))
        });
        *sum = added.to_le_bytes();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use fpstate::Interception;
    use fpstate_arch::{Xcr0, Xfd};
    use fpstate_model::{ModelCpu, Profile};

    fn cpu() -> ModelCpu {
        let leaves = Profile::SAPPHIRE_RAPIDS.leaves();
        let mut cpu = ModelCpu::new(&leaves);
        let user = ComponentSet::TILES.union(ComponentSet::LEGACY);
        cpu.xsetbv(Xcr0::new(user, user).unwrap()).unwrap();
        cpu
    }

    /// To the first answer, on a CPU whose host has room for everything.
    fn answer(
        mut program: TileProgram,
        cpu: &mut ModelCpu,
        mut between: impl FnMut(&mut ModelCpu, Op),
    ) -> Answer {
        let mut reply = None;
        for _ in 0..1000 {
            let op = program.ops.get(program.at).copied();
            let mut guest = GuestCpu::new(cpu, Interception::PassedThrough);
            reply = match program.step(&mut guest, reply.take()) {
                Progress::GoesOn | Progress::CallsHost => None,
                Progress::Exits(Exit::DeviceNotAvailable) => Some(Reply::DeviceNotAvailable),
                Progress::Exits(Exit::WriteXfdErr(value)) => {
                    let value = fpstate_arch::XfdErr::from_components(value);
                    cpu.write_xfd_err(value).unwrap();
                    Some(Reply::Done)
                }
                Progress::Exits(exit) => panic!("{exit:?}"),
                Progress::Answered(answer) => return answer,
            };
            if let Some(op) = op {
                between(cpu, op);
            }
        }
        panic!("no answer")
    }

    #[test]
    fn both_programs_find_what_they_expect_on_a_cpu_of_their_own() {
        for program in [TileProgram::product(), TileProgram::toggle()] {
            assert_eq!(answer(program, &mut cpu(), |_, _| ()), Answer::Right);
        }
    }

    #[test]
    fn one_bit_of_a_tile_changed_on_the_way_makes_them_wrong() {
        let damaged = |program, after| {
            answer(program, &mut cpu(), |cpu, op| {
                if op == after {
                    cpu.registers_mut().component(Component::TileData).unwrap()[3 * 64] ^= 1;
                }
            })
        };
        assert_eq!(damaged(TileProgram::product(), Op::Multiply), Answer::Wrong);
        assert_eq!(damaged(TileProgram::toggle(), Op::Load(0)), Answer::Wrong);
    }

    #[test]
    fn an_arming_that_gets_lost_makes_the_toggling_program_wrong() {
        let enabled = answer(TileProgram::toggle(), &mut cpu(), |cpu, op| {
            if op == Op::WriteXfd(TILE_DATA) {
                cpu.write_xfd(Xfd::NOTHING).unwrap();
            }
        });
        assert_eq!(enabled, Answer::Wrong);
    }
}
