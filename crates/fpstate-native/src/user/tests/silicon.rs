//! `XrstorConditions` against the instruction itself.
//!
//! An image that the conditions refuse makes the process that restores it die of SIGSEGV, and one
//! that they accept does not. Each image has a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::string::ToString;
use std::{env, vec};

use super::*;

const CASE: &str = "FPSTATE_XRSTOR_CASE";
const SIGSEGV: i32 = 11;
const COMPACTED: u64 = 1 << 63;

#[derive(Clone, Copy, Debug)]
struct Case {
    xstate_bv: u64,
    xcomp_bv: u64,
    /// A byte of the header that is 1, counted from the header's first.
    reserved_byte: usize,
    mxcsr: u32,
    rfbm: u64,
}

fn cases(xcr0: u64) -> Vec<Case> {
    let beyond = !xcr0 & xcr0.wrapping_add(1);
    let fine = Case {
        xstate_bv: 0x3,
        xcomp_bv: 0,
        reserved_byte: 0,
        mxcsr: 0x1f80,
        rfbm: !0,
    };
    let fine_compacted = Case {
        xcomp_bv: COMPACTED | 0x3,
        ..fine
    };
    let mut cases = vec![fine, fine_compacted];
    for xstate_bv in [0, 1, 2, xcr0 & 0xe7, beyond, 1 << 62, COMPACTED] {
        for xcomp_bv in [0, COMPACTED, COMPACTED | xcr0, COMPACTED | xcr0 | beyond] {
            cases.push(Case {
                xstate_bv,
                xcomp_bv,
                ..fine
            });
        }
    }
    for xcomp_bv in [1, 3, 1 << 62, COMPACTED | 1 << 62] {
        cases.push(Case { xcomp_bv, ..fine });
    }
    for reserved_byte in [16, 23, 24, 31, 32, 63] {
        cases.push(Case {
            reserved_byte,
            ..fine
        });
        cases.push(Case {
            reserved_byte,
            ..fine_compacted
        });
    }
    for case in [fine, fine_compacted] {
        for xstate_bv in [0, 1, 3] {
            for rfbm in [0, 1, 2, 3, 4, 5] {
                cases.push(Case {
                    xstate_bv,
                    rfbm,
                    mxcsr: 0x0100_1f80,
                    ..case
                });
            }
        }
        for bit in 0..32 {
            cases.push(Case {
                mxcsr: 0x1f80 | 1 << bit,
                ..case
            });
        }
    }
    cases
}

fn image(case: Case, len: usize) -> Area {
    let mut area = Area::zeroed(len);
    area.set_legacy(&LegacyRegion {
        mxcsr: Mxcsr::from_bits(case.mxcsr),
        ..LegacyRegion::INITIAL
    });
    let mut header = XsaveHeader::standard(ComponentSet::from_bits(case.xstate_bv));
    header.xcomp_bv = case.xcomp_bv;
    if let Some(n) = case.reserved_byte.checked_sub(16) {
        header.reserved[n] = 1;
    }
    area.set_header(&header);
    area
}

#[test]
fn the_conditions_refuse_what_the_instruction_refuses() {
    with_xsave(|mut cpu, area, _| {
        let children: Vec<_> = cases(cpu.cpu.conditions.xcr0.bits())
            .into_iter()
            .enumerate()
            .map(|(number, case)| {
                let child = Command::new(env::current_exe().unwrap())
                    .args(["--ignored", "--exact"])
                    .arg("user::tests::silicon::executes_one_case_unchecked")
                    .env(CASE, number.to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                (case, child.unwrap())
            })
            .collect();
        for (case, status) in children {
            let image = image(case, area.bytes().len());
            let rfbm = ComponentSet::from_bits(case.rfbm);
            let legacy = image.bytes().first_chunk().unwrap();
            let verdict = cpu.cpu.conditions.check(legacy, &image.header(), rfbm);
            let survived = match (status.code(), status.signal()) {
                (Some(0), None) => true,
                (None, Some(SIGSEGV)) => false,
                other => panic!("{case:x?}: {other:?}"),
            };
            assert_eq!(verdict.is_ok(), survived, "{case:x?}");
            // By few comparisons where the like was judged before: the same.
            for _ in 0..2 {
                let verdict = cpu.cpu.require_restore(image.bytes(), rfbm);
                assert_eq!(verdict.is_ok(), survived, "{case:x?}");
            }
        }
    });
}

#[test]
#[ignore = "a child process of the test above; it may die"]
fn executes_one_case_unchecked() {
    let Ok(number) = env::var(CASE) else {
        return;
    };
    with_xsave(|mut cpu, area, _| {
        let cases = cases(cpu.cpu.conditions.xcr0.bits());
        let case = cases[number.parse::<usize>().unwrap()];
        let image = image(case, area.bytes().len());
        let rfbm = ComponentSet::from_bits(case.rfbm).intersection(cpu.handed_over());
        // SAFETY: none: whether condition 3 of `xrstor64` holds is what the parent process asks.
        // The others do.
        unsafe { cpu.execute_on_image(hand_over::XRSTOR, image.bytes(), rfbm) }.unwrap();
    });
}
