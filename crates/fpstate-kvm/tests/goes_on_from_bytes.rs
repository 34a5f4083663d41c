//! As `goes_on_in_a_new_vm`, with the snapshot written and read in between: what leaves the process.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(
    unsafe_code,
    reason = "guest memory is registered by its address, and the guest's code lies between labels"
)]

mod guest;

use fpstate_kvm::VcpuExtendedState;

use guest::{Bench, kvm};

type Through = fn(&VcpuExtendedState) -> VcpuExtendedState;

/// Written and read again.
const FORMS: [(&str, Through); 2] = [
    ("JSON", |snapshot| {
        let text = serde_json::to_string(snapshot).expect("it can be written");
        eprintln!("{} bytes", text.len());
        serde_json::from_str(&text).expect("and read")
    }),
    ("postcard", |snapshot| {
        let bytes = postcard::to_stdvec(snapshot).expect("it can be written");
        eprintln!("{} bytes", bytes.len());
        postcard::from_bytes(&bytes).expect("and read")
    }),
];

#[test]
fn a_guest_goes_on_from_bytes_with_every_register_right() {
    let Some(kvm) = kvm() else { return };
    let Some(bench) = Bench::new(&kvm) else {
        return;
    };
    for (form, through) in FORMS {
        eprintln!("as {form}:");
        let patterns = bench.patterns();
        let stopped = bench.stopped(&patterns);
        let snapshot = VcpuExtendedState::capture(&stopped.xsave(&bench.host)).unwrap();
        let mut copy = bench.machine();
        copy.take_over(&stopped);
        drop(stopped);
        let received = through(&snapshot);
        assert_eq!(received, snapshot);
        received.restore(&copy.xsave(&bench.host)).unwrap();
        assert_eq!(bench.wrong_registers(&mut copy, &patterns), Ok(vec![]));
    }
}
