//! Bugs that cannot be here, each with the type, the signature or the invariant that rules it out.

/// A bug that no test can have.
pub(crate) struct Impossible {
    pub number: &'static str,
    pub when: &'static str,
    pub reference: &'static str,
    pub what: &'static str,
    pub why: &'static str,
}

const fn impossible(
    [number, when, reference, what]: [&'static str; 4],
    why: &'static str,
) -> Impossible {
    Impossible {
        number,
        when,
        reference,
        what,
        why,
    }
}

/// In the order of their numbers.
pub(crate) const IMPOSSIBLE: &[Impossible] = &[
    impossible(
        [
            "L17",
            "2023",
            "cb3ea4b7671b",
            "a kernel section on an io_uring worker saved a state that the worker does not have",
        ],
        "`ThreadFpu` is a state; a thread without one has none to pass, and \
         `CpuFpu::begin_kernel_thread_section` takes none and saves nothing",
    ),
    impossible(
        [
            "L18",
            "2022",
            "59f5ede3bc0f",
            "an interrupt used the registers in the middle of a switch",
        ],
        "every switch borrows its `CpuFpu` exclusively, and so does the beginning of a section \
         (`edit_while_loaded` and `cpu_in_guest` of `crates/fpstate/src/misuse.rs` do not compile); \
         whoever decides and commits apart gets `SwitchError::Stale`",
    ),
    impossible(
        [
            "L19",
            "2022",
            "36b038791e1e",
            "a sleeping lock was taken while registers were locked",
        ],
        "the library takes no lock; `Permissions::fork` takes no `CpuFpu`, so nothing has to be locked for it",
    ),
    impossible(
        [
            "L20",
            "2025",
            "2297554f01df",
            "the kernel used vector registers before the CPU's XCR0 was set up",
        ],
        "a kernel section needs a `CpuFpu`, and only `CpuFpu::bring_up` and `CpuFpu::adopt` make one",
    ),
    impossible(
        [
            "L22",
            "before 2017",
            "FNSAVE path",
            "FNSAVE cleared the registers and they were taken for a copy of what was saved",
        ],
        "`SaveInstruction` has no FNSAVE; FXSAVE and the XSAVE family leave registers alone, \
         and UINTR, which XSAVES changes, is not offered (`LeftOut::ChangedBySaving`)",
    ),
    impossible(
        [
            "L29",
            "2021",
            "`copy_fpstate_to_sigframe()`",
            "success and failure were exchanged where an int became a bool",
        ],
        "functions return `Result` with a typed error; lints allow neither a `bool` parameter nor an ignored `Result`",
    ),
    impossible(
        [
            "L41",
            "2026",
            "31cd31c9e17e",
            "reading when a kernel thread last used AVX-512 reached for a state that it does not have",
        ],
        "no time stamp is kept, and what is read is read of an `XsaveArea` that is there",
    ),
    impossible(
        [
            "L43",
            "2025",
            "960bc2bcba59",
            "the range that may be copied to user space was computed for a place where the state no longer was",
        ],
        "areas are memory that the caller lends (`AreaStorage`); the library knows no address of a task and names no range of one",
    ),
    impossible(
        [
            "L45",
            "2026",
            "CVE-2026-43109",
            "a shadow-stack token was read from user memory without the lock of the address space",
        ],
        "the library reaches no user memory; of the shadow stack it has the bytes of CET_U and CET_S",
    ),
    impossible(
        [
            "H11",
            "Linux 7.2",
            "`fpu__resume_cpu()`",
            "resuming a CPU reached for the state of the current task, which a kernel thread does not have",
        ],
        "`CpuFpu::resume` takes no thread",
    ),
];
