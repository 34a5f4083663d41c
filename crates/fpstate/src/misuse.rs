//! Misuse that does not compile. Each example stands beside a twin that does and that differs in
//! its last line alone, so that what fails is what it says.

/// Both examples, in a function with `$signature`.
macro_rules! refused {
    ($(#[$what:meta])* $name:ident $code:literal
        $signature:literal { $($shared:literal)* }
        right $right:literal
        wrong $wrong:literal
    ) => {
        $(#[$what])*
        ///
        #[doc = concat!(
            "```\n# use fpstate::*; use fpstate::switch::*; use fpstate_arch::*;\n# fn f",
            $signature, " {\n", $($shared, "\n",)* $right, "\n# }\n```\n",
        )]
        #[doc = concat!(
            "```compile_fail,", $code,
            "\n# use fpstate::*; use fpstate::switch::*; use fpstate_arch::*;\n# fn f",
            $signature, " {\n", $($shared, "\n",)* $wrong, "\n# }\n```\n",
        )]
        mod $name {}
    };
}

refused! {
    /// The CPU is used while a guest's XCR0 is loaded.
    cpu_in_guest "E0499"
    "<'e, S: AreaStorage>(thread: &mut ThreadFpu<'e, S>, guest: &mut GuestFpu<'e, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "let entry = thread.load_guest_registers(guest, cpu).unwrap();"
    }
    right "entry.load_host_registers(VmExit::Other).unwrap(); cpu.resume().unwrap();"
    wrong "cpu.resume().unwrap(); entry.load_host_registers(VmExit::Other).unwrap();"
}

refused! {
    /// The thread is switched then.
    thread_in_guest "E0499"
    "<'e, S: AreaStorage>(thread: &mut ThreadFpu<'e, S>, guest: &mut GuestFpu<'e, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "let entry = thread.load_guest_registers(guest, cpu).unwrap();"
    }
    right "entry.load_host_registers(VmExit::Other).unwrap(); thread.areas();"
    wrong "thread.areas(); entry.load_host_registers(VmExit::Other).unwrap();"
}

refused! {
    /// The VMM writes the guest's XCR0 then.
    registers_in_guest "E0499"
    "<'e, S: AreaStorage>(thread: &mut ThreadFpu<'e, S>, guest: &mut GuestFpu<'e, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "let entry = thread.load_guest_registers(guest, cpu).unwrap();"
    }
    right "entry.load_host_registers(VmExit::Other).unwrap(); guest.xsetbv(0, 1).unwrap();"
    wrong "guest.xsetbv(0, 1).unwrap(); entry.load_host_registers(VmExit::Other).unwrap();"
}

refused! {
    /// The vCPU ends then.
    guest_freed_in_guest "E0505"
    "<'e, S: AreaStorage>(thread: &mut ThreadFpu<'e, S>, mut guest: GuestFpu<'e, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "let entry = thread.load_guest_registers(&mut guest, cpu).unwrap();"
    }
    right "entry.load_host_registers(VmExit::Other).unwrap(); drop(guest.into_storage());"
    wrong "drop(guest.into_storage()); entry.load_host_registers(VmExit::Other).unwrap();"
}

refused! {
    /// One entry, two exits.
    two_exits "E0382"
    "<S: AreaStorage>(entry: GuestEntry<'_, '_, impl Processor, S>)" {
        "entry.load_host_registers(VmExit::Other).unwrap();"
    }
    right ""
    wrong "entry.load_host_registers(VmExit::Other).unwrap();"
}

refused! {
    /// A vCPU ends twice.
    guest_freed_twice "E0382"
    "<S: AreaStorage>(guest: GuestFpu<'_, S>)" {
        "drop(guest.into_storage());"
    }
    right ""
    wrong "drop(guest.into_storage());"
}

refused! {
    /// A thread is used after it ended.
    thread_after_exit "E0382"
    "<S: AreaStorage>(mut thread: ThreadFpu<'_, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "thread.exec(cpu).unwrap();"
        "let memory = thread.exit(cpu);"
    }
    right "drop(memory);"
    wrong "drop(memory); thread.exec(cpu).unwrap();"
}

refused! {
    /// One state for two threads.
    one_state_for_two "E0382"
    "<S: AreaStorage>(state: Fpstate<'_, S>)" {
        "let first = ThreadFpu::new(state);"
    }
    right ""
    wrong "let second = ThreadFpu::new(state);"
}

refused! {
    /// One area for two states.
    one_area_for_two "E0382"
    "<S: AreaStorage>(layout: Layout<'_>, memory: S, identities: &Identities)" {
        "let first = Fpstate::new(layout, memory, identities);"
    }
    right ""
    wrong "let second = Fpstate::new(layout, memory, identities);"
}

refused! {
    /// An area is edited after its state went into registers.
    edit_while_loaded "E0499"
    "<S: AreaStorage>(thread: &mut ThreadFpu<'_, S>, cpu: &mut CpuFpu<impl Processor>)" {
        "let area = thread.edit_own().unwrap();"
    }
    right "area.initialise(); thread.restore_before_use(cpu).unwrap();"
    wrong "thread.restore_before_use(cpu).unwrap(); area.initialise();"
}

refused! {
    /// A kernel section ends twice.
    section_ended_twice "E0382"
    "(cpu: &mut CpuFpu<impl Processor>)" {
        "let section = cpu.begin_kernel_thread_section(KernelUse::X87).unwrap();"
        "cpu.end_kernel_section(section).unwrap();"
    }
    right ""
    wrong "cpu.end_kernel_section(section).unwrap();"
}

refused! {
    /// A kernel section is made by hand, to end somebody's.
    section_by_hand "E0451"
    "(cpu: &mut CpuFpu<impl Processor>)" {}
    right "let section = cpu.begin_kernel_thread_section(KernelUse::X87);"
    wrong "let section = KernelSection { cpu: cpu.id(), uses: 0 };"
}

refused! {
    /// Guests are permitted something without an end to requests.
    permit_by_hand "E0451"
    "(permissions: &mut Permissions)" {}
    right "let permit = permissions.freeze_guests();"
    wrong "let permit = GuestPermit { on_demand: ComponentSet::TILES };"
}

refused! {
    /// A guest is offered what nobody checked.
    features_by_hand "E0451"
    "(offer: &Offer<'_>, permit: GuestPermit, user: ComponentSet, supervisor: ComponentSet)" {}
    right "let features = GuestFeatures::new(offer, permit, user, supervisor).unwrap();"
    wrong "let features = GuestFeatures { user, supervisor };"
}

refused! {
    /// A state grows by what nobody permitted.
    expansion_by_hand "E0451"
    "<'e, S: AreaStorage>(guest: &GuestFpu<'e, S>, layout: Layout<'e>)" {}
    right "let expansion = guest.expansion(ComponentSet::TILES).unwrap();"
    wrong "let expansion = Expansion { state: guest.id(), layout };"
}

refused! {
    /// A decision is changed before it is committed.
    decision_by_hand "E0451"
    "<S: AreaStorage>(thread: &ThreadFpu<'_, S>, cpu: &CpuFpu<impl Processor>)" {
        "let decided = thread.decide_save_before_switch(cpu).unwrap();"
    }
    right "let changed = decided;"
    wrong "let changed = Decided { switch: Switch::NOTHING, ..decided };"
}

refused! {
    /// A state takes another one's identity.
    identity_by_hand "E0423"
    "<S: AreaStorage>(guest: &GuestFpu<'_, S>)" {}
    right "let id = guest.id();"
    wrong "let id = StateId(core::num::NonZeroU64::MIN);"
}

refused! {
    /// XSTATE_BV is written beside IA32_XFD.
    header_by_hand "E0624"
    "<S: AreaStorage>(area: &mut XsaveArea<'_, S>)" {}
    right "area.bytes();"
    wrong "area.bytes_mut();"
}

refused! {
    /// A running guest's state is taken out of the guest.
    guest_by_field "E0616"
    "<S: AreaStorage>(guest: &mut GuestFpu<'_, S>)" {}
    right "guest.fpstate();"
    wrong "guest.fpstate.take();"
}

refused! {
    /// A CPU whose guest entry was lost is declared the host's.
    control_by_field "E0616"
    "(cpu: &mut CpuFpu<impl Processor>)" {}
    right "assert_eq!(cpu.facts().control, ControlOwner::Host);"
    wrong "cpu.control = ControlOwner::Host;"
}

refused! {
    /// A CPU's registers are taken to another CPU with a thread of the kernel.
    cpu_sent_away "E0277"
    "(of_a_process: CpuFpu<core::marker::PhantomData<u8>>, of_ring_0: CpuFpu<core::marker::PhantomData<*mut u8>>)" {
        "fn to_another_cpu(_: impl Send) {}"
    }
    right "to_another_cpu(of_a_process);"
    wrong "to_another_cpu(of_ring_0);"
}
