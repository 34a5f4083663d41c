//! [`Permissions`]: which on-demand components a process's threads and guests may use.
//!
//! The answers are those of Linux's `arch_prctl()` with `ARCH_REQ_XCOMP_PERM` and its relatives.

use core::iter::Empty;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::xsave_header::Format;

use crate::offer::{Grantee, Offer};
use crate::permission_error::{NotPermitted, PermissionError, SignalStackError};

/// "FPXE", which stands behind the XSAVE image of a signal frame.
const MAGIC2_LEN: usize = 4;

/// What one process may use. All its threads share it; the kernel keeps it behind the lock that also
/// keeps threads from setting up alternate signal stacks (invariant I22).
///
/// Grants are only added until the process executes another program (invariant I19). They are of
/// user components alone: supervisor components are never asked for, never shown and never lost,
/// because every layout has them from the [`Offer`].
#[derive(Debug, PartialEq, Eq)]
pub struct Permissions {
    /// User components that need no permission.
    default: ComponentSet,
    threads: ComponentSet,
    guests: ComponentSet,
    guests_frozen: bool,
}

/// What a process's guests may use on demand, from the first vCPU on.
///
/// Only [`Permissions::freeze_guests`] makes one, so whoever creates a vCPU has frozen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPermit {
    on_demand: ComponentSet,
}

impl GuestPermit {
    /// On-demand components that guests may use.
    #[must_use]
    pub const fn on_demand(self) -> ComponentSet {
        self.on_demand
    }
}

/// What a signal frame must fit on: the alternate signal stacks of a process's threads.
#[derive(Clone, Debug)]
pub struct SignalStacks<I> {
    frame_overhead: usize,
    lens: I,
}

impl<I: Iterator<Item = usize>> SignalStacks<I> {
    /// The length in bytes of each thread's alternate signal stack, 0 where it has none;
    /// `frame_overhead` is what a signal frame takes beside the XSAVE image, alignment included.
    #[must_use]
    pub const fn new(frame_overhead: usize, lens: I) -> Self {
        Self {
            frame_overhead,
            lens,
        }
    }
}

impl SignalStacks<Empty<usize>> {
    /// No thread has one. Requests for guests need no other: a guest's state is in no signal frame.
    #[must_use]
    pub const fn none() -> Self {
        Self::new(0, core::iter::empty())
    }
}

impl Permissions {
    /// Those of the first process: what needs no permission.
    #[must_use]
    pub const fn new(offer: &Offer<'_>) -> Self {
        Self {
            default: offer.user_components().difference(offer.on_demand()),
            threads: ComponentSet::EMPTY,
            guests: ComponentSet::EMPTY,
            guests_frozen: false,
        }
    }

    /// User components that may be used, with or without asking: `ARCH_GET_XCOMP_PERM`,
    /// `ARCH_GET_XCOMP_GUEST_PERM`.
    #[must_use]
    pub const fn granted(&self, grantee: Grantee) -> ComponentSet {
        self.default.union(self.on_demand(grantee))
    }

    /// On-demand components that may be used.
    #[must_use]
    pub const fn on_demand(&self, grantee: Grantee) -> ComponentSet {
        match grantee {
            Grantee::Threads => self.threads,
            Grantee::Guests => self.guests,
        }
    }

    /// The most that a guest may be offered: what a VMM announces in CPUID where it passes on all it
    /// can (Linux `kvm_get_filtered_xcr0()`). Without its tile data a tile configuration is of no use,
    /// and no XCR0 has it alone (Linux commit 55cd57b596e8).
    #[must_use]
    pub const fn guest_maximum(&self) -> ComponentSet {
        let granted = self.granted(Grantee::Guests);
        if granted.contains_all(ComponentSet::TILES) {
            granted
        } else {
            granted.difference(ComponentSet::TILES)
        }
    }

    /// Asks for the component with this number: `ARCH_REQ_XCOMP_PERM`,
    /// `ARCH_REQ_XCOMP_GUEST_PERM`. `stacks` count for threads only.
    ///
    /// # Errors
    /// Nothing is granted then.
    pub fn request(
        &mut self,
        offer: &Offer<'_>,
        grantee: Grantee,
        number: u32,
        stacks: SignalStacks<impl Iterator<Item = usize>>,
    ) -> Result<(), PermissionError> {
        let component = u8::try_from(number)
            .ok()
            .and_then(Component::from_number)
            .filter(|component| !matches!(component, Component::Unnamed(_)))
            .ok_or(PermissionError::NoSuchComponent { number })?;
        let on_demand = offer.on_demand();
        if !on_demand.contains(component) {
            return Err(PermissionError::NotOnDemand {
                component,
                on_demand,
            });
        }
        if self.on_demand(grantee).contains(component) {
            return Ok(());
        }
        match grantee {
            Grantee::Threads => {
                let threads = self.threads.with(component);
                let needed = self.frame_len(offer, threads, stacks.frame_overhead);
                for found in stacks.lens {
                    if found != 0 && found < needed {
                        let too_small = SignalStackError { found, needed };
                        return Err(PermissionError::SignalStack(too_small));
                    }
                }
                self.threads = threads;
            }
            Grantee::Guests if self.guests_frozen => return Err(PermissionError::GuestsFrozen),
            Grantee::Guests => self.guests = self.guests.with(component),
        }
        Ok(())
    }

    /// Checks an alternate signal stack that a thread wants to set up, `len` bytes long. Before the
    /// first grant any is accepted: programs built when frames were smaller bring small ones.
    ///
    /// # Errors
    /// [`SignalStackError`]: the largest frame that the process may now get does not fit.
    pub fn check_signal_stack(
        &self,
        offer: &Offer<'_>,
        frame_overhead: usize,
        len: usize,
    ) -> Result<(), SignalStackError> {
        let (found, needed) = (len, self.frame_len(offer, self.threads, frame_overhead));
        if self.threads.is_empty() || found == 0 || found >= needed {
            Ok(())
        } else {
            Err(SignalStackError { found, needed })
        }
    }

    /// Length of the longest signal frame of a thread that may use `on_demand`.
    fn frame_len(&self, offer: &Offer<'_>, on_demand: ComponentSet, overhead: usize) -> usize {
        let image = offer.image_layout(self.default.union(on_demand));
        let behind = match image.format() {
            Format::Fxsave => 0,
            Format::Standard | Format::Compacted => MAGIC2_LEN,
        };
        overhead
            .saturating_add(image.area_len())
            .saturating_add(behind)
    }

    /// Whether `needed` components may be used: at #NM, those of IA32_XFD_ERR.
    ///
    /// # Errors
    /// [`NotPermitted`]; a thread gets SIGILL.
    pub const fn require(
        &self,
        grantee: Grantee,
        needed: ComponentSet,
    ) -> Result<(), NotPermitted> {
        let granted = self.granted(grantee);
        if granted.contains_all(needed) {
            Ok(())
        } else {
            Err(NotPermitted {
                grantee,
                needed,
                granted,
            })
        }
    }

    /// Ends requests for guests, at every vCPU's creation; the first counts. A guest's CPUID says
    /// what it may use, and that must not change under it (invariant I21).
    pub const fn freeze_guests(&mut self) -> GuestPermit {
        self.guests_frozen = true;
        GuestPermit {
            on_demand: self.guests,
        }
    }

    /// The child's: what was granted, but it has no vCPU and may ask again.
    #[must_use]
    pub const fn fork(&self) -> Self {
        Self {
            guests_frozen: false,
            ..*self
        }
    }

    /// The process executes another program, which has to ask again.
    pub const fn exec(&mut self) {
        *self = Self {
            default: self.default,
            threads: ComponentSet::EMPTY,
            guests: ComponentSet::EMPTY,
            guests_frozen: false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Errno::{self, Ebusy, Einval, Enospc, Eopnotsupp};
    use crate::recorded_cpu::emerald_rapids;
    use Grantee::{Guests, Threads};

    const TILES: u32 = 18;
    const TILE_DATA: ComponentSet = ComponentSet::only(Component::TileData);

    fn ask(
        permissions: &mut Permissions,
        offer: &Offer<'_>,
        grantee: Grantee,
        number: u32,
    ) -> Result<(), Errno> {
        permissions
            .request(offer, grantee, number, SignalStacks::none())
            .map_err(|error| error.errno())
    }

    #[test]
    fn a_cpu_without_tiles_answers_as_linux_does_there() {
        // XCR0=7: GET_XCOMP_PERM is 7; 2, 17, 18, 19 give EOPNOTSUPP, 20 and 64 give EINVAL.
        let cpu = emerald_rapids().with_user(7).enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        for grantee in [Threads, Guests] {
            assert_eq!(permissions.granted(grantee).bits(), 7);
            for number in [2, 17, 18, 19] {
                let answer = ask(&mut permissions, &offer, grantee, number);
                assert_eq!(answer, Err(Eopnotsupp), "{number}");
            }
            for number in [20, 62, 63, 64, 255, 256, 256 + TILES, u32::MAX] {
                let answer = ask(&mut permissions, &offer, grantee, number);
                assert_eq!(answer, Err(Einval), "{number}");
            }
        }
    }

    #[test]
    fn a_grant_is_seen_by_its_grantee_alone_and_shows_no_supervisor_component() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        assert_eq!(permissions.granted(Threads).bits(), 0x202e7);
        assert_eq!(ask(&mut permissions, &offer, Threads, TILES), Ok(()));
        assert_eq!(permissions.granted(Threads).bits(), 0x602e7);
        assert_eq!(permissions.granted(Guests).bits(), 0x202e7);
        assert_eq!(ask(&mut permissions, &offer, Guests, TILES), Ok(()));
        assert_eq!(permissions.granted(Guests).bits(), 0x602e7);
        assert_eq!(ask(&mut permissions, &offer, Threads, 17), Err(Eopnotsupp));
        // The layout after the grant still has them (bug 32, hazard H7).
        let layout = offer.layout_with(Threads, permissions.on_demand(Threads));
        let supervisor = cpu
            .supervisor_components()
            .intersection(offer.default_components());
        assert!(!supervisor.is_empty() && layout.components().contains_all(supervisor));
    }

    /// L58 · 2023 · 55cd57b596e8, 6be3ae45f567 · XTILECFG was announced where XTILEDATA was not permitted, and XSETBV of what is announced raised #GP
    #[test]
    fn a_guest_is_not_offered_a_tile_configuration_without_tile_data() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        assert_eq!(permissions.guest_maximum().bits(), 0x2e7);
        assert_eq!(ask(&mut permissions, &offer, Guests, TILES), Ok(()));
        assert_eq!(permissions.guest_maximum().bits(), 0x602e7);
    }

    #[test]
    fn from_the_first_vcpu_on_guests_keep_what_they_have() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut late = Permissions::new(&offer);
        let mut early = Permissions::new(&offer);
        assert_eq!(late.freeze_guests().on_demand(), ComponentSet::EMPTY);
        assert_eq!(ask(&mut late, &offer, Guests, TILES), Err(Ebusy));
        assert_eq!(late.granted(Guests).bits(), 0x202e7);
        assert_eq!(ask(&mut late, &offer, Threads, TILES), Ok(()));
        assert_eq!(ask(&mut late, &offer, Guests, 17), Err(Eopnotsupp));

        assert_eq!(ask(&mut early, &offer, Guests, TILES), Ok(()));
        assert_eq!(early.freeze_guests().on_demand(), TILE_DATA);
        assert_eq!(ask(&mut early, &offer, Guests, TILES), Ok(()));
        assert_eq!(early.freeze_guests().on_demand(), TILE_DATA);
    }

    #[test]
    fn a_child_inherits_the_grants_and_not_the_freeze() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut parent = Permissions::new(&offer);
        ask(&mut parent, &offer, Threads, TILES).unwrap();
        parent.freeze_guests();
        let mut child = parent.fork();
        assert_eq!(child.granted(Threads), parent.granted(Threads));
        assert_eq!(ask(&mut child, &offer, Guests, TILES), Ok(()));
        assert_eq!(ask(&mut parent, &offer, Guests, TILES), Err(Ebusy));
    }

    #[test]
    fn another_program_has_to_ask_again() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        for grantee in [Threads, Guests] {
            ask(&mut permissions, &offer, grantee, TILES).unwrap();
        }
        permissions.freeze_guests();
        permissions.exec();
        assert_eq!(permissions, Permissions::new(&offer));
    }

    /// Standard format: tile configuration ends at 0xb00, tiles at 0x2b00; 4 bytes of magic.
    const FRAME: usize = 700 + 0x2b00 + 4;

    /// L30 · 2021 · `AT_MINSIGSTKSZ` · the frame had grown over the length that alternate signal stacks were promised to need
    #[test]
    fn every_threads_signal_stack_has_to_hold_the_larger_frame() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        for (lens, answer) in [
            ([0, 0, 0], Ok(())),
            ([0, FRAME, FRAME + 1], Ok(())),
            ([FRAME, 0, FRAME - 1], Err(Enospc)),
            ([2048, FRAME, 0], Err(Enospc)),
        ] {
            let mut permissions = Permissions::new(&offer);
            let stacks = || SignalStacks::new(700, lens.into_iter());
            let answered = permissions.request(&offer, Threads, TILES, stacks());
            assert_eq!(answered.map_err(|error| error.errno()), answer);
            let granted = permissions.granted(Threads).contains(Component::TileData);
            assert_eq!(granted, answer.is_ok());
            assert_eq!(
                permissions.request(&offer, Guests, TILES, stacks()),
                Ok(()),
                "a guest's state is in no signal frame"
            );
        }
    }

    #[test]
    fn a_request_that_is_granted_already_looks_at_no_signal_stack() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        ask(&mut permissions, &offer, Threads, TILES).unwrap();
        let small = SignalStacks::new(700, [2048].into_iter());
        assert_eq!(permissions.request(&offer, Threads, TILES, small), Ok(()));
    }

    /// Also L30.
    #[test]
    fn small_signal_stacks_are_refused_from_the_first_grant_on() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        assert_eq!(permissions.check_signal_stack(&offer, 700, 2048), Ok(()));
        ask(&mut permissions, &offer, Guests, TILES).unwrap();
        assert_eq!(permissions.check_signal_stack(&offer, 700, 2048), Ok(()));
        ask(&mut permissions, &offer, Threads, TILES).unwrap();
        for len in [0, FRAME] {
            assert_eq!(permissions.check_signal_stack(&offer, 700, len), Ok(()));
        }
        let refused = permissions.check_signal_stack(&offer, 700, FRAME - 1);
        assert_eq!(
            refused,
            Err(SignalStackError {
                found: FRAME - 1,
                needed: FRAME
            })
        );
        assert_eq!(refused.map_err(|error| error.errno()), Err(Errno::Enomem));
    }

    #[test]
    fn what_is_used_without_permission_is_named() {
        let cpu = emerald_rapids().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let mut permissions = Permissions::new(&offer);
        ask(&mut permissions, &offer, Guests, TILES).unwrap();
        assert_eq!(permissions.require(Guests, TILE_DATA), Ok(()));
        let refused = permissions.require(Threads, TILE_DATA);
        assert_eq!(
            refused,
            Err(NotPermitted {
                grantee: Threads,
                needed: TILE_DATA,
                granted: ComponentSet::from_bits(0x202e7)
            })
        );
        assert_eq!(refused.map_err(|error| error.errno()), Err(Errno::Eperm));
        let avx = ComponentSet::only(Component::Avx);
        assert_eq!(permissions.require(Threads, avx), Ok(()));
    }

    #[test]
    fn a_cpu_that_gave_up_xsave_has_the_short_frame() {
        let cpu = emerald_rapids().without_xsave().enumeration();
        let offer = Offer::for_ring0(&cpu);
        let permissions = Permissions::new(&offer);
        assert_eq!(permissions.granted(Threads), ComponentSet::LEGACY);
        assert_eq!(
            permissions.frame_len(&offer, ComponentSet::EMPTY, 700),
            1212
        );
    }
}
