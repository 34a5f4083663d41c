//! What a guest's CPUID leaf 0DH announces, and what XSETBV and WRMSR of IA32_XSS accept: the steps of
//! KVM's selftests `xcr0_cpuid_test` and `xss_msr_test`, for every set of features and on every CPU.

use conformance::contents::Contents;
use conformance::cpus::{self, RecordedCpu};
use conformance::host::Host;
use conformance::tiles::TileValues;
use conformance::user_code::UserCode;
use conformance::vcpu::Vcpu;
use fastrand::Rng;
use fpstate::offer::Grantee;
use fpstate::{BoxedArea, Errno, GuestFeatures, GuestFpu, GuestPermit, Permissions, SignalStacks};
use fpstate_arch::{
    Component, ComponentSet, CpuidRegisters, Enumeration, Pkru, Processor, Xcr0, Xss,
};
use fpstate_model::{ModelCpu, Profile};

const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const MPX: u64 = 0b11 << 3;
const AVX512: u64 = 0b111 << 5;
const TILES: u64 = 0b11 << 17;
const APX: u64 = 1 << 19;
/// `CET_U` and `CET_S`: what a guest's IA32_XSS may have.
const CET: u64 = 0b11 << 11;

/// The rules of XSETBV: SDM 1, 13.3, and the APX specification, 3.1.4.
const fn obeys_the_rules(xcr0: u64) -> bool {
    const fn all_or_none(xcr0: u64, group: u64) -> bool {
        xcr0 & group == 0 || xcr0 & group == group
    }
    xcr0 & X87 != 0
        && (xcr0 & AVX == 0 || xcr0 & SSE != 0)
        && all_or_none(xcr0, MPX)
        && all_or_none(xcr0, AVX512)
        && (xcr0 & AVX512 == 0 || xcr0 & AVX != 0)
        && all_or_none(xcr0, TILES)
        && (xcr0 & APX == 0 || xcr0 & MPX == 0)
}

/// All subsets of `set`.
fn subsets(set: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(0), move |&subset: &u64| {
        (subset != set).then(|| subset.wrapping_sub(set) & set)
    })
}

fn legal_xcr0s(supported: u64) -> impl Iterator<Item = u64> {
    subsets(supported).filter(|&xcr0| obeys_the_rules(xcr0))
}

const fn bits(set: u64) -> ComponentSet {
    ComponentSet::from_bits(set)
}

/// A kind of CPU with XSAVE, and what its guests can be offered.
struct Kind {
    cpu: RecordedCpu,
    enumeration: Enumeration,
}

impl Kind {
    /// Every profile, and what is older than those.
    fn all() -> impl Iterator<Item = Self> {
        let profiles = Profile::ALL.iter().map(|&profile| RecordedCpu::of(profile));
        let kinds = cpus::with_xsave().iter().copied().chain(profiles);
        kinds.map(|cpu| Self {
            enumeration: cpu.enumeration(),
            cpu,
        })
    }

    fn host(&self) -> Host<'_> {
        Host::new(&self.cpu, &self.enumeration)
    }

    /// What XCR0 has on this host.
    fn user(&self) -> u64 {
        self.host().offer().user_components().bits()
    }

    /// What guests' IA32_XSS may have on this host.
    fn supervisor(&self) -> u64 {
        let supervisor = self.enumeration.supervisor_components().bits() & CET;
        if supervisor == CET { CET } else { 0 }
    }

    /// What a guest is offered, by a process with permission for tiles.
    fn features(&self, user: u64, supervisor: u64) -> GuestFeatures {
        let host = self.host();
        let permit = with_permission(&host);
        GuestFeatures::new(host.offer(), permit, bits(user), bits(supervisor)).expect("features")
    }

    /// `test` with a guest of each set of features.
    fn for_every_guest(&self, mut test: impl FnMut(GuestFpu<'_, BoxedArea>)) {
        let host = self.host();
        for user in legal_xcr0s(self.user()) {
            for supervisor in [0, self.supervisor()] {
                let state = host.state(host.offer().guest_layout());
                let guest = GuestFpu::offered(state, self.features(user, supervisor));
                test(guest.map_err(|(error, _)| error).expect("room"));
            }
        }
    }

    /// The CPU itself with these in its registers.
    fn with_registers(&self, xcr0: u64, xss: u64) -> ModelCpu {
        let mut cpu = self.cpu.model();
        let xcr0 = Xcr0::new(bits(xcr0), bits(xcr0)).expect("a legal XCR0");
        cpu.xsetbv(xcr0).expect("XSETBV");
        if xss != 0 {
            let xss = Xss::new(bits(xss), bits(xss)).expect("any value");
            cpu.write_xss(xss).expect("IA32_XSS");
        }
        cpu
    }
}

/// Of a process that has asked for tiles, where there are any.
fn with_permission(host: &Host<'_>) -> GuestPermit {
    let mut permissions = Permissions::new(host.offer());
    if !host.offer().on_demand().is_empty() {
        let stacks = SignalStacks::none();
        permissions
            .request(host.offer(), Grantee::Guests, 18, stacks)
            .expect("tile data");
    }
    permissions.freeze_guests()
}

fn without_permission(host: &Host<'_>) -> GuestPermit {
    Permissions::new(host.offer()).freeze_guests()
}

fn cpuid(guest: &GuestFpu<'_, BoxedArea>, kind: &Kind, subleaf: u32) -> CpuidRegisters {
    let leaf = guest.cpuid(0xd, subleaf, &kind.enumeration);
    leaf.expect("a layout").expect("leaf 0DH")
}

/// CPUID.(0DH,0):EDX:EAX: the user components announced.
fn announced_user(guest: &GuestFpu<'_, BoxedArea>, kind: &Kind) -> u64 {
    let leaf = cpuid(guest, kind, 0);
    u64::from(leaf.edx) << 32 | u64::from(leaf.eax)
}

/// CPUID.(0DH,1):EDX:ECX: the supervisor components announced.
fn announced_supervisor(guest: &GuestFpu<'_, BoxedArea>, kind: &Kind) -> u64 {
    let leaf = cpuid(guest, kind, 1);
    u64::from(leaf.edx) << 32 | u64::from(leaf.ecx)
}

mod announced {
    use super::*;

    #[test]
    fn a_guest_can_be_offered_what_obeys_the_rules_and_nothing_else() {
        for kind in Kind::all() {
            let host = kind.host();
            for (permit, permitted) in [
                (with_permission(&host), u64::MAX),
                (without_permission(&host), !(1 << 18)),
            ] {
                for user in subsets(kind.user()) {
                    let none = ComponentSet::EMPTY;
                    let offered = GuestFeatures::new(host.offer(), permit, bits(user), none);
                    let expected = obeys_the_rules(user) && user & !permitted == 0;
                    assert_eq!(offered.is_ok(), expected, "{}: {user:#x}", kind.cpu.name);
                }
            }
        }
    }

    #[test]
    fn components_that_the_host_does_not_have_cannot_be_offered() {
        for kind in Kind::all() {
            let host = kind.host();
            let permit = with_permission(&host);
            for bit in (0..64)
                .map(|bit| 1 << bit)
                .filter(|bit| kind.user() & bit == 0)
            {
                let user = bits(kind.user() | bit);
                let offered = GuestFeatures::new(host.offer(), permit, user, bits(0));
                let refused = offered.map_err(|error| error.errno());
                assert_eq!(refused, Err(Errno::Einval), "{}: {bit:#x}", kind.cpu.name);
            }
        }
    }

    #[test]
    fn cpuid_announces_what_is_offered() {
        for kind in Kind::all() {
            let mut expected = legal_xcr0s(kind.user())
                .flat_map(|user| [0, kind.supervisor()].map(|supervisor| (user, supervisor)));
            kind.for_every_guest(|guest| {
                let user = announced_user(&guest, &kind);
                let found = (user, announced_supervisor(&guest, &kind));
                assert!(obeys_the_rules(user));
                assert_eq!(Some(found), expected.next(), "{}", kind.cpu.name);
            });
        }
    }

    /// The other sub-leaves are the CPU's for what is offered, and empty for what is not.
    #[test]
    fn sub_leaves_describe_what_is_offered_and_nothing_else() {
        for kind in Kind::all() {
            let mut cpu = kind.cpu.model();
            kind.for_every_guest(|guest| {
                let user = announced_user(&guest, &kind);
                let all = user | announced_supervisor(&guest, &kind);
                for number in 2..63 {
                    let expected = if all & 1 << number == 0 {
                        CpuidRegisters::default()
                    } else {
                        cpu.cpuid(0xd, number)
                    };
                    let found = cpuid(&guest, &kind, number);
                    assert_eq!(found, expected, "{}: {number}", kind.cpu.name);
                }
            });
        }
    }

    /// CPUID.(0DH,1):EAX: bits 0 to 3 are the CPU's; bit 4, IA32_XFD, comes with tile data.
    #[test]
    fn ia32_xfd_is_announced_along_with_tile_data() {
        for kind in Kind::all() {
            let own = kind.cpu.model().cpuid(0xd, 1).eax;
            kind.for_every_guest(|guest| {
                let tile_data = announced_user(&guest, &kind) & 1 << 18 != 0;
                let xfd = if tile_data { 1 << 4 } else { 0 };
                assert_eq!(cpuid(&guest, &kind, 1).eax, own & 0xf | xfd);
            });
        }
    }
}

mod xsetbv;

mod ia32_xss {
    use super::*;

    #[test]
    fn each_bit_is_accepted_if_it_is_announced_and_refused_otherwise() {
        for kind in Kind::all() {
            kind.for_every_guest(|mut guest| {
                let announced = announced_supervisor(&guest, &kind);
                for bit in (0..64).map(|bit| 1 << bit) {
                    guest.write_xss(bits(0)).unwrap();
                    let answer = guest.write_xss(bits(bit)).map_err(|error| error.errno());
                    let (expected, value) = if announced & bit != 0 {
                        (Ok(()), bit)
                    } else {
                        (Err(Errno::Einval), 0)
                    };
                    assert_eq!(answer, expected, "{}: {bit:#x}", kind.cpu.name);
                    assert_eq!(guest.xss().components().bits(), value);
                }
            });
        }
    }

    #[test]
    fn all_that_is_announced_is_accepted_at_once() {
        for kind in Kind::all() {
            kind.for_every_guest(|mut guest| {
                let announced = bits(announced_supervisor(&guest, &kind));
                assert_eq!(guest.write_xss(announced), Ok(()));
            });
        }
    }

    /// What a 6.18 kernel answered to `KVM_SET_MSRS` for a guest without XSAVES and AMX.
    #[test]
    fn a_guest_with_avx_is_answered_as_by_kvm() {
        for kind in Kind::all() {
            let state = kind.host().state(kind.host().offer().guest_layout());
            let features = kind.features(X87 | SSE | AVX, 0);
            let mut guest = GuestFpu::offered(state, features).unwrap();
            let einval = Err(Errno::Einval);
            for xss in [1, 0x1800] {
                let answer = guest.write_xss(bits(xss)).map_err(|error| error.errno());
                assert_eq!(answer, einval, "{xss:#x}");
            }
            let xfd = guest.write_xfd(bits(0x4_0000));
            assert_eq!(xfd.map_err(|error| error.errno()), einval);
            let xfd_err = guest.write_xfd_err(bits(0x4_0000));
            assert_eq!(xfd_err.map_err(|error| error.errno()), einval);
            assert_eq!(guest.write_xfd(bits(0)), Ok(()));
        }
    }
}

/// Invariant I41; the CPU itself says what the lengths are.
mod lengths {
    use super::*;

    /// Also L60.
    ///
    /// L59 · 2022 · cc04b6a21d43 · the compacted length in a guest's CPUID ignored which components are aligned to 64 bytes
    #[test]
    fn ebx_follows_every_xcr0_and_ia32_xss_as_on_the_cpu_itself() {
        for kind in Kind::all() {
            kind.for_every_guest(|mut guest| {
                let user = announced_user(&guest, &kind);
                for xss in subsets(announced_supervisor(&guest, &kind)) {
                    guest.write_xss(bits(xss)).unwrap();
                    for xcr0 in legal_xcr0s(user) {
                        guest.xsetbv(0, xcr0).unwrap();
                        let mut cpu = kind.with_registers(xcr0, xss);
                        for subleaf in [0, 1] {
                            let found = cpuid(&guest, &kind, subleaf).ebx;
                            let expected = cpu.cpuid(0xd, subleaf).ebx;
                            assert_eq!(found, expected, "{xcr0:#x}, {xss:#x}");
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn ecx_is_the_length_with_all_that_is_announced() {
        for kind in Kind::all() {
            kind.for_every_guest(|guest| {
                let mut cpu = kind.with_registers(announced_user(&guest, &kind), 0);
                assert_eq!(cpuid(&guest, &kind, 0).ecx, cpu.cpuid(0xd, 0).ebx);
            });
        }
    }
}

mod reset_and_init;
