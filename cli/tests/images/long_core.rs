//! A core of a gigabyte, all of it hole but the headers and the notes behind it.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use fpstate_arch::ComponentSet;
use serde_json::Value;

use crate::file::TestFile;
use crate::made::MadeCore;
use crate::made_images::{cpu, standard, with_xcr0};

#[test]
fn is_read_with_64_mib_of_address_space() {
    let avx = ComponentSet::from_bits(7);
    let image = with_xcr0(standard(&cpu("sapphire-rapids"), avx, avx), avx);
    let mut core = MadeCore::default();
    core.memory = 1 << 30;
    core.thread(1, 6, &image).thread(2, 0, &image);
    let file = TestFile::of(&[]);
    core.write(&mut File::create(file.path()).unwrap());
    assert!(file.path().metadata().unwrap().len() > 1 << 30);
    let limited = "ulimit -v 65536 && exec \"$0\" inspect \"$1\" --json";
    let start = Instant::now();
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_fpstate"), file.name()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["threads"].as_array().unwrap().len(), 2);
}
