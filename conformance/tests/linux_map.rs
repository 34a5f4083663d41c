//! What docs/linux-map.md says is so: no function of Linux is left out, and every name it gives for
//! one is where it says.

use std::fs;
use std::path::{Path, PathBuf};

/// The functions of Linux that have to do with extended state, by file.
const FUNCTIONS: [(&str, &str); 18] = [
    (
        "arch/x86/kernel/fpu/core.c",
        "irq_fpu_usable save_fpregs_to_fpstate restore_fpregs_from_fpstate \
         fpu_reset_from_exception_fixup fpu_init_guest_permissions fpu_lock_guest_permissions \
         fpu_alloc_guest_fpstate fpu_free_guest_fpstate fpu_enable_guest_xfd_features \
         fpu_update_guest_xfd fpu_sync_guest_vmexit_xfd_state fpu_swap_kvm_fpstate \
         fpu_copy_guest_fpstate_to_uabi fpu_copy_uabi_to_guest_fpstate kernel_fpu_begin_mask \
         kernel_fpu_end fpu_sync_fpstate fpstate_init_user __fpstate_reset fpstate_reset \
         fpu_inherit_perms update_fpu_shstk fpu_clone fpu_thread_struct_whitelist fpu__drop \
         restore_fpregs_from_init_fpstate fpu_reset_fpregs fpu_reset_fpstate_regs \
         fpu__clear_user_states fpu_flush_thread switch_fpu_return fpregs_lock_and_load \
         fpregs_assert_state_consistent fpregs_mark_activate fpu__exception_code \
         fpu_idle_fpregs",
    ),
    (
        "arch/x86/kernel/fpu/xstate.c",
        "cpu_has_xfeatures xfeature_get_offset fpu__init_cpu_xstate setup_xstate_cache \
         os_xrstor_booting setup_init_fpu_buf validate_user_xstate_header \
         check_xtile_data_against_struct check_xstate_against_struct xstate_calculate_size \
         paranoid_xstate_size_valid get_xsave_compacted_size get_xsave_size_user \
         init_xstate_size fpu__init_disable_system_xstate host_default_mask \
         guest_default_mask fpu__init_system_xstate fpu__resume_cpu __raw_xsave_addr \
         get_xsave_addr arch_set_user_pkey_access __copy_xstate_to_uabi_buf \
         copy_uabi_to_xstate copy_uabi_from_kernel_to_xstate \
         copy_sigframe_from_user_to_xstate validate_independent_components xsaves xrstors \
         fpstate_clear_xstate_component xstate_op_valid xfd_validate_state \
         xfd_update_static_branch fpstate_free fpstate_realloc validate_sigaltstack \
         __xstate_request_perm xstate_request_perm __xfd_enable_feature xfd_enable_feature \
         fpu_xstate_prctl avx512_status dump_xsave_layout_desc",
    ),
    (
        "arch/x86/kernel/fpu/xstate.h",
        "xstate_init_xcomp_bv xstate_get_group_perm update_pkru_in_sigframe \
         xfd_validate_state xfd_set_state xfd_update_state os_xsave os_xrstor \
         os_xrstor_supervisor xfeatures_need_sigframe_write xsave_to_user_sigframe \
         xrstor_from_user_sigframe os_xrstor_safe",
    ),
    (
        "arch/x86/kernel/fpu/context.h",
        "__cpu_invalidate_fpregs_state __fpu_invalidate_fpregs_state fpregs_state_valid \
         fpregs_deactivate fpregs_activate fpregs_restore_userregs",
    ),
    (
        "arch/x86/kernel/fpu/signal.c",
        "check_xstate_in_sigframe save_fsave_header save_sw_bytes save_xstate_epilog \
         copy_fpregs_to_sigframe copy_fpstate_to_sigframe __restore_fpregs_from_user \
         restore_fpregs_from_user __fpu_restore_sig xstate_sigframe_size fpu__restore_sig \
         fpu__alloc_mathframe fpu__get_fpstate_size",
    ),
    (
        "arch/x86/kernel/fpu/regset.c",
        "regset_fpregs_active regset_xregset_fpregs_active sync_fpstate fpu_force_restore \
         xfpregs_get xfpregs_set xstateregs_get xstateregs_set ssp_active ssp_get ssp_set \
         convert_from_fxsr convert_to_fxsr fpregs_get fpregs_set",
    ),
    (
        "arch/x86/include/asm/fpu/sched.h",
        "switch_fpu_prepare switch_fpu_finish switch_fpu",
    ),
    (
        "arch/x86/include/asm/fpu/api.h",
        "fpregs_lock fpregs_unlock kernel_fpu_begin fpstate_set_confidential \
         fpstate_is_confidential",
    ),
    (
        "arch/x86/kernel/traps.c",
        "handle_xfd_event exc_device_not_available math_error",
    ),
    ("arch/x86/mm/extable.c", "ex_handler_fprestore"),
    (
        "arch/x86/kernel/process.c",
        "arch_dup_task_struct arch_release_task_struct exit_thread flush_thread",
    ),
    (
        "arch/x86/kvm/x86.c",
        "kvm_load_guest_xsave_state kvm_load_host_xsave_state kvm_load_xfeatures \
         kvm_load_guest_pkru kvm_load_host_pkru kvm_guest_supported_xfd __kvm_set_xcr \
         kvm_emulate_xsetbv is_xstate_managed_msr kvm_access_xstate_msr __msr_io \
         kvm_vcpu_ioctl_x86_get_xsave2 kvm_vcpu_ioctl_x86_get_xsave \
         kvm_vcpu_ioctl_x86_set_xsave kvm_vcpu_ioctl_x86_get_xcrs kvm_vcpu_ioctl_x86_set_xcrs \
         vcpu_enter_guest kvm_load_guest_fpu kvm_put_guest_fpu kvm_arch_vcpu_ioctl_run \
         kvm_arch_vcpu_ioctl_get_mpstate kvm_arch_vcpu_ioctl_get_fpu \
         kvm_arch_vcpu_ioctl_set_fpu kvm_arch_vcpu_create kvm_arch_vcpu_destroy \
         kvm_xstate_reset kvm_vcpu_reset kvm_setup_xss_caps",
    ),
    (
        "arch/x86/kvm/x86.h",
        "kvm_get_filtered_xcr0 kvm_mpx_supported",
    ),
    (
        "arch/x86/kvm/cpuid.c",
        "xstate_required_size kvm_check_cpuid cpuid_get_supported_xcr0 \
         cpuid_get_supported_xss kvm_set_cpuid kvm_vcpu_after_set_cpuid",
    ),
    ("arch/x86/kvm/fpu.h", "kvm_fpu_get kvm_fpu_put"),
    (
        "arch/x86/kvm/vmx/vmx.c",
        "handle_nm_fault_irqoff is_xfd_nm_fault vmx_update_exception_bitmap",
    ),
    ("arch/x86/kvm/vmx/tdx.c", "tdx_load_host_xsave_state"),
    (
        "arch/x86/kvm/svm/sev.c",
        "sev_es_sync_vmsa __sev_launch_update_vmsa",
    ),
];

/// Its data.
const DATA: [&str; 19] = [
    "TIF_NEED_FPU_LOAD",
    "fpu->last_cpu",
    "fpu_fpregs_owner_ctx",
    "xfd_state",
    "in_use",
    "is_valloc",
    "is_guest",
    "is_confidential",
    "FPU_GUEST_PERM_LOCKED",
    "struct fpu",
    "fpstate",
    "fpu_guest",
    "fpu_state_config",
    "init_fpstate",
    "__task_fpstate",
    "fpu_kernel_cfg",
    "kernel_fpu_allowed",
    "in_kernel_fpu",
    "__fpu_state_size_dynamic",
];

/// Why there may be no place for a function here.
const REASONS: [&str; 4] = [
    "by design: ",
    "the kernel's: ",
    "the VMM's: ",
    "not built yet: ",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/linux-map.md")).expect("docs/linux-map.md")
}

/// A row of a table, under the last heading before it.
struct Row<'d> {
    heading: &'d str,
    cells: Vec<&'d str>,
}

impl<'d> Row<'d> {
    fn first_name(&self) -> &'d str {
        code_spans(self.cells[0]).next().unwrap_or(self.cells[0])
    }
}

/// The rows of all tables but their heads.
fn rows(document: &str) -> Vec<Row<'_>> {
    let (mut heading, mut rows, mut in_body) = ("", Vec::new(), false);
    for line in document.lines() {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim();
        }
        let cells = line.strip_prefix("| ").and_then(|l| l.strip_suffix(" |"));
        if let (Some(cells), true) = (cells, in_body) {
            let cells = cells.split(" | ").collect();
            rows.push(Row { heading, cells });
        }
        in_body = line.starts_with("|---") || (in_body && line.starts_with('|'));
    }
    rows
}

/// What stands between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_file(span: &str) -> bool {
    span.ends_with(".rs")
}

/// Where a file that the document names is: from the root, or in the library.
fn place_of(file: &str) -> PathBuf {
    if file.contains('/') {
        root().join(file)
    } else {
        root().join("crates/fpstate/src").join(file)
    }
}

/// Each name in a cell with the file that follows it.
fn named_in(cell: &str) -> Result<Vec<(&str, &str)>, String> {
    let (mut waiting, mut named) = (Vec::new(), Vec::new());
    for span in code_spans(cell) {
        if is_file(span) {
            named.extend(waiting.drain(..).map(|name| (name, span)));
        } else {
            waiting.push(span);
        }
    }
    if waiting.is_empty() {
        Ok(named)
    } else {
        Err(format!("no file after {waiting:?}"))
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn begins_with_word(code: &str, word: &str) -> bool {
    code.starts_with(word) && words(code).next() == Some(word)
}

/// A type or an `impl` block: the lines of its head, up to the brace, and those after it.
#[derive(Default)]
struct Item<'s> {
    head: Vec<&'s str>,
    body: Vec<&'s str>,
}

impl<'s> Item<'s> {
    fn take(&mut self, line: &'s str) {
        let in_body = self.head.last().is_some_and(|head| head.contains('{'));
        let lines = if in_body {
            &mut self.body
        } else {
            &mut self.head
        };
        lines.push(line);
    }

    /// Whether it is, or is about, the type.
    fn is_of(&self, name: &str) -> bool {
        self.head
            .iter()
            .any(|line| words(line).any(|word| word == name))
    }

    /// A function, a constant, a field or a variant.
    fn has(&self, member: &str) -> bool {
        let is_impl = begins_with_word(self.head[0], "impl");
        self.body.iter().any(|line| {
            is_after("fn ", line, member)
                || is_after("const ", line, member)
                || (!is_impl && begins_with_word(without_visibility(line.trim_start()), member))
        })
    }
}

/// The outermost types and `impl` blocks of a source file, which rustfmt has formatted.
fn items(source: &str) -> Vec<Item<'_>> {
    let (mut items, mut open) = (Vec::new(), None::<Item<'_>>);
    for line in source.lines() {
        if is_head(line) {
            items.extend(open.replace(Item::default()));
        }
        if let Some(item) = &mut open {
            item.take(line);
        }
        if line.starts_with('}') {
            items.extend(open.take());
        }
    }
    items
}

fn is_head(line: &str) -> bool {
    let line = without_visibility(line);
    ["impl", "struct", "enum", "trait"]
        .iter()
        .any(|keyword| begins_with_word(line, keyword))
}

fn without_visibility(line: &str) -> &str {
    ["pub ", "pub(crate) ", "pub(super) "]
        .iter()
        .find_map(|visibility| line.strip_prefix(visibility))
        .unwrap_or(line)
}

/// Whether `name` stands in the line after `keyword`.
fn is_after(keyword: &str, line: &str, name: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with("//")
        && code
            .split(keyword)
            .skip(1)
            .any(|rest| begins_with_word(rest, name))
}

/// Whether `name` - a function, a type, or `Type::member` - is in a source file.
fn is_in(source: &str, name: &str) -> bool {
    match name.split_once("::") {
        Some((of, member)) => items(source)
            .iter()
            .any(|item| item.is_of(of) && item.has(member)),
        None => source.lines().any(|line| {
            ["fn ", "struct ", "enum ", "trait "]
                .iter()
                .any(|keyword| is_after(keyword, line, name))
        }),
    }
}

fn check_cell(cell: &str) -> Result<(), String> {
    for (name, file) in named_in(cell)? {
        let source = fs::read_to_string(place_of(file)).map_err(|e| format!("{file}: {e}"))?;
        if !is_in(&source, name) {
            return Err(format!("{name} is not in {file}"));
        }
    }
    Ok(())
}

/// A cell names code, or says why there is none.
fn check_reason(cell: &str) -> Result<(), String> {
    match cell.strip_prefix("— ") {
        Some(why) if REASONS.iter().any(|reason| why.starts_with(reason)) => Ok(()),
        Some(why) => Err(format!("{why:?} begins with none of {REASONS:?}")),
        None if code_spans(cell).any(is_file) => Ok(()),
        None => Err(format!("{cell:?} names no code")),
    }
}

/// Linux's names and the headings they stand under.
fn names_under(document: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    rows(document)
        .iter()
        .filter(|row| is_wanted(row.heading))
        .map(|row| (row.heading, row.first_name()))
        .collect()
}

fn assert_complete(found: &[(&str, &str)], needed: &[(&str, &str)]) {
    let missing: Vec<_> = needed.iter().filter(|row| !found.contains(row)).collect();
    let unknown: Vec<_> = found.iter().filter(|row| !needed.contains(row)).collect();
    assert!(missing.is_empty(), "no row: {missing:?}");
    assert!(unknown.is_empty(), "not of Linux: {unknown:?}");
    assert_eq!(found.len(), needed.len(), "a row that is there twice");
}

#[test]
fn every_function_of_linux_has_one_row_under_its_file() {
    let document = document();
    let needed: Vec<_> = FUNCTIONS
        .iter()
        .flat_map(|&(file, names)| names.split_whitespace().map(move |name| (file, name)))
        .collect();
    assert_eq!(needed.len(), 186);
    let found = names_under(&document, |heading| heading.starts_with("arch/"));
    assert_complete(&found, &needed);
}

#[test]
fn every_datum_and_every_hazard_has_one_row() {
    let document = document();
    let data: Vec<_> = DATA.iter().map(|&name| ("Data", name)).collect();
    assert_complete(&names_under(&document, |h| h == "Data"), &data);
    let hazards: Vec<_> = (1..=13).map(|number| format!("H{number}")).collect();
    let hazards: Vec<_> = hazards.iter().map(|h| ("Hazards", h.as_str())).collect();
    assert_complete(&names_under(&document, |h| h == "Hazards"), &hazards);
}

#[test]
fn every_file_that_is_named_is_there() {
    let document = document();
    let missing: Vec<_> = code_spans(&document)
        .filter(|span| is_file(span) && !place_of(span).is_file())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_name_is_in_the_file_after_it_and_where_there_is_none_it_says_why() {
    let document = document();
    let mut failures = Vec::new();
    for row in rows(&document) {
        let name = row.first_name();
        let &[_, _, here, ref shown_by @ ..] = row.cells.as_slice() else {
            panic!("{name}: fewer than three cells");
        };
        let checked = check_cell(here)
            .and_then(|()| check_reason(here))
            .and_then(|()| shown_by.iter().try_for_each(|cell| check_cell(cell)));
        failures.extend(checked.err().map(|error| format!("{name}: {error}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn a_name_that_is_not_there_is_noticed() {
    for wrong in [
        "`ThreadFpu::enter_guests` (`guest_switch.rs`)",
        "`ThreadFpu::enter_guest` (`thread.rs`)",
        "`GuestFpu::enter_guest` (`guest_switch.rs`)",
        "`Residence::Disk` (`ownership.rs`)",
        "`decide_saves` (`decision.rs`)",
        "`Residences` (`ownership.rs`)",
        "`Residence` (`owner.rs`)",
        "`Residence`, in no file",
        "`Fpstate` (`state.rs`), `Residence`",
    ] {
        assert!(check_cell(wrong).is_err(), "{wrong}");
    }
    for unexplained in ["", "— ", "— who knows", "nowhere", "`Residence`"] {
        assert!(check_reason(unexplained).is_err(), "{unexplained}");
    }
}
