//! Files that nobody meant well with: no panic, one line, no more memory than the file is long.

use std::io::Cursor;

use fastrand::Rng;
use fpstate_arch::ComponentSet;
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_kvm::{CpuRecord, Parts, VcpuExtendedState};
use fpstate_model::Profile;

use crate::elf_core::made::MadeCore;
use crate::image_cpu::Candidates;
use crate::inspect_report::SubjectReport;
use crate::inspect_text::{Initial, of_registers, of_thread};
use crate::made_images::{compacted, cpu, signal_frame, standard, with_xcr0};
use crate::registers::lanes::Values;
use crate::registers::{Contents, Room};
use crate::saved_file::SavedFile;
use crate::subject::Subject;

/// `FPSTATE_SEED`, or a random one; printed, for a failure to be replayed.
fn seed() -> u64 {
    let given = std::env::var("FPSTATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("FPSTATE_SEED={seed}");
    seed
}

/// What a file of every kind looks like when nothing is wrong with it.
fn sound_files() -> Vec<Vec<u8>> {
    let spr = cpu("sapphire-rapids");
    let room = ComponentSet::from_bits(0x6_02e7);
    let image = with_xcr0(standard(&spr, room, room), room);
    let avx = ComponentSet::from_bits(7);
    let small = with_xcr0(standard(&spr, avx, avx), avx);
    let note: Vec<u8> = [2u32, 256, 576, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut core = MadeCore::default();
    core.memory = 64;
    core.thread(100, 11, &small).thread(101, 0, &small);
    let mut noted = core.clone();
    noted.note("LINUX", 0x205, &note);
    let mut kvm = small.clone();
    kvm.resize(4096, 0);
    let fxsave = small[..512].to_vec();
    let compacted = compacted(&spr, room, &image);
    let frame = signal_frame(&spr, room, &image);
    let (cpu, _) = CpuRecord::read(RecordedLeaves(&Profile::SAPPHIRE_RAPIDS.leaves()));
    let snapshot = serde_json::to_vec(&VcpuExtendedState::from_parts(Parts {
        cpu,
        xcr0: room,
        xss: ComponentSet::EMPTY,
        xfd: ComponentSet::EMPTY,
        xfd_err: ComponentSet::EMPTY,
        xsave: image.clone(),
    }));
    vec![
        image,
        small,
        core.bytes(),
        noted.bytes(),
        kvm,
        fxsave,
        compacted,
        frame,
        snapshot.unwrap(),
    ]
}

/// Reads `file` and shows all of it in every way, or says in one line why not.
fn inspect(file: &[u8], candidates: &Candidates) -> Result<(), String> {
    let mut reader = Cursor::new(file);
    let saved = SavedFile::of(&mut reader, None).map_err(|error| error.to_string())?;
    let held: usize = saved.images.iter().map(|image| image.bytes().len()).sum();
    assert!(held <= file.len(), "{held} bytes held of {}", file.len());
    let subject = Subject::of(saved, candidates).map_err(|error| error.to_string())?;
    let registers_of =
        |state: &fpstate::ImageState<'_>| Contents::of(state).registers(&Room::of(state.layout()));
    for thread in &subject.threads {
        let state = thread.state().map_err(|error| error.to_string())?;
        let lines = of_registers(&registers_of(&state), Values::F32, Initial::Together);
        assert!(
            lines
                .iter()
                .chain(&of_thread(thread, &state))
                .all(|line| !line.contains('\n'))
        );
    }
    let report = SubjectReport {
        subject: &subject,
        registers: &|_, state| registers_of(state),
        values: Values::Hex,
    };
    serde_json::to_writer(std::io::sink(), &report).unwrap();
    Ok(())
}

fn mutate(file: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..5) {
        let at = match rng.u8(..4) {
            // Headers, and what follows the first ones of a core.
            0 => rng.usize(..64),
            1 => rng.usize(..300),
            2 => rng.usize(512..600),
            _ => rng.usize(..=file.len()),
        };
        let extreme = *rng
            .choice(&[0, 1, 0xffff, 0x7fff_ffff, u64::MAX, 1 << 63, 0xff00])
            .unwrap();
        match rng.u8(..8) {
            0 => file.truncate(at),
            1 => file.resize(at + rng.usize(..5000), rng.u8(..)),
            2..=4 => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= 1 << rng.u8(..8);
                }
            }
            _ => {
                let width = *rng.choice(&[2, 4, 8]).unwrap();
                for (byte, new) in file
                    .iter_mut()
                    .skip(at)
                    .zip(&extreme.to_le_bytes()[..width])
                {
                    *byte = *new;
                }
            }
        }
    }
}

#[test]
fn sound_files_of_every_kind_are_read() {
    let candidates = Candidates::of(None).unwrap();
    for (index, file) in sound_files().iter().enumerate() {
        assert_eq!(inspect(file, &candidates), Ok(()), "file {index}");
    }
}

#[test]
fn mutated_files_are_shown_or_refused_in_one_line() {
    let mut rng = Rng::with_seed(seed());
    let candidates = Candidates::of(None).unwrap();
    let sound = sound_files();
    let (mut shown, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut file = rng.choice(&sound).unwrap().clone();
        mutate(&mut file, &mut rng);
        match inspect(&file, &candidates) {
            Ok(()) => shown += 1,
            Err(line) => {
                assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
                refused += 1;
            }
        }
    }
    println!("{shown} shown, {refused} refused");
    assert!(
        shown > 100 && refused > 100,
        "{shown} shown, {refused} refused"
    );
}

#[test]
fn random_bytes_are_shown_or_refused() {
    let mut rng = Rng::with_seed(seed());
    let candidates = Candidates::of(None).unwrap();
    for _ in 0..1000 {
        let mut file = vec![0; rng.usize(..6000)];
        rng.fill(&mut file);
        if rng.bool() && file.len() > 64 {
            // A header that gets further than the magic number.
            let core = MadeCore::default().head();
            file[..56].copy_from_slice(&core[..56]);
        }
        let _ = inspect(&file, &candidates);
    }
}
