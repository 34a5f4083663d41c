//! A kernel that offers what [`Offer`] decides, on CPUs of one kind in software.

use fpstate::{
    BoxedArea, CpuFpu, DeviceNotAvailable, DeviceNotAvailableError, Fpstate, Identities, Layout,
    Offer, Permissions, ThreadFpu, XsaveArea,
};
use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Enumeration, Fault, Processor, Xfd};
use fpstate_model::ModelCpu;

use crate::contents::Contents;
use crate::cpus::RecordedCpu;
use crate::memory::Memory;
use crate::user_code::UserCode;

/// How often an instruction may raise #NM before it is taken for a livelock (invariant I15).
const MOST_TRIES: u32 = 3;

/// The kernel. States and CPUs of two hosts never meet.
#[derive(Debug)]
pub struct Host<'e> {
    kind: RecordedCpu,
    offer: Offer<'e>,
    identities: Identities,
}

impl<'e> Host<'e> {
    /// A kernel on CPUs of this kind, whose figures are `enumeration`.
    #[must_use]
    pub fn new(kind: &RecordedCpu, enumeration: &'e Enumeration) -> Self {
        Self {
            kind: *kind,
            offer: Offer::for_ring0(enumeration),
            identities: Identities::new(),
        }
    }

    /// What it offers.
    #[must_use]
    pub const fn offer(&self) -> &Offer<'e> {
        &self.offer
    }

    /// CPU `number`, brought up.
    ///
    /// # Panics
    /// If it refuses to start.
    #[must_use]
    pub fn start(&self, number: u32) -> CpuFpu<ModelCpu> {
        let (instructions, registers) = (self.offer.instructions(), self.offer.control_registers());
        let processor = self.kind.model();
        CpuFpu::bring_up(processor, number, &self.identities, instructions, registers)
            .expect("the CPU starts")
    }

    /// A new state.
    ///
    /// # Panics
    /// Without memory.
    #[must_use]
    pub fn state(&self, layout: Layout<'e>) -> Fpstate<'e, BoxedArea> {
        Fpstate::new(layout, memory(&layout), &self.identities).expect("memory for a state")
    }

    /// A new thread, whose state has not grown.
    #[must_use]
    pub fn thread(&self) -> ThreadFpu<'e, BoxedArea> {
        ThreadFpu::new(self.state(self.offer.thread_layout()))
    }

    /// User code of `thread` executes `instruction`. A #NM goes to the kernel, which lends memory,
    /// and the instruction happens again.
    ///
    /// # Errors
    /// The signal: there is no remedy for the #NM.
    ///
    /// # Panics
    /// For any other fault, and if #NM does not end.
    pub fn user_code<T>(
        thread: &mut ThreadFpu<'e, BoxedArea>,
        cpu: &mut CpuFpu<ModelCpu>,
        permissions: &Permissions,
        mut instruction: impl FnMut(&mut ModelCpu) -> Result<T, Fault>,
    ) -> Result<T, DeviceNotAvailableError> {
        thread.restore_before_use(cpu).expect("the thread's state");
        for _ in 0..MOST_TRIES {
            match instruction(cpu.processor()) {
                Ok(value) => return Ok(value),
                Err(Fault::DeviceNotAvailable) => {}
                Err(fault) => panic!("user code raised {fault}"),
            }
            match thread.device_not_available(cpu, permissions)? {
                DeviceNotAvailable::Expand(expansion) => {
                    let storage = memory(expansion.layout());
                    let grown = thread.expand(expansion, cpu, storage);
                    grown.map_err(|(error, _)| error).expect("room");
                }
                DeviceNotAvailable::Retry => {}
                DeviceNotAvailable::OtherCause => panic!("nothing set CR0.TS"),
            }
        }
        panic!("#NM does not end");
    }

    /// What `area` would be in the registers of a CPU of its own on which nothing is disabled.
    ///
    /// # Panics
    /// If the CPU refuses it.
    #[must_use]
    pub fn contents(&self, area: &XsaveArea<'e, BoxedArea>) -> Contents {
        let components = area.layout().components();
        self.reader(area).contents(components)
    }

    /// `area` in the standard format, PKRU left out, as a signal frame or a VMM would get it: written
    /// by XSAVE, so that neither offsets nor XSTATE_BV are the library's. As long as an area for all
    /// user components.
    ///
    /// # Panics
    /// If the CPU refuses the area.
    #[must_use]
    pub fn image(&self, area: &XsaveArea<'e, BoxedArea>) -> Memory {
        let enumeration = self.offer.enumeration();
        let len = usize::try_from(enumeration.standard_len()).expect("a length");
        let mut image = Memory::zeroed(len.max(EXTENDED_REGION_OFFSET));
        let user = self.offer.user_components().without(Component::Pkru);
        self.reader(area)
            .xsave(image.bytes_mut(), user)
            .expect("XSAVE");
        image
    }

    fn reader(&self, area: &XsaveArea<'e, BoxedArea>) -> ModelCpu {
        let mut processor = self.start(u32::MAX).into_processor();
        if self.offer.instructions().has_xfd() {
            processor.write_xfd(Xfd::NOTHING).expect("IA32_XFD");
        }
        let all = self.switched();
        let restore = self.offer.instructions().restore();
        restore
            .execute(&mut processor, area.bytes(), all)
            .expect("an area that can be restored");
        processor
    }

    /// All components that states can have.
    fn switched(&self) -> ComponentSet {
        let offer = &self.offer;
        let always = offer.default_components().union(offer.guest_only());
        always.union(offer.on_demand())
    }
}

/// Memory for a state of `layout`.
///
/// # Panics
/// Without memory.
#[must_use]
pub fn memory(layout: &Layout<'_>) -> BoxedArea {
    BoxedArea::for_layout(layout).expect("memory")
}
