//! Snapshots of `fpstate-kvm`.

use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_arch::{Component, ComponentSet};
use fpstate_kvm::{CpuRecord, Parts, VcpuExtendedState};
use fpstate_model::Profile;

use crate::file::{TestFile, json, refusal, text};
use crate::made_images::{cpu, standard, with_xcr0};

/// Everything a Sapphire Rapids has in XCR0.
const XCR0: ComponentSet = ComponentSet::from_bits(0x6_02e7);

/// Tiles are in the image and disabled by IA32_XFD.
fn snapshot() -> (VcpuExtendedState, Vec<u8>) {
    let leaves = Profile::by_name("sapphire-rapids").unwrap().leaves();
    let (record, _) = CpuRecord::read(RecordedLeaves(&leaves));
    let image = standard(&cpu("sapphire-rapids"), XCR0, XCR0);
    let snapshot = VcpuExtendedState::from_parts(Parts {
        cpu: record,
        xcr0: XCR0,
        xss: ComponentSet::EMPTY,
        xfd: ComponentSet::only(Component::TileData),
        xfd_err: ComponentSet::EMPTY,
        xsave: image.clone(),
    });
    (snapshot, image)
}

#[test]
fn a_snapshot_has_the_registers_of_its_image_but_what_xfd_disables() {
    let (snapshot, image) = snapshot();
    let image = TestFile::of(&with_xcr0(image, XCR0));
    for json_text in [
        serde_json::to_vec(&snapshot).unwrap(),
        serde_json::to_vec_pretty(&snapshot).unwrap(),
    ] {
        let file = TestFile::of(&json_text);
        let report = json(&["inspect", file.name()], 0);
        assert_eq!(report["kind"], "snapshot");
        let found = &report["threads"][0]["image"];
        assert_eq!(found["layout"], "the layout of its own CPU, GenuineIntel");
        assert_eq!(
            (&found["xcr0"], &found["xfd"]),
            (&0x602e7.into(), &0x40000.into())
        );
        let report = json(&["diff", file.name(), image.name()], 1);
        let components = report["threads"][0]["components"].as_array().unwrap();
        let differ: Vec<_> = components.iter().filter(|c| c["equal"] == false).collect();
        assert_eq!(differ.len(), 1, "{differ:?}");
        assert_eq!(
            (&differ[0]["name"], &differ[0]["a"]),
            (&"XTILEDATA".into(), &"initial".into())
        );
        let shown = text(&["inspect", file.name()], 0);
        assert!(
            shown.contains("  IA32_XSS: none; IA32_XFD: XTILEDATA; IA32_XFD_ERR: none\n"),
            "{shown}"
        );
        let shown = text(&["inspect", file.name(), "--register", "xfd"], 0);
        assert!(
            shown.contains("  xfd  0x0000000000040000 XTILEDATA\n"),
            "{shown}"
        );
    }
}

#[test]
fn text_that_is_no_snapshot_is_refused_at_its_byte() {
    let (snapshot, _) = snapshot();
    let good = serde_json::to_string(&snapshot).unwrap();
    let refused = |text: &str| refusal(&["inspect", TestFile::of(text.as_bytes()).name()]);
    let line = refused("{\n  \"version\": 2}");
    assert!(
        line.contains("no snapshot of fpstate-kvm: byte 16: snapshot of format version 2"),
        "{line}"
    );
    let line = refused(&good[..1000]);
    assert!(
        line.contains("no snapshot of fpstate-kvm: byte 999: EOF while parsing"),
        "{line}"
    );
    let line = refused(&good.replace("\"xsave\":[", "\"xsave\":[256,"));
    assert!(
        line.contains("invalid value: integer `256`, expected u8"),
        "{line}"
    );
    let line = refused(&good.replace("\"xsave\":[127,3", "\"xsave\":[],\"more\":[127,3"));
    assert!(line.contains("snapshot: image of 0 bytes"), "{line}");
    let line = refused(&(good + &" ".repeat(1 << 20)));
    assert!(
        line.contains("bytes; allowed: 1048576 for what is no ELF core"),
        "{line}"
    );
}
