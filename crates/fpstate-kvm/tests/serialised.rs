//! Snapshots as serde data: round trips, and what a reader says of a version that it does not know.

use fpstate_arch::ComponentSet;
use fpstate_arch::cpuid::RecordedLeaves;
use fpstate_kvm::{CpuRecord, FormatVersion, Parts, VcpuExtendedState};
use fpstate_model::Profile;

fn snapshot() -> VcpuExtendedState {
    let leaves = Profile::SAPPHIRE_RAPIDS.leaves();
    let (cpu, _) = CpuRecord::read(RecordedLeaves(&leaves));
    let mut xsave: Vec<u8> = (0..=255).cycle().take(0x2b00).collect();
    xsave[512..576].fill(0);
    xsave[512] = 0xe7;
    VcpuExtendedState::from_parts(Parts {
        cpu,
        xcr0: ComponentSet::from_bits(0x602e7),
        xss: ComponentSet::EMPTY,
        xfd: ComponentSet::from_bits(1 << 18),
        xfd_err: ComponentSet::EMPTY,
        xsave,
    })
}

#[test]
fn a_snapshot_survives_json_and_postcard() {
    let written = snapshot();
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(
        serde_json::from_str::<VcpuExtendedState>(&text).unwrap(),
        written
    );
    let bytes = postcard::to_stdvec(&written).unwrap();
    assert_eq!(
        postcard::from_bytes::<VcpuExtendedState>(&bytes).unwrap(),
        written
    );
    // Little more than the image itself.
    assert!(
        bytes.len() < written.xsave().len() + 1024,
        "{}",
        bytes.len()
    );
    assert_eq!(written.version(), FormatVersion::CURRENT);
}

#[test]
fn the_version_is_first_and_another_one_is_refused_before_anything_else_is_read() {
    let text = serde_json::to_string(&snapshot()).unwrap();
    assert!(text.starts_with(r#"{"version":1,"#), "{}", &text[..40]);
    // What follows is no format that this reader knows.
    let refused = serde_json::from_str::<VcpuExtendedState>(r#"{"version":2,"cpu":"a name"}"#);
    let error = refused.unwrap_err().to_string();
    assert!(
        error.starts_with("snapshot of format version 2; known: 1"),
        "{error}"
    );

    let mut bytes = postcard::to_stdvec(&snapshot()).unwrap();
    assert_eq!(bytes[0], 1);
    bytes.truncate(1);
    bytes[0] = 2;
    assert!(postcard::from_bytes::<VcpuExtendedState>(&bytes).is_err());
    // The typed answer, for those who keep the number beside the parts.
    let refused = VcpuExtendedState::from_versioned_parts(2, snapshot().into_parts());
    assert_eq!(refused.unwrap_err().found, 2);
}

#[test]
fn bytes_cut_off_anywhere_are_an_error_and_no_panic() {
    let bytes = postcard::to_stdvec(&snapshot()).unwrap();
    for len in (0..bytes.len()).step_by(97) {
        assert!(postcard::from_bytes::<VcpuExtendedState>(&bytes[..len]).is_err());
    }
    // A length of the image that would be 4 GiB: nothing is reserved for it before the bytes are there.
    let mut huge = bytes.clone();
    let at = huge.len() - snapshot().xsave().len() - 2;
    huge.splice(at.., [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(postcard::from_bytes::<VcpuExtendedState>(&huge).is_err());
}
