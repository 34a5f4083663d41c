//! What `--json` prints, for the help of each command. Fields only ever become more; a test holds
//! these texts to the answers.
//!
//! Lengths and offsets are in bytes. Bitmaps of components, as XCR0 has them, are numbers; what has 64
//! bits that all may be set is text, because JSON's numbers end at 53 bits for many readers.

pub(crate) const RUN: &str = "\
JSON: engine, cpu, components, save_instruction, restore_instruction, vcpus, host_tasks, threads, seconds, seed, inject
  strategy        XSAVEC, or moves+XSAVEC: moves where they cover what is live; strategy_by (CPUID, calibration, caller)
  counts          entries, exits, preemptions, migrations, migrations_in_guest, registers_checked, corruptions, saves, saves_skipped,
                  restores, restores_skipped, kernel_sections, vcpus_renewed, forks_and_execs, faults_injected
  of tiles        expansions, releases, xfd_faults, denied, tiles (whether such guests run, or why not)
  known_answers   checked, wrong
  bytes           bytes_per_vcpu, bytes_per_vcpu_two_buffers, area_len, bytes_per_vcpu_idle and bytes_per_vcpu_tiles (null without tiles)
  corruption_reports, the first ones: owner, after, register, found, expected, registers";

pub(crate) const BENCH: &str = "\
Costs are medians in cycles of the time-stamp counter. A policy is one of instructions_pair, plain_moves, two_buffers, pointer_swap,
xsave_crate, ours_instructions, ours_full, ours_abi; null where it does not run, or has no such event. docs/benchmarks.md has the rest.

JSON: timer_overhead, cache_misses
  machine         cpu, components, virtual_machine, kernel
  strategy        save_instruction, restore_instruction, register_moves, restored, chosen_by
  round_trip      by policy, SSE and AVX live on both sides; round_trip_spread: p25, median, p75
  ratio           full_to_pointer_swap, abi_to_pointer_swap, swap_in_memory_to_pair
  scenarios       scenario, live, round_trip, spread
  events          event, cost, spread
  counts          scenario, event, counts: by policy, how often each was executed: xsave, xrstor, saved_by_moves, restored_by_moves,
                  save_not_covered, restore_not_covered, xgetbv, xsetbv, wrmsr, rdmsr, stmxcsr, ldmxcsr, fnstcw, fninit,
                  overwrite_error_pointers, pkru, tilerelease, cpuid; and bytes_copied
  sizes           vcpus, bytes_per_vcpu, events: event, cost, spread, touch
  first_expansion cpu, area_len_before, area_len_after, counts
  bytes_per_vcpu  cpu, area_len, ours, two_buffers, everything_at_once
  survival        checked, lost: policy, scenario, what";

pub(crate) const CPU: &str = "\
JSON: cpu, source, instructions, save_instruction_ring0, save_instruction_user_mode, user_components, supervisor_components
  xcr0, xcr0_components, mxcsr_mask   null for a CPU that is not here
  area_len        standard_for_xcr0, standard_for_all_user_components, compacted_for_xcr0, compacted_for_all_components (null where there is
                  none), and the CPU's own answers: cpuid_standard_for_xcr0, cpuid_standard_for_all_user_components, cpuid_compacted_for_xcr0_and_xss
  components      number, name, len, standard_offset, compacted_offset, compacted_alignment, kind (user, supervisor), xfd, enabled
  switching       ring0, user_mode: every way to switch, CPUID's choice first; strategy of a process, strategy_by (CPUID, calibration, caller)
    calibration   null where nothing was measured: ticks_of (the clock), and for each candidate strategy, verdict, round_trip in ticks: sse_avx,
                  movable, x87_sse_avx (what is live)
  oddities        leaf, subleaf, what";

pub(crate) const LAYOUT: &str = "\
JSON: cpu, source, format, components, component_names, area_len, gap_len
  parts           kind (legacy region, header, component, hole, alignment gap), number, name, offset, len, alignment
  oddities        leaf, subleaf, what";

pub(crate) const BASELINE: &str = "\
JSON:
  hosts           number, cpu, source, user_components, supervisor_components, mxcsr_mask (null if not here), oddities: leaf, subleaf, what
  common          xcr0, xcr0_same_bytes (null where there is none), xss: each bits and components; instructions, formats
  components      number, name, kind, common, hosts, lacking, and every value that a host has: len, standard_offset, compacted_alignment, xfd
  pairs           from, to, and for guests with the common_xcr0 and with the whole_xcr0 of their host: answer (same, convert, no), reason";

pub(crate) const CHECK: &str = "\
The exit status is 0 where the image can be restored, 1 where it cannot.

JSON: restorable, image (the file), thread (null outside a core), len, format, cpu, source, rules, allowed, allowed_components
  xstate_bv, xstate_bv_components   null in the FXSAVE format
  fx_only         why sigreturn would take 512 bytes of a frame only; null where it takes all
  places_not_compared   components in use that lie elsewhere on some CPUs, where nobody said which CPU made the image
  reasons         reason, offset (the byte; null where no byte is wrong)
  kernel          with --kvm: kernel, accepts, error, agrees (null where it was asked something else than the library)";

pub(crate) const CONVERT: &str = "\
Of a snapshot the image alone is written, and of a core the image of one thread. The exit status is 1 where something would be lost that
--loss does not permit; nothing is written then.

JSON: converted, reason (null where it was), thread (null outside a core), live, dropped
  image, output   path, cpu, source, format, len; output is null where nothing was written
  not_in_output   what a snapshot has beside its image
  fx_only         why of a signal frame 512 bytes are converted only; null for all of it
  kept            name, len, from, to
  refused         what would be lost: name, offset, len (null in the legacy region), first_byte_not_zero";

pub(crate) const INSPECT: &str = "\
The file is a KVM or XSAVE image, a compacted image, 512 bytes of FXSAVE, the extended state of a signal frame, the ELF
core of a 64-bit process, or a snapshot of fpstate-kvm in JSON.

JSON: file, kind (as --as has it), len, threads, one each or one for an image:
  tid, signal     null outside a core
  image           form, offset in the file (0 of a snapshot's), len, format (standard, compacted, FXSAVE), xstate_bv, xcomp_bv (text),
                  xcr0 (null where the image does not say), xss, xfd, xfd_err (of snapshots), layout (whose it is, and why),
                  fx_only (of signal frames: why sigreturn restores 512 bytes of it only; null: all of it, or no frame),
                  components: number, name, offset, len, initial
  registers       name, components, initial (every bit as after INIT), hex (one number), and where they apply:
                  value (x87: decimal), tag, flags, rows and colsb (tiles), lanes (--values, lane 0 first)
Bytes and offsets are numbers; registers are text, because JSON's numbers end at 53 bits.";

pub(crate) const DIFF: &str = "\
JSON: a, b (file, kind, len, fx_only: why of a signal frame 512 bytes count only), equal, threads:
  a, b            thread ids; null for an image, or where the other file has no such thread
  components      name, a and b (live, initial, absent), equal
  registers       those that differ: name, a, b (hexadecimal)";
