//! What `inspect` shows of each kind of file.

use fpstate_arch::ComponentSet;

use crate::file::{TestFile, json, refusal, text};
use crate::made::MadeCore;
use crate::made_images::{compacted, cpu, standard, with_xcr0};

/// Everything a Sapphire Rapids has in XCR0.
const XCR0: ComponentSet = ComponentSet::from_bits(0x6_02e7);
/// x87 to Hi16_ZMM, and PKRU.
const AVX512: ComponentSet = ComponentSet::from_bits(0x2e7);

fn hex_of(report: &serde_json::Value, thread: usize, name: &str) -> String {
    let registers = report["threads"][thread]["registers"].as_array().unwrap();
    let register = registers.iter().find(|register| register["name"] == name);
    register.unwrap_or_else(|| panic!("{name}"))["hex"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn one_state_in_every_form_has_the_same_registers() {
    let intel = cpu("sapphire-rapids");
    let image = standard(&intel, AVX512, AVX512);
    let mut kvm = with_xcr0(image.clone(), AVX512);
    kvm.resize(4096, 0);
    let core = MadeCore::default()
        .thread(7, 0, &with_xcr0(image.clone(), AVX512))
        .bytes();
    let forms = [
        ("xsave", image.clone()),
        ("kvm", kvm),
        ("compacted", compacted(&intel, AVX512, &image)),
        ("elf-core", core),
    ];
    let expected = json(
        &[
            "inspect",
            TestFile::of(&image).name(),
            "--cpu",
            "sapphire-rapids",
        ],
        0,
    );
    for (kind, bytes) in forms {
        let file = TestFile::of(&bytes);
        let report = json(&["inspect", file.name()], 0);
        assert_eq!(report["kind"], kind);
        assert_eq!(
            report["threads"][0]["registers"], expected["threads"][0]["registers"],
            "{kind}"
        );
    }
    // FXSAVE has the low parts.
    let fxsave = TestFile::of(&image[..512]);
    let report = json(&["inspect", fxsave.name()], 0);
    let (low, whole) = (hex_of(&report, 0, "xmm3"), hex_of(&expected, 0, "zmm3"));
    assert!(whole.ends_with(&low[2..]));
}

#[test]
fn the_layout_is_found_by_what_fits() {
    for profile in ["sapphire-rapids", "genoa"] {
        let image = standard(&cpu(profile), AVX512, AVX512);
        let file = TestFile::of(&image);
        let found = json(&["inspect", file.name()], 0);
        let named = json(&["inspect", file.name(), "--cpu", profile], 0);
        assert_eq!(
            found["threads"][0]["registers"], named["threads"][0]["registers"],
            "{profile}"
        );
        let line = refusal(&["inspect", file.name(), "--cpu", "haswell-ep"]);
        assert!(
            line.contains("by the CPU of --cpu: this CPU lacks opmask"),
            "{line}"
        );
    }
}

#[test]
fn a_core_that_says_its_layout_is_read_by_it() {
    // No CPU puts AVX there.
    let avx = ComponentSet::from_bits(7);
    let mut image = vec![0; 1024 + 256];
    image[512] = 7;
    image[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    image[1024..1040].fill(0xab);
    let note: Vec<u8> = [2u32, 256, 1024, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut core = MadeCore::default();
    core.thread(1, 0, &with_xcr0(image, avx));
    let without = TestFile::of(&core.bytes());
    let line = refusal(&["inspect", without.name()]);
    assert!(line.contains("thread 1, NT_X86_XSTATE from byte"), "{line}");
    assert!(
        line.contains("no CPU known here puts x87+SSE+AVX into 1280 bytes"),
        "{line}"
    );
    let with = TestFile::of(&core.note("LINUX", 0x205, &note).bytes());
    let report = json(&["inspect", with.name()], 0);
    assert!(hex_of(&report, 0, "ymm0").starts_with(&format!("0x{}", "ab".repeat(16))));
    let layout = report["threads"][0]["image"]["layout"].as_str().unwrap();
    assert!(
        layout.starts_with("NT_X86_XSAVE_LAYOUT at byte "),
        "{layout}"
    );
}

#[test]
fn control_registers_keys_and_tiles_are_said_in_words() {
    let intel = cpu("sapphire-rapids");
    let file = TestFile::of(&with_xcr0(standard(&intel, XCR0, XCR0), XCR0));
    let shown = text(&["inspect", file.name()], 0);
    for line in [
        "  fctrl    0x037f IM DM ZM OM UM PM PC=extended RC=nearest",
        "  fstat    0x3000 TOP=6",
        "  ftag     0x4fff",
        "  st0      0x3fff8000000000000000 1 (valid, mm6)",
        "  mxcsr    0x00001f80 IM DM ZM OM UM PM RC=nearest",
        "  pkru     0x00000024 key 1 AD key 2 WD",
        "  tilecfg  palette 1, start row 0",
        "  tmm0     not configured (its bytes are not zero)",
        "  tmm1     2 rows × 8 bytes",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let selected = text(
        &[
            "inspect",
            file.name(),
            "--register",
            "fioff,xcr0,k7",
            "--values",
            "u8",
        ],
        0,
    );
    assert!(selected.contains("  fioff  0x12345678\n"), "{selected}");
    assert!(
        selected.contains("  xcr0   0x00000000000602e7 x87 SSE AVX opmask"),
        "{selected}"
    );
    let lanes = text(
        &[
            "inspect",
            file.name(),
            "--register",
            "tmm1",
            "--values",
            "u32",
        ],
        0,
    );
    assert!(lanes.contains("row  1  ["), "{lanes}");
}

#[test]
fn what_is_initial_is_said_so_and_its_bytes_are_not_shown() {
    let intel = cpu("sapphire-rapids");
    let mut image = standard(&intel, AVX512, ComponentSet::from_bits(0x207));
    // Stale bytes of opmasks.
    image[1088..1152].fill(0xee);
    let file = TestFile::of(&image);
    let shown = text(
        &[
            "inspect",
            file.name(),
            "--cpu",
            "sapphire-rapids",
            "--as",
            "xsave",
        ],
        0,
    );
    assert!(!shown.contains("eeee"), "{shown}");
    let file = TestFile::of(&with_xcr0(image, AVX512));
    let shown = text(
        &[
            "inspect",
            file.name(),
            "--cpu",
            "sapphire-rapids",
            "--as",
            "compacted",
        ],
        2,
    );
    assert!(shown.is_empty());
    let core = MadeCore::default()
        .thread(1, 0, &std::fs::read(file.path()).unwrap())
        .bytes();
    let core = TestFile::of(&core);
    let shown = text(&["inspect", core.name()], 0);
    assert!(
        shown.contains("  live: x87+SSE+AVX+PKRU; initial: opmask+ZMM_Hi256+Hi16_ZMM\n"),
        "{shown}"
    );
    assert!(shown.contains("  k0 to k7: initial\n"), "{shown}");
    assert!(shown.contains("  zmm16 to zmm31: initial\n"), "{shown}");
    assert!(!shown.contains("eeee"), "{shown}");
}

#[test]
fn one_thread_and_one_register_can_be_asked_for() {
    let intel = cpu("sapphire-rapids");
    let avx = ComponentSet::from_bits(7);
    let image = with_xcr0(standard(&intel, avx, avx), avx);
    let core = MadeCore::default()
        .thread(100, 11, &image)
        .thread(101, 0, &image)
        .bytes();
    let core = TestFile::of(&core);
    let report = json(
        &[
            "inspect",
            core.name(),
            "--thread",
            "101",
            "--register",
            "XMM1,mxcsr",
        ],
        0,
    );
    let threads = report["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 1);
    assert_eq!(threads[0]["tid"], 101);
    let names: Vec<_> = threads[0]["registers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["xmm1", "mxcsr"]);
    assert_eq!(
        json(&["inspect", core.name()], 0)["threads"][0]["signal"],
        11
    );
    let line = refusal(&["inspect", core.name(), "--thread", "5"]);
    assert!(line.contains("--thread 5: no such thread"), "{line}");
    assert!(line.contains("has 100, 101"), "{line}");
    let line = refusal(&["inspect", core.name(), "--register", "zmm0"]);
    assert!(
        line.contains("--register \"zmm0\": no register of that name in this image"),
        "{line}"
    );
}
