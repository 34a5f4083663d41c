//! A thread and its vCPUs, their registers filled, under each policy.

use fpstate::host_side::{CallerSaved, HostSide, LiveRegisters};
use fpstate::{
    BoxedArea, CpuFpu, Fpstate, GuestFpu, Identities, Layout, Loss, RegisterMoves,
    SwitchInstructions, ThreadFpu, XsaveArea,
};
use fpstate_arch::{ComponentSet, Fault, Processor};

use crate::contestant::Contestant;
use crate::image::{Image, Mover};
use crate::ours::Ours;
use crate::pair::Pair;
use crate::pointer_swap::{LinuxFpstate, PointerSwap};
use crate::policy::PolicyError;
use crate::policy_name::PolicyName;
use crate::scenario::Scenario;
use crate::two_buffers::{TwoBuffers, VcpuBuffers};

/// Every state and CPU of this process.
static IDENTITIES: Identities = Identities::new();

/// What all policies of one comparison have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'e> {
    /// Of every area and image.
    pub layout: Layout<'e>,
    /// The best pair here, and whether [`PolicyName::OursFull`] tries moves first.
    pub instructions: SwitchInstructions,
    /// What is live.
    pub scenario: Scenario,
    /// vCPUs of the thread.
    pub vcpus: usize,
}

/// A contestant, for as long as the layout's CPU lives.
pub type Boxed<'p> = Box<dyn Contestant + 'p>;

impl<'e> Setting<'e> {
    /// A design that is not the library's, by `mover`; `None` for one that is.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`]
    pub fn by_mover<'p, M: Mover + 'p>(
        &self,
        name: PolicyName,
        mover: M,
    ) -> Result<Option<Boxed<'p>>, PolicyError> {
        Ok(match name {
            PolicyName::InstructionsPair | PolicyName::PlainMoves => {
                let vcpus = self.each_vcpu(|area| Image::of(area))?;
                Some(Box::new(Pair::new(mover, self.thread_image()?, vcpus)))
            }
            PolicyName::TwoBuffers => {
                let vcpus = self.each_vcpu(|area| {
                    let (user, guest) = (Image::of(area)?, Image::of(area)?);
                    Ok(VcpuBuffers { user, guest })
                })?;
                let task = self.thread_image()?;
                Some(Box::new(TwoBuffers::new(mover, task, vcpus)))
            }
            PolicyName::PointerSwap => {
                let vcpus = self.each_vcpu(|area| Ok(LinuxFpstate::new(Image::of(area)?)))?;
                let task = LinuxFpstate::new(self.thread_image()?);
                Some(Box::new(PointerSwap::new(mover, task, vcpus)))
            }
            PolicyName::XsaveCrate
            | PolicyName::OursInstructions
            | PolicyName::OursFull
            | PolicyName::OursAbi => None,
        })
    }

    /// One of the library's variants, on `processor`; `None` for another design.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`], or the processor's fault.
    pub fn ours<'p, P: Processor + 'p>(
        &self,
        name: PolicyName,
        processor: P,
    ) -> Result<Option<Boxed<'p>>, PolicyError>
    where
        'e: 'p,
    {
        let full = self.instructions;
        let alone = full.with_moves(RegisterMoves::Never);
        Ok(match name {
            PolicyName::OursInstructions => {
                Some(self.thread_as::<P, LiveRegisters>(processor, alone)?)
            }
            PolicyName::OursFull => Some(self.thread_as::<P, LiveRegisters>(processor, full)?),
            PolicyName::OursAbi => Some(self.thread_as::<P, CallerSaved>(processor, full)?),
            PolicyName::InstructionsPair
            | PolicyName::PlainMoves
            | PolicyName::TwoBuffers
            | PolicyName::PointerSwap
            | PolicyName::XsaveCrate => None,
        })
    }

    fn thread_as<'p, P: Processor + 'p, H: HostSide + 'p>(
        &self,
        processor: P,
        instructions: SwitchInstructions,
    ) -> Result<Boxed<'p>, PolicyError>
    where
        'e: 'p,
    {
        let cpu = CpuFpu::adopt(processor, 0, &IDENTITIES, instructions)?;
        let vcpus = self.each_vcpu(|area| Ok(GuestFpu::new(self.fpstate(area)?)))?;
        let thread = ThreadFpu::new(self.fpstate(&self.thread_area()?)?);
        Ok(Box::new(Ours::<P, H>::new(cpu, thread, vcpus)))
    }

    /// The registers the thread has.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`]
    pub fn thread_area(&self) -> Result<XsaveArea<'e, BoxedArea>, PolicyError> {
        self.filled(0)
    }

    /// The registers that a vCPU has. Each has its own.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`]
    pub fn guest_area(&self, vcpu: usize) -> Result<XsaveArea<'e, BoxedArea>, PolicyError> {
        self.filled(seed_of(vcpu))
    }

    /// The area of `seed`.
    ///
    /// # Errors
    /// [`PolicyError::NoMemory`]
    pub fn filled(&self, seed: u64) -> Result<XsaveArea<'e, BoxedArea>, PolicyError> {
        let memory = BoxedArea::for_layout(&self.layout).map_err(|_| PolicyError::NoMemory)?;
        let mut area = XsaveArea::new(self.layout, memory).map_err(|_| PolicyError::NoMemory)?;
        self.scenario.fill(&mut area, seed);
        Ok(area)
    }

    fn thread_image(&self) -> Result<Image, PolicyError> {
        Image::of(&self.thread_area()?)
    }

    /// One of whatever a policy keeps for each vCPU.
    fn each_vcpu<T>(
        &self,
        mut new: impl FnMut(&XsaveArea<'e, BoxedArea>) -> Result<T, PolicyError>,
    ) -> Result<Vec<Box<T>>, PolicyError> {
        let mut area = self.thread_area()?;
        let mut vcpus = Vec::with_capacity(self.vcpus);
        for vcpu in 0..self.vcpus {
            self.scenario.fill(&mut area, seed_of(vcpu));
            vcpus.push(Box::new(new(&area)?));
        }
        Ok(vcpus)
    }

    fn fpstate(
        &self,
        area: &XsaveArea<'e, BoxedArea>,
    ) -> Result<Fpstate<'e, BoxedArea>, PolicyError> {
        let memory = BoxedArea::for_layout(&self.layout).map_err(|_| PolicyError::NoMemory)?;
        let mut fpstate =
            Fpstate::new(self.layout, memory, &IDENTITIES).map_err(|_| PolicyError::NoMemory)?;
        // The same layout, so everything has room.
        fpstate
            .import_state(&area.state(), ComponentSet::EMPTY, Loss::Reject)
            .map_err(|_| PolicyError::Fault(Fault::GeneralProtection))?;
        Ok(fpstate)
    }
}

/// The thread's is 0.
const fn seed_of(vcpu: usize) -> u64 {
    vcpu as u64 + 1
}
