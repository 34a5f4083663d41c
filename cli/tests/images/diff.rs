//! What `diff` says of two files.

use fpstate_arch::ComponentSet;

use crate::file::{TestFile, json, refusal, text};
use crate::made::MadeCore;
use crate::made_images::{compacted, cpu, standard, with_xcr0};

const AVX512: ComponentSet = ComponentSet::from_bits(0x2e7);
const AVX: ComponentSet = ComponentSet::from_bits(7);

#[test]
fn the_same_registers_in_other_places_are_equal() {
    let (intel, amd) = (cpu("sapphire-rapids"), cpu("genoa"));
    let (there, here) = (
        standard(&intel, AVX512, AVX512),
        standard(&amd, AVX512, AVX512),
    );
    assert_ne!(there, here);
    let (a, b) = (TestFile::of(&there), TestFile::of(&here));
    let shown = text(
        &[
            "diff",
            a.name(),
            b.name(),
            "--cpu",
            "sapphire-rapids",
            "--cpu-b",
            "genoa",
        ],
        0,
    );
    assert!(shown.contains("the same registers"), "{shown}");
    let short = TestFile::of(&compacted(&amd, AVX512, &here));
    assert_eq!(json(&["diff", a.name(), short.name()], 0)["equal"], true);
}

#[test]
fn one_bit_is_found_with_its_register_and_component() {
    let intel = cpu("sapphire-rapids");
    let image = standard(&intel, AVX512, AVX512);
    for (at, component, register) in [
        (0, "x87", "fctrl"),
        (41, "x87", "st0"),
        (24, "SSE", "mxcsr"),
        (160 + 16 * 5, "SSE", "zmm5"),
        (576 + 16 * 5, "AVX", "zmm5"),
        (1088 + 8, "opmask", "k1"),
        (1152 + 32 * 5, "ZMM_Hi256", "zmm5"),
        (1664 + 64 * 5, "Hi16_ZMM", "zmm21"),
        (2688, "PKRU", "pkru"),
    ] {
        let mut other = image.clone();
        other[at] ^= 1;
        let (a, b) = (TestFile::of(&image), TestFile::of(&other));
        let report = json(&["diff", a.name(), b.name(), "--cpu", "sapphire-rapids"], 1);
        let pair = &report["threads"][0];
        let differ: Vec<_> = pair["components"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["equal"] == false)
            .collect();
        assert_eq!(differ.len(), 1, "byte {at}: {differ:?}");
        assert_eq!(differ[0]["name"], component);
        let registers: Vec<_> = pair["registers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| &r["name"])
            .collect();
        assert_eq!(registers, [register], "byte {at}");
    }
}

#[test]
fn live_with_initial_values_and_absent_are_equal_to_initial() {
    let intel = cpu("sapphire-rapids");
    let less = standard(&intel, AVX, AVX);
    let mut more = standard(&intel, AVX512, AVX);
    // XSTATE_BV announces opmasks, all of them 0.
    more[512] |= 1 << 5;
    let (a, b) = (TestFile::of(&less), TestFile::of(&more));
    let shown = text(&["diff", a.name(), b.name(), "--cpu", "sapphire-rapids"], 0);
    assert!(
        shown.contains("  opmask     equal    absent in A, live in B\n"),
        "{shown}"
    );
}

#[test]
fn threads_are_compared_by_their_ids_or_in_their_order() {
    let intel = cpu("sapphire-rapids");
    let image = with_xcr0(standard(&intel, AVX, AVX), AVX);
    let mut other = image.clone();
    other[160] ^= 2;
    let core = |first: u32, second: &[u8]| {
        let mut core = MadeCore::default();
        core.thread(first, 0, &image).thread(first + 1, 0, second);
        TestFile::of(&core.bytes())
    };
    let (a, same, moved, shifted) = (
        core(10, &image),
        core(10, &image),
        core(90, &other),
        core(11, &image),
    );
    text(&["diff", a.name(), same.name()], 0);
    let report = json(&["diff", a.name(), moved.name()], 1);
    let pairs = report["threads"].as_array().unwrap();
    assert_eq!(
        (&pairs[0]["equal"], &pairs[1]["equal"]),
        (&true.into(), &false.into())
    );
    assert_eq!((&pairs[1]["a"], &pairs[1]["b"]), (&11.into(), &91.into()));
    // 11 is in both; 10 and 12 in one each.
    let shown = text(&["diff", a.name(), shifted.name()], 1);
    assert!(shown.contains("thread 10: in A only\n"), "{shown}");
    assert!(shown.contains("thread 12: in B only\n"), "{shown}");
    // A core and an image: the thread that is asked for.
    let alone = TestFile::of(&image);
    text(&["diff", a.name(), alone.name(), "--thread", "11"], 0);
    text(&["diff", a.name(), alone.name()], 1);
}

#[test]
fn a_file_that_cannot_be_read_is_bad_input_and_no_difference() {
    let intel = cpu("sapphire-rapids");
    let (good, bad) = (
        TestFile::of(&standard(&intel, AVX, AVX)),
        TestFile::of(b"no image"),
    );
    let line = refusal(&["diff", good.name(), bad.name()]);
    assert!(line.contains(bad.name()), "{line}");
    assert!(line.contains("the file ends at byte 8"), "{line}");
}
