//! `fpstate inspect` on cores of a crashed program prints the registers that gdb's
//! `info all-registers` prints: every thread, every register.
//!
//! Three cores: the kernel's, gdb's own, and the kernel's with its images moved to Intel's layout.
//! The third is for CPUs whose layout is another: gdb before 14 knows Intel's only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::made::MadeCore;
use crate::made_images::cpu;
use fpstate::{Layout, StandardImage};
use fpstate_arch::ComponentSet;
use fpstate_engine::HostCpu;
use serde_json::Value;

/// Threads beside the first.
const THREADS: u8 = 4;
/// What gdb shows for bytes it has not.
const UNAVAILABLE: &str = "<unavailable>";

/// Register names and values, lowest byte first in 128-bit words for vectors: hexadecimal.
type Registers = BTreeMap<String, String>;

#[test]
fn every_register_of_every_thread_is_what_gdb_says() {
    let Some(folder) = Folder::new() else { return };
    let program = folder.program();
    let kernels = core_of_the_kernel(&program);
    let gdbs = core_of_gdb(&program);
    if let Some(core) = &kernels {
        assert_known_values(core);
        let moved = core.with_extension("moved");
        fs::write(&moved, moved_to_intel(core)).unwrap();
        let (compared, unavailable) = compare(&program, &moved);
        println!("moved core: {compared} values compared");
        assert_eq!(unavailable, 0, "gdb knows Intel's layout");
    }
    for core in kernels.iter().chain(&gdbs) {
        let (compared, unavailable) = compare(&program, core);
        println!(
            "{}: {compared} values compared, {unavailable} that this gdb cannot read",
            core.display()
        );
        assert!(
            compared >= 5 * (8 + 2 * 8 + 1 + 16),
            "{compared}: x87, MXCSR and XMM at least"
        );
    }
}

/// A folder for the program and its cores, which are long.
struct Folder(PathBuf);

impl Folder {
    /// With the program; or a loud reason why there is none.
    fn new() -> Option<Self> {
        for tool in ["gdb", "cc"] {
            let mut version = Command::new(tool);
            let status = version.arg("--version").stdout(Stdio::null()).status();
            if !status.is_ok_and(|status| status.success()) {
                println!("SKIPPED: no {tool} here; registers are not compared with gdb's");
                return None;
            }
        }
        let name = format!("gdb-{}", std::process::id());
        let folder = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        fs::create_dir_all(&folder.0).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/threads.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Werror", "-pthread", "-o"]);
        assert!(
            cc.arg(folder.program())
                .arg(source)
                .status()
                .unwrap()
                .success()
        );
        Some(folder)
    }

    fn program(&self) -> PathBuf {
        self.0.join("threads")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is no failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn core_of_the_kernel(program: &Path) -> Option<PathBuf> {
    let folder = program.parent().unwrap();
    let limit = "ulimit -c unlimited && exec ./threads \"$0\"";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", limit, &THREADS.to_string()])
        .current_dir(folder);
    let status = shell.stderr(Stdio::null()).status().unwrap();
    assert!(!status.success(), "it crashes: {status}");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_core = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("core")
    };
    let core = entries.into_iter().find(is_core);
    if core.is_none() {
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        println!("SKIPPED: no core of the kernel's here, core_pattern is {pattern:?}");
    }
    core
}

fn core_of_gdb(program: &Path) -> Option<PathBuf> {
    let core = program.with_file_name("gdbs-core");
    let mut gdb = Command::new("gdb");
    gdb.args([
        "-nx",
        "-batch",
        "-ex",
        "set style enabled off",
        "-ex",
        "run",
        "-ex",
    ])
    .arg(format!("generate-core-file {}", core.display()))
    .arg("--args")
    .arg(program)
    .arg(THREADS.to_string());
    let output = gdb.output().unwrap();
    if !core.exists() {
        println!(
            "SKIPPED: gdb wrote no core: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return None;
    }
    Some(core)
}

/// Compares all that gdb shows and `inspect` has, vector registers by words of 128 bits; how many
/// values, and how many gdb did not know.
fn compare(program: &Path, core: &Path) -> (usize, usize) {
    let of_gdb = threads_of_gdb(program, core);
    let report = inspect(core);
    let threads = report["threads"].as_array().unwrap();
    assert_eq!(threads.len(), usize::from(THREADS) + 1);
    assert_eq!(threads.len(), of_gdb.len());
    let (mut compared, mut unavailable) = (0, 0);
    for thread in threads {
        let tid = thread["tid"].as_u64().unwrap();
        let theirs = &of_gdb[&tid];
        let ours = registers(thread);
        for name in expected_names(&ours) {
            let (their, our) = (theirs[&name].split(' '), ours[&name].split(' '));
            for (their, our) in their.zip(our) {
                if their == UNAVAILABLE {
                    unavailable += 1;
                    continue;
                }
                assert_eq!(
                    their,
                    our,
                    "thread {tid}, {name}, gdb's and ours: {}",
                    core.display()
                );
                compared += 1;
            }
        }
    }
    (compared, unavailable)
}

/// Those of ours that gdb has by the same name. It has no name for the whole of FIP and FDP, and
/// before version 16 none for tiles; bounds it shows in another form.
fn expected_names(ours: &Registers) -> Vec<String> {
    let not_in_gdb = ["fip", "fdp", "tilecfg", "tmm", "bnd"];
    let in_gdb = |name: &&String| !not_in_gdb.iter().any(|other| name.starts_with(other));
    ours.keys().filter(in_gdb).cloned().collect()
}

fn inspect(core: &Path) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fpstate"));
    let output = command
        .arg("inspect")
        .arg(core)
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `inspect --json` says of a thread, in the words of [`threads_of_gdb`].
fn registers(thread: &Value) -> Registers {
    let mut registers = Registers::new();
    for register in thread["registers"].as_array().unwrap() {
        let text = |field: &str| register[field].as_str().unwrap_or_default().to_owned();
        let (name, hex) = (text("name"), text("hex"));
        let digits = hex.strip_prefix("0x").unwrap();
        let value = match name.as_str() {
            _ if name.starts_with("st") => format!("{} {}", text("value"), hex),
            _ if name.contains("mm") => words(digits),
            "fip" | "fdp" => {
                let (high, low) = digits.split_at(8);
                let (seg, off) = if name == "fip" {
                    ("fiseg", "fioff")
                } else {
                    ("foseg", "fooff")
                };
                registers.insert(off.to_owned(), number(low));
                registers.insert(seg.to_owned(), number(&high[4..]));
                String::new()
            }
            _ => number(digits),
        };
        registers.insert(name, value);
    }
    registers
}

/// `digits` without leading zeros.
fn number(digits: &str) -> String {
    let digits = digits.trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// Words of 128 bits, the lowest first.
fn words(digits: &str) -> String {
    let words = digits
        .as_bytes()
        .rchunks(32)
        .map(|word| std::str::from_utf8(word).unwrap());
    words.map(number).collect::<Vec<_>>().join(" ")
}

/// `info all-registers` of every thread by its tid.
fn threads_of_gdb(program: &Path, core: &Path) -> BTreeMap<u64, Registers> {
    let mut gdb = Command::new("gdb");
    gdb.args([
        "-nx",
        "-batch",
        "-ex",
        "set print elements 0",
        "-ex",
        "set width 0",
    ])
    .args(["-ex", "set print repeats unlimited"])
    .args(["-ex", "thread apply all info all-registers"])
    .arg(program)
    .arg(core);
    let output = gdb.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut threads = BTreeMap::new();
    let mut registers = &mut Registers::new();
    for line in text.lines() {
        if let Some((_, rest)) = line
            .strip_prefix("Thread ")
            .and_then(|l| l.split_once("LWP "))
        {
            let tid: String = rest.chars().take_while(char::is_ascii_digit).collect();
            registers = threads.entry(tid.parse().unwrap()).or_default();
        } else if let Some((name, value)) = line.split_once(' ') {
            registers.insert(name.to_owned(), value_of_gdb(name, value.trim()));
        }
    }
    threads
}

fn value_of_gdb(name: &str, value: &str) -> String {
    if let Some((number, raw)) = value.split_once("(raw ") {
        return format!("{} {}", number.trim(), raw.trim_end_matches(')'));
    }
    // The last member of a vector register's union is the one of 128-bit words.
    match value.rsplit_once("int128 = ") {
        Some((_, words)) if name.contains("mm") => {
            let words = words.trim_matches(['{', '}']).split(", ");
            words.collect::<Vec<_>>().join(" ")
        }
        _ => value
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Threads hold what the program loaded: byte i of register r of thread t is t * 37 + r * 5 + i.
fn assert_known_values(core: &Path) {
    let report = inspect(core);
    let mut threads: Vec<_> = report["threads"].as_array().unwrap().iter().collect();
    threads.sort_by_key(|thread| thread["tid"].as_u64());
    for (thread, t) in threads.iter().zip(0..) {
        let vectors = registers_named(thread, &["xmm", "ymm", "zmm"]);
        // The first thread waits for the others.
        if t == 0 {
            continue;
        }
        for (r, hex) in (0..).zip(&vectors) {
            // Thread 1 leaves AVX-512 alone.
            let len = if t == 1 { 32 } else { hex.len() / 2 };
            let known = (0..len).rev().map(|i| t * 37 + r * 5 + i);
            let known: String = known.map(|byte| format!("{:02x}", byte % 256)).collect();
            if t > 1 || r < 16 {
                assert_eq!(
                    hex[hex.len() - 2 * len..],
                    known,
                    "thread {t}, register {r}"
                );
            }
        }
        for (k, hex) in (1..).zip(registers_named(thread, &["k"])) {
            let known = 0x0123_4567_89ab_cdef_u64.wrapping_mul(u64::try_from(t).unwrap() + k);
            // In thread 1 they are what glibc left there.
            assert!(
                t == 1 || hex == format!("{known:016x}"),
                "thread {t}: k{} is {hex}",
                k - 1
            );
        }
    }
}

fn registers_named(thread: &Value, stems: &[&str]) -> Vec<String> {
    let all = thread["registers"].as_array().unwrap().iter();
    let named = all.filter(|register| {
        let name = register["name"].as_str().unwrap();
        stems.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()))
    });
    named
        .map(|register| register["hex"].as_str().unwrap()[2..].to_owned())
        .collect()
}

/// The core's notes with every image in the layout of Intel's server CPUs, moved there by the library.
fn moved_to_intel(core: &Path) -> Vec<u8> {
    let host = HostCpu::read().unwrap();
    let intel = cpu("sapphire-rapids");
    let report = inspect(core);
    let file = fs::read(core).unwrap();
    let mut made = MadeCore::default();
    for thread in report["threads"].as_array().unwrap() {
        let figure = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let image = &thread["image"];
        let offset = figure(&image["offset"]);
        let bytes = &file[offset..offset + figure(&image["len"])];
        let xcr0 = ComponentSet::from_bits(image["xcr0"].as_u64().unwrap());
        let here = Layout::standard(host.enumeration(), xcr0).unwrap();
        let there = Layout::standard(&intel, xcr0).unwrap();
        let state = StandardImage::parse(bytes, here, u32::MAX).unwrap().state();
        let mut moved = vec![0; there.area_len()];
        state.write_standard(&there, &mut moved).unwrap();
        moved[464..472].copy_from_slice(&xcr0.bits().to_le_bytes());
        let tid = u32::try_from(figure(&thread["tid"])).unwrap();
        let signal = u16::try_from(figure(&thread["signal"])).unwrap();
        made.thread(tid, signal, &moved);
    }
    made.bytes()
}
