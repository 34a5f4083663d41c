//! A vCPU as a VMM drives it, its guest's instructions executed by the software CPU.
//!
//! Every instruction of the guest is a VM entry and exit of its own.

use fpstate::{
    AfterExit, BoxedArea, CpuFpu, GuestFeatures, GuestFpu, GuestRegisterError, GuestStateError,
    ImportError, Interception, Restoring, StandardImage, ThreadFpu, VmExit,
};
use fpstate_arch::{Component, ComponentSet, Fault, Pkru, Processor, XfdErr};
use fpstate_model::ModelCpu;

use crate::contents::Contents;
use crate::host::{Host, memory};
use crate::memory::Memory;

/// How often an instruction may raise #NM before it is taken for a livelock.
const MOST_TRIES: u32 = 3;

/// CR0.TS = 0.
const CR0: u64 = 1 << 31 | 1;

const PKRU: ComponentSet = ComponentSet::only(Component::Pkru);

/// A vCPU, the thread that runs it, and their host with one CPU.
#[derive(Debug)]
pub struct Vcpu<'e> {
    /// The host.
    pub host: Host<'e>,
    /// Its CPU.
    pub cpu: CpuFpu<ModelCpu>,
    /// The thread.
    pub thread: ThreadFpu<'e, BoxedArea>,
    /// The vCPU.
    pub guest: GuestFpu<'e, BoxedArea>,
    /// #NM exits that were the host's.
    pub expansions: u32,
}

/// What a VMM reads of a vCPU and writes to another, PKRU along with the image.
#[derive(Debug)]
pub struct Saved {
    /// User components in the standard format.
    pub image: Memory,
    /// PKRU.
    pub pkru: Pkru,
    /// XCR0.
    pub xcr0: ComponentSet,
    /// IA32_XSS.
    pub xss: ComponentSet,
    /// IA32_XFD.
    pub xfd: ComponentSet,
    /// IA32_XFD_ERR.
    pub xfd_err: ComponentSet,
}

/// One of the things that a VMM writes, in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The XSAVE image, and PKRU.
    Image,
    /// XCR0.
    Xcr0,
    /// IA32_XSS.
    Xss,
    /// IA32_XFD.
    Xfd,
    /// IA32_XFD_ERR.
    XfdErr,
}

impl Item {
    /// In the order of KVM's selftests, but for the image.
    pub const ALL: [Self; 5] = [Self::Image, Self::Xcr0, Self::Xss, Self::Xfd, Self::XfdErr];

    /// All 120 orders.
    #[must_use]
    pub fn orders() -> Vec<[Self; 5]> {
        let mut orders = Vec::new();
        for code in 0..120 {
            let (mut code, mut order) = (code, Self::ALL);
            for (place, left) in (2..=5).rev().enumerate() {
                order.swap(place, place + code % left);
                code /= left;
            }
            orders.push(order);
        }
        orders
    }
}

impl<'e> Vcpu<'e> {
    /// A vCPU after RESET, whose guest is offered `features`.
    ///
    /// # Panics
    /// If its state has no room for them.
    #[must_use]
    pub fn new(host: Host<'e>, features: GuestFeatures) -> Self {
        let state = host.state(host.offer().guest_layout());
        let guest = GuestFpu::offered(state, features).map_err(|(error, _)| error);
        Self {
            cpu: host.start(0),
            thread: host.thread(),
            guest: guest.expect("room for what is offered"),
            host,
            expansions: 0,
        }
    }

    /// The guest executes `instruction`; #NM that is the host's makes its state grow.
    ///
    /// # Errors
    /// The exception that the guest gets.
    ///
    /// # Panics
    /// If the library refuses, or leaves the host another register than its own (I14, I30).
    pub fn execute<T>(
        &mut self,
        mut instruction: impl FnMut(&mut ModelCpu) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.enter();
        self.thread
            .restore_before_use(&mut self.cpu)
            .expect("no fault of the host");
        for _ in 0..MOST_TRIES {
            let cpu = &mut self.cpu;
            let entry = self.thread.load_guest_registers(&mut self.guest, cpu);
            let mut entry = entry.expect("entry");
            let result = instruction(entry.processor());
            let exit = match result {
                Err(Fault::DeviceNotAvailable) => VmExit::DeviceNotAvailable { guest_cr0: CR0 },
                Ok(_) | Err(_) => VmExit::Other,
            };
            let after = entry.load_host_registers(exit).expect("exit");
            self.require_host_registers();
            match after {
                AfterExit::Nothing | AfterExit::InjectDeviceNotAvailable => return result,
                AfterExit::Expand(expansion) => {
                    let storage = memory(expansion.layout());
                    let grown = self.thread.expand(expansion, &mut self.cpu, storage);
                    grown.map_err(|(error, _)| error).expect("room");
                    self.expansions += 1;
                }
            }
        }
        panic!("#NM does not end");
    }

    fn require_host_registers(&mut self) {
        let instructions = self.cpu.instructions();
        let host = self.host.offer().control_registers();
        let processor = self.cpu.processor();
        assert_eq!(processor.xgetbv(), Ok(host.xcr0.components()));
        if instructions.reaches_xss() {
            assert_eq!(processor.read_xss(), Ok(host.xss.components()));
        }
        if instructions.has_xfd() {
            assert_eq!(processor.read_xfd_err(), Ok(XfdErr::NOTHING));
        }
    }

    /// The guest reads IA32_XFD.
    ///
    /// # Panics
    /// If it cannot.
    pub fn rdmsr_xfd(&mut self) -> ComponentSet {
        self.enter();
        match self.xfd_interception() {
            Interception::PassedThrough => self.execute(Processor::read_xfd).expect("IA32_XFD"),
            Interception::Intercepted => {
                let xfd = self.thread.guest_xfd(&self.guest).expect("IA32_XFD");
                xfd.components()
            }
        }
    }

    /// The guest writes IA32_XFD.
    ///
    /// # Panics
    /// If it cannot.
    pub fn wrmsr_xfd(&mut self, value: ComponentSet) {
        self.enter();
        match self.xfd_interception() {
            Interception::PassedThrough => {
                let xfd = fpstate_arch::Xfd::new(value, value).expect("IA32_XFD");
                self.execute(|cpu| cpu.write_xfd(xfd)).expect("IA32_XFD");
            }
            Interception::Intercepted => self
                .thread
                .write_guest_xfd(&self.guest, &mut self.cpu, value)
                .expect("IA32_XFD"),
        }
    }

    fn xfd_interception(&self) -> Interception {
        let interception = self.thread.guest_xfd_interception(&self.guest);
        interception.expect("the thread runs the guest")
    }

    /// The guest reads IA32_XFD_ERR, which never exits.
    ///
    /// # Panics
    /// If it cannot.
    pub fn rdmsr_xfd_err(&mut self) -> ComponentSet {
        let xfd_err = self.execute(Processor::read_xfd_err).expect("IA32_XFD_ERR");
        xfd_err.components()
    }

    /// The thread is in `vcpu_run` from here on.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn enter(&mut self) {
        if self.thread.running_guest().is_none() {
            self.thread
                .enter_guest(&mut self.guest, &mut self.cpu, Restoring::Now)
                .expect("no fault of the host");
        }
    }

    /// The thread is back in the VMM from here on.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn leave(&mut self) {
        if self.thread.running_guest().is_some() {
            self.thread
                .leave_guest(&mut self.guest, &mut self.cpu, Restoring::Now)
                .expect("no fault of the host");
        }
    }

    /// The state as a CPU of its own would have it in its registers, PKRU left out.
    ///
    /// # Panics
    /// If it is not in memory.
    #[must_use]
    pub fn contents(&mut self) -> Contents {
        self.leave();
        let state = self.guest.fpstate().expect("the guest's state");
        self.host.contents(state.in_memory().expect("in memory"))
    }

    /// Everything, read by the VMM.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn save(&mut self) -> Saved {
        self.leave();
        let guest = &self.guest;
        let state = guest.fpstate().expect("the guest's state");
        Saved {
            image: self.host.image(state.in_memory().expect("in memory")),
            pkru: guest.pkru(),
            xcr0: guest.xcr0().components(),
            xss: guest.xss().components(),
            xfd: guest.xfd().expect("IA32_XFD").components(),
            xfd_err: guest.xfd_err().components(),
        }
    }

    /// The VMM writes everything, in this order. The state grows where an image needs room.
    ///
    /// # Errors
    /// The first refusal of a register.
    pub fn load(&mut self, saved: &Saved, order: [Item; 5]) -> Result<(), GuestRegisterError> {
        self.leave();
        for item in order {
            match item {
                Item::Image => {
                    self.import(&saved.image);
                    self.guest.set_pkru(saved.pkru);
                }
                Item::Xcr0 => self.guest.write_xcr0(saved.xcr0)?,
                Item::Xss => self.guest.write_xss(saved.xss)?,
                Item::Xfd => self.guest.write_xfd(saved.xfd)?,
                Item::XfdErr => self.guest.write_xfd_err(saved.xfd_err)?,
            }
        }
        Ok(())
    }

    /// The VMM writes the XSAVE image, in memory that has room for it.
    ///
    /// # Panics
    /// If the image is refused for another reason than room.
    pub fn import(&mut self, image: &Memory) {
        let offer = *self.host.offer();
        let layout = offer.image_layout(offer.user_components());
        let image = StandardImage::parse(image.bytes(), layout, 0xffff).expect("an image");
        match self.guest.import(&image, PKRU) {
            Ok(()) => return,
            Err(GuestStateError::Import(ImportError::NoRoom { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        let missing = image.xstate_bv().intersection(offer.on_demand());
        let expansion = self.guest.expansion(missing).expect("an expansion");
        let grown = self.guest.expand(expansion, memory(expansion.layout()));
        grown.map_err(|(error, _)| error).expect("room");
        self.guest.import(&image, PKRU).expect("room for the image");
    }
}

impl Saved {
    /// XSTATE_BV of the image.
    ///
    /// # Panics
    /// If it has no header.
    #[must_use]
    pub fn xstate_bv(&self) -> ComponentSet {
        let field = self.image.bytes()[512..].first_chunk().expect("a header");
        ComponentSet::from_bits(u64::from_le_bytes(*field))
    }

    /// What differs in `found`, by name; no bytes, of which there are many.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<&'static str> {
        [
            ("image", self.image.bytes() == found.image.bytes()),
            ("PKRU", self.pkru == found.pkru),
            ("XCR0", self.xcr0 == found.xcr0),
            ("IA32_XSS", self.xss == found.xss),
            ("IA32_XFD", self.xfd == found.xfd),
            ("IA32_XFD_ERR", self.xfd_err == found.xfd_err),
        ]
        .into_iter()
        .filter(|(_, equal)| !equal)
        .map(|(name, _)| name)
        .collect()
    }
}
