//! The library's `sigreturn` against the model's XRSTOR and FXRSTOR, which Linux executes on the
//! frame itself: random frames, damaged ones among them; same verdict, same registers.

use conformance::contents::Contents;
use conformance::cpus::{self, RecordedCpu};
use conformance::generators::seeds;
use conformance::images::standard_image;
use conformance::memory::Memory;
use conformance::user_code::UserCode;
use fastrand::Rng;
use fpstate::{FrameForm, Layout, Loss, Sigreturn, XsaveArea};
use fpstate_arch::{ComponentSet, Enumeration, Fault, Processor, Xcr0};
use fpstate_model::ModelCpu;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Xrstor,
    Fxrstor,
}

/// A system and a thread on it.
struct Thread {
    enumeration: Enumeration,
    /// All that the system enables.
    xcr0: ComponentSet,
    /// What the thread's state has room for.
    user: ComponentSet,
    processor: ModelCpu,
    mxcsr_mask: u32,
}

impl Thread {
    fn new(kind: &RecordedCpu, random: &mut Rng) -> Self {
        let enumeration = kind.enumeration();
        let legal = cpus::legal_xcr0s(&enumeration);
        let xcr0 = enumeration.user_components();
        let user = random.choice(legal).expect("at least 1").components();
        let mut processor = kind.model();
        let all = Xcr0::new(xcr0, xcr0).expect("a legal XCR0");
        processor.xsetbv(all).expect("XSETBV");
        let mut memory = Memory::zeroed(512);
        processor.fxsave(memory.bytes_mut()).expect("FXSAVE");
        let mask = memory.bytes()[28..32].try_into().expect("four bytes");
        Self {
            enumeration,
            xcr0,
            user: user.union(ComponentSet::LEGACY),
            processor,
            mxcsr_mask: u32::from_le_bytes(mask),
        }
    }

    fn layout(&self) -> Layout<'_> {
        Layout::standard(&self.enumeration, self.user).expect("a layout")
    }

    /// A frame of this system, with values wherever it has bytes.
    fn frame(&self, kind: &RecordedCpu, random: &mut Rng) -> Memory {
        let mut values = Contents::initial(&self.enumeration, self.xcr0);
        values.write_all(self.xcr0, random, kind.error_pointers());
        let image = standard_image(&self.enumeration, &values, self.xcr0);
        let size = self.layout().area_len();
        let mut frame = Memory::zeroed(size + 4);
        let bytes = frame.bytes_mut();
        bytes[..size].copy_from_slice(&image.bytes()[..size]);
        let live = random.u64(..) & self.user.bits();
        bytes[512..520].copy_from_slice(&live.to_le_bytes());
        let size = u32::try_from(size).expect("a length");
        bytes[464..468].copy_from_slice(b"SXPF");
        bytes[468..472].copy_from_slice(&(size + 4).to_le_bytes());
        bytes[472..480].copy_from_slice(&self.user.bits().to_le_bytes());
        bytes[480..484].copy_from_slice(&size.to_le_bytes());
        let len = bytes.len();
        bytes[len - 4..].copy_from_slice(b"EXPF");
        frame
    }

    /// Which instruction Linux executes (linux.md 1.14).
    fn instruction(&self, frame: &[u8]) -> Instruction {
        let word = |at: usize| {
            let bytes = frame[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(bytes)).expect("32 bits")
        };
        let (extended_size, xstate_size) = (word(468), word(480));
        let longest = self.layout().area_len();
        let describes_itself = &frame[464..468] == b"SXPF"
            && (576..=longest).contains(&xstate_size)
            && xstate_size <= extended_size
            && &frame[xstate_size..xstate_size + 4] == b"EXPF";
        if describes_itself {
            Instruction::Xrstor
        } else {
            Instruction::Fxrstor
        }
    }

    /// What the instructions do that Linux executes.
    fn as_executed(&self, frame: &[u8]) -> Result<Contents, Fault> {
        let mut processor = self.processor.clone();
        let listed = match self.instruction(frame) {
            Instruction::Xrstor => {
                let xfeatures = frame[472..480].try_into().expect("eight bytes");
                let xfeatures = ComponentSet::from_bits(u64::from_le_bytes(xfeatures));
                let rfbm = xfeatures.intersection(self.user);
                processor.xrstor(frame, rfbm)?;
                rfbm
            }
            Instruction::Fxrstor => {
                processor.fxrstor(&frame[..512])?;
                ComponentSet::LEGACY
            }
        };
        // XSTATE_BV 0, XCOMP_BV as XSAVES would have it: MXCSR becomes initial with SSE alone.
        let mut initial = Memory::zeroed(576);
        initial.bytes_mut()[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        initial.bytes_mut()[520..528].copy_from_slice(&(1_u64 << 63).to_le_bytes());
        processor.xrstor(initial.bytes(), self.user.difference(listed))?;
        Ok(processor.contents(self.xcr0))
    }

    fn as_imported(&self, frame: &Sigreturn<'_>) -> Contents {
        let layout = Layout::standard(&self.enumeration, self.xcr0).expect("a layout");
        let mut memory = Memory::zeroed(layout.area_len());
        let mut area = XsaveArea::new(layout, memory.bytes_mut()).expect("an area");
        area.import_state(&frame.state(), ComponentSet::EMPTY, Loss::Reject)
            .expect("room");
        let mut processor = self.processor.clone();
        let restored = processor.xrstor(area.bytes(), self.xcr0);
        assert_eq!(restored, Ok(()), "what is accepted can be restored");
        processor.contents(self.xcr0)
    }
}

/// A bit or a byte of what describes the frame, of its header, of MXCSR.
fn damage(bytes: &mut [u8], random: &mut Rng) {
    for _ in 0..random.usize(0..4) {
        let range = random.choice([24..28, 464..484, 472..480, 512..520, 520..528, 528..576]);
        let offset = random.usize(range.expect("six"));
        bytes[offset] ^= 1 << random.u8(0..8);
    }
    match random.u8(0..16) {
        // A compacted image of what is live, perhaps of more.
        0 => {
            bytes.copy_within(512..520, 520);
            bytes[520] |= random.u8(..) & 7;
            bytes[527] |= 0x80;
        }
        1 => bytes[512..520].fill(0),
        2 => *bytes.last_mut().expect("a byte") = 0,
        _ => {}
    }
}

#[test]
fn any_frame_is_judged_and_restored_as_the_instructions_do() {
    let kinds = [
        cpus::SAPPHIRE_RAPIDS,
        cpus::GENOA,
        cpus::SKYLAKE_SP,
        cpus::GENOA_WITHOUT_XSAVES,
    ];
    let (mut whole, mut fx_only, mut refused) = (0_u32, 0_u32, 0_u32);
    for seed in seeds(20_000) {
        let mut random = Rng::with_seed(seed);
        let kind = random.choice(&kinds).expect("four");
        let thread = Thread::new(kind, &mut random);
        let mut frame = thread.frame(kind, &mut random);
        damage(frame.bytes_mut(), &mut random);
        let (bytes, layout) = (frame.bytes(), thread.layout());
        let parsed = Sigreturn::parse(bytes, layout, thread.xcr0, thread.mxcsr_mask);
        let what = format!("{}, FPSTATE_SEED={seed}: {parsed:?}", kind.name);
        let executed = thread.as_executed(bytes);
        assert_eq!(parsed.is_err(), executed.is_err(), "{what}, {executed:?}");
        let (Ok(parsed), Ok(executed)) = (parsed, executed) else {
            refused += 1;
            continue;
        };
        let instruction = match parsed.form() {
            FrameForm::Full => {
                whole += 1;
                Instruction::Xrstor
            }
            FrameForm::FxOnly(_) => {
                fx_only += 1;
                Instruction::Fxrstor
            }
        };
        assert_eq!(instruction, thread.instruction(bytes), "{what}");
        let imported = thread.as_imported(&parsed);
        assert_eq!(executed.difference(&imported), None, "{what}");
    }
    if whole + fx_only + refused > 1 {
        assert!(whole > 1000 && fx_only > 1000 && refused > 1000);
    }
}
