//! An XSAVE area: bytes, and the layout they obey.

use core::fmt;

use fpstate_arch::component::{Component, ComponentSet};
use fpstate_arch::legacy_region::{INITIAL_FCW, LEGACY_REGION_LEN, LegacyRegion, Mxcsr};
use fpstate_arch::xsave_header::{EXTENDED_REGION_OFFSET, Format, XSAVE_HEADER_LEN, XsaveHeader};

use crate::layout::Layout;
use crate::storage::AreaStorage;

/// Bytes at a multiple of 64, long enough for their layout, and a header that fits it.
///
/// XSTATE_BV never has a component that the owner's IA32_XFD disables (invariant I12): XRSTOR would
/// raise #NM for it, in the kernel (CVE-2026-23005). Whoever writes either, what they would both have
/// is *set aside*: its bytes stay, its bit does not, and it comes back if XFD releases it before
/// the state is loaded. So the order in which a VMM writes XSAVE image and XFD does not matter.
pub struct XsaveArea<'e, S> {
    storage: S,
    layout: Layout<'e>,
    /// What the owner's IA32_XFD disables.
    disabled: ComponentSet,
    /// Live, were it not disabled.
    set_aside: ComponentSet,
}

impl<'e, S: AreaStorage> XsaveArea<'e, S> {
    /// Takes `storage` as an area of `layout` in the initial configuration (SDM 1, 13.6). Bytes
    /// beyond the layout's length are left alone and not used.
    ///
    /// # Errors
    /// The reason, with the storage given back.
    pub fn new(layout: Layout<'e>, storage: S) -> Result<Self, (AreaError, S)> {
        if let Err(error) = check(&layout, storage.bytes()) {
            return Err((error, storage));
        }
        let mut area = Self {
            storage,
            layout,
            disabled: ComponentSet::EMPTY,
            set_aside: ComponentSet::EMPTY,
        };
        area.bytes_mut().fill(0);
        area.initialise();
        Ok(area)
    }

    /// Every component to its initial configuration. XCOMP_BV of a compacted area says what the
    /// layout says, always (invariant I17).
    pub fn initialise(&mut self) {
        self.write_legacy(&LegacyRegion::INITIAL);
        self.set_live(ComponentSet::EMPTY);
    }

    /// `components` to their initial configuration, the others as they are; MXCSR goes with SSE.
    pub fn initialise_components(&mut self, components: ComponentSet) {
        let kept = ComponentSet::LEGACY.difference(components);
        let region = as_restored(self.legacy(), kept, Format::Compacted);
        let live = self.live().difference(components);
        self.write_legacy(&region);
        self.set_live(live);
    }

    /// The layout.
    #[must_use]
    pub const fn layout(&self) -> &Layout<'e> {
        &self.layout
    }

    /// All bytes of the area.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let bytes = self.storage.bytes();
        bytes.get(..self.layout.area_len()).unwrap_or(bytes)
    }

    /// All bytes of the area, for an instruction to write.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.layout.area_len().min(self.storage.bytes().len());
        self.storage.bytes_mut().get_mut(..len).unwrap_or(&mut [])
    }

    /// The legacy region as a restore would load it. What memory holds of a component in its
    /// initial configuration is stale (init optimisation, SDM 1, 13.6), so there is no other way to
    /// read it.
    #[must_use]
    pub fn legacy(&self) -> LegacyRegion {
        let region = self
            .bytes()
            .first_chunk::<LEGACY_REGION_LEN>()
            .map_or(LegacyRegion::INITIAL, LegacyRegion::from_bytes);
        as_restored(region, self.xstate_bv(), self.layout.format())
    }

    /// Replaces x87, XMM and MXCSR, for a CPU whose MXCSR has the bits of `mxcsr_mask`. They are
    /// live from here on.
    ///
    /// This is what a `KVM_SET_FPU` should be made of, with [`legacy`](Self::legacy) for
    /// `KVM_GET_FPU`. Linux's own (6.12 and 7.2, observed on 6.18) writes the registers into the area
    /// and leaves XSTATE_BV alone, so the next restore ignores them where the component was in its
    /// initial configuration, and it drops MXCSR; its `KVM_GET_FPU` reads what is in memory, also where a
    /// restore would load the initial values instead. `struct kvm_fpu` has no place for MXCSR_MASK, and
    /// its `ftwx` is the abridged tag word: bytes 0 to 415 of the region are its fields in another order.
    ///
    /// # Errors
    /// [`MxcsrError`]; nothing is changed then.
    pub fn set_legacy(&mut self, region: &LegacyRegion, mxcsr_mask: u32) -> Result<(), MxcsrError> {
        MxcsrError::check(region.mxcsr, mxcsr_mask)?;
        self.write_legacy(region);
        let live = ComponentSet::LEGACY.intersection(self.layout.components());
        self.set_live(self.live().union(live));
        Ok(())
    }

    fn write_legacy(&mut self, region: &LegacyRegion) {
        if let Some(bytes) = self.bytes_mut().first_chunk_mut::<LEGACY_REGION_LEN>() {
            region.write_to(bytes);
        }
    }

    /// XSTATE_BV: the components that are not in their initial configuration. An FXSAVE area has
    /// no such field and holds x87 and SSE always.
    #[must_use]
    pub fn xstate_bv(&self) -> ComponentSet {
        match self.layout.format() {
            Format::Fxsave => ComponentSet::LEGACY,
            Format::Standard | Format::Compacted => self
                .bytes()
                .get(LEGACY_REGION_LEN..)
                .and_then(<[u8]>::first_chunk)
                .map_or(ComponentSet::EMPTY, |header| {
                    XsaveHeader::from_bytes(header).xstate_bv
                }),
        }
    }

    /// XSTATE_BV and what is set aside.
    pub(crate) fn live(&self) -> ComponentSet {
        self.xstate_bv().union(self.set_aside)
    }

    /// These components are live, as far as they are not disabled.
    fn set_live(&mut self, live: ComponentSet) {
        self.set_aside = live.intersection(self.disabled);
        self.set_xstate_bv(live.difference(self.disabled));
    }

    /// What the owner's IA32_XFD disables.
    pub(crate) const fn disabled(&self) -> ComponentSet {
        self.disabled
    }

    /// The owner's IA32_XFD disables `components` from here on, and what it disabled before is as it
    /// was.
    pub(crate) fn disable(&mut self, components: ComponentSet) {
        let live = self.live();
        self.disabled = components;
        self.set_live(live);
    }

    /// The same for an area that does not hold the state now.
    pub(crate) const fn disable_while_loaded(&mut self, components: ComponentSet) {
        self.disabled = components;
        self.set_aside = ComponentSet::EMPTY;
    }

    /// The registers were loaded from here: what was set aside is lost, as it is to every XSAVE
    /// while it is disabled (SDM 1, 13.14).
    #[inline]
    pub(crate) const fn loaded(&mut self) {
        // Stored only where it is not empty already: a store is what the next move of the state waits for.
        if !self.set_aside.is_empty() {
            self.set_aside = ComponentSet::EMPTY;
        }
    }

    /// Writes the header: `xstate_bv` as given, XCOMP_BV as the layout has it, zeroes.
    fn set_xstate_bv(&mut self, xstate_bv: ComponentSet) {
        let header = match self.layout.format() {
            Format::Fxsave => return,
            Format::Standard => XsaveHeader::standard(xstate_bv),
            Format::Compacted => XsaveHeader::compacted(xstate_bv, self.layout.components()),
        };
        let field = self
            .bytes_mut()
            .get_mut(LEGACY_REGION_LEN..)
            .and_then(<[u8]>::first_chunk_mut::<XSAVE_HEADER_LEN>);
        if let Some(field) = field {
            *field = header.to_bytes();
        }
    }

    /// Every component in its initial configuration but for the x87 control word and the control bits of
    /// MXCSR. Nothing is set aside.
    #[inline]
    pub(crate) fn keep_control_words(&mut self, mxcsr: Mxcsr, fcw: u16) {
        self.set_aside = ComponentSet::EMPTY;
        let mxcsr = mxcsr.control();
        if self.layout.format() == Format::Compacted
            && (mxcsr, fcw) == (Mxcsr::INITIAL, INITIAL_FCW)
        {
            // Its legacy region is not read, and the rest of its header is what it always is.
            if let Some(xstate_bv) = self
                .bytes_mut()
                .get_mut(LEGACY_REGION_LEN..)
                .and_then(<[u8]>::first_chunk_mut)
            {
                *xstate_bv = [0; 8];
            }
        } else {
            self.write_control_words(mxcsr, fcw);
        }
    }

    /// The same where they are not the initial ones, or the format has MXCSR whatever XSTATE_BV says.
    #[cold]
    #[inline(never)]
    fn write_control_words(&mut self, mxcsr: Mxcsr, fcw: u16) {
        let mut live = ComponentSet::EMPTY;
        if fcw != INITIAL_FCW {
            live = live.with(Component::X87);
        }
        if mxcsr != Mxcsr::INITIAL {
            live = live.with(Component::Sse);
        }
        self.write_legacy(&LegacyRegion {
            fcw,
            mxcsr,
            ..LegacyRegion::INITIAL
        });
        self.set_xstate_bv(live);
    }

    /// The bytes of an extended component, or `None` where it is in its initial configuration or
    /// has no room: what the area holds there is stale.
    #[must_use]
    pub fn extended(&self, component: Component) -> Option<&[u8]> {
        if !self.xstate_bv().contains(component) {
            return None;
        }
        self.bytes().get(self.layout.place_of(component)?.range())
    }

    /// Replaces one extended component, which is live from here on: a shadow-stack pointer (CET_U), say.
    /// Bytes that LDTILECFG or a restore would refuse are the caller's to keep out.
    ///
    /// # Errors
    /// [`ComponentError`]; nothing is changed then.
    pub fn set_extended(
        &mut self,
        component: Component,
        bytes: &[u8],
    ) -> Result<(), ComponentError> {
        let placed = self
            .layout
            .place_of(component)
            .ok_or(ComponentError::NoRoom {
                component,
                room: self.layout.components(),
            })?;
        let (found, needed) = (bytes.len(), placed.range().len());
        if found != needed {
            return Err(ComponentError::Length {
                component,
                found,
                needed,
            });
        }
        if let Some(target) = self.bytes_mut().get_mut(placed.range()) {
            target.copy_from_slice(bytes);
        }
        self.set_live(self.live().with(component));
        Ok(())
    }

    /// Replaces the whole state: legacy region, and the extended components in `live`, each from
    /// `extended`, in the order of their numbers; what `preserved` has stays. The caller has checked
    /// that every one has room and the right length.
    ///
    /// XRSTOR takes MXCSR from a standard-format area whatever XSTATE_BV\[1\] is, but from a
    /// compacted one only where it is 1 (SDM 1, 13.8.2). So an MXCSR of its own makes SSE part of a
    /// compacted area, as XSAVEC does (SDM 1, 13.10).
    pub(crate) fn replace<'b>(
        &mut self,
        legacy: &LegacyRegion,
        live: ComponentSet,
        preserved: ComponentSet,
        extended: impl Iterator<Item = (Component, &'b [u8])>,
    ) {
        let preserved = self.live().intersection(preserved);
        self.write_legacy(legacy);
        let (layout, replaced) = (self.layout, live.difference(preserved));
        let extended = extended.filter(|(component, _)| replaced.contains(*component));
        layout.put(extended, self.bytes_mut());
        let live = match layout.format() {
            Format::Compacted if legacy.mxcsr != Mxcsr::INITIAL => live.with(Component::Sse),
            Format::Compacted | Format::Standard | Format::Fxsave => live,
        };
        self.set_live(live.union(preserved));
    }

    /// The storage.
    pub(crate) fn into_storage(self) -> S {
        self.storage
    }
}

impl<S> fmt::Debug for XsaveArea<'_, S> {
    /// The layout and not the bytes: registers hold key material, and this goes into kernel logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XsaveArea")
            .field("format", &self.layout.format())
            .field("components", &self.layout.components())
            .field("area_len", &self.layout.area_len())
            .finish_non_exhaustive()
    }
}

/// What a restore loads of a legacy region that stands under `xstate_bv` in an area of `format`
/// (SDM 1, 13.8.1 and 13.8.2). Reserved bytes of x87 stay with it, as in Linux, which copies them; those
/// behind XMM15 are zero.
pub(crate) fn as_restored(
    mut region: LegacyRegion,
    xstate_bv: ComponentSet,
    format: Format,
) -> LegacyRegion {
    if !xstate_bv.contains(Component::X87) {
        region.initialise_x87();
        region.reserved_5 = LegacyRegion::INITIAL.reserved_5;
    }
    if !xstate_bv.contains(Component::Sse) {
        region.initialise_xmm();
        match format {
            Format::Compacted => region.mxcsr = Mxcsr::INITIAL,
            Format::Standard | Format::Fxsave => {}
        }
    }
    region.tail = LegacyRegion::INITIAL.tail;
    region
}

fn check(layout: &Layout<'_>, bytes: &[u8]) -> Result<(), AreaError> {
    let (needed, found) = (layout.area_len(), bytes.len());
    if found < needed {
        return Err(AreaError::TooShort { found, needed });
    }
    let address = bytes.as_ptr().addr();
    if !address.is_multiple_of(ALIGNMENT) {
        return Err(AreaError::Misaligned { address });
    }
    Ok(())
}

/// XSAVE areas start at a multiple of this many bytes (SDM 1, 13.4). FXSAVE needs 16 only; one
/// rule for both keeps an area usable when the format changes.
const ALIGNMENT: usize = 64;

const _: () = assert!(LEGACY_REGION_LEN + XSAVE_HEADER_LEN == EXTENDED_REGION_OFFSET);

/// MXCSR has a bit that the CPU lacks; LDMXCSR and XRSTOR raise #GP(0) for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MxcsrError {
    /// Its value.
    pub found: u32,
    /// The bits allowed.
    pub mask: u32,
}

impl MxcsrError {
    pub(crate) const fn check(mxcsr: Mxcsr, mask: u32) -> Result<(), Self> {
        if mxcsr.is_valid_under(mask) {
            Ok(())
        } else {
            Err(Self {
                found: mxcsr.bits(),
                mask,
            })
        }
    }
}

impl fmt::Display for MxcsrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, mask } = self;
        write!(f, "MXCSR at byte 24 is {found:#x}; allowed bits: {mask:#x}")
    }
}

impl core::error::Error for MxcsrError {}

/// Why a component cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComponentError {
    /// The area has no room for it. x87 and SSE have another way:
    /// [`XsaveArea::set_legacy`].
    NoRoom {
        /// The component.
        component: Component,
        /// The area's components.
        room: ComponentSet,
    },
    /// It has another length.
    Length {
        /// The component.
        component: Component,
        /// Bytes given.
        found: usize,
        /// Bytes it has.
        needed: usize,
    },
}

impl fmt::Display for ComponentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { component, room } => {
                write!(f, "no room for {component}; the area has {room}")
            }
            Self::Length {
                component,
                found,
                needed,
            } => write!(f, "{found} bytes for {component}, which has {needed}"),
        }
    }
}

impl core::error::Error for ComponentError {}

/// Why memory cannot be an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AreaError {
    /// Fewer bytes than the layout needs.
    TooShort {
        /// Bytes lent.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Byte 0 is not at a multiple of 64.
    Misaligned {
        /// Its address.
        address: usize,
    },
}

impl fmt::Display for AreaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { found, needed } => {
                write!(f, "area of {found} bytes; the layout needs {needed}")
            }
            Self::Misaligned { address } => {
                write!(f, "area at {address:#x}; allowed: multiples of 64")
            }
        }
    }
}

impl core::error::Error for AreaError {}

#[cfg(feature = "explore")]
impl<S: AreaStorage + Clone> XsaveArea<'_, S> {
    /// A copy of the area, in a copy of its memory.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            storage: self.storage.clone(),
            ..*self
        }
    }

    pub(crate) const fn storage(&self) -> &S {
        &self.storage
    }

    pub(crate) const fn set_aside(&self) -> ComponentSet {
        self.set_aside
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use fpstate_arch::cpuid::CpuidRegisters;
    use fpstate_arch::enumeration::Enumeration;
    use std::string::ToString;

    #[repr(align(64))]
    struct Memory([u8; 1024]);

    fn avx_cpu() -> Enumeration {
        Enumeration::read(|leaf, subleaf| match (leaf, subleaf) {
            (1, _) => CpuidRegisters {
                ecx: 1 << 26,
                edx: 1 << 24,
                ..Default::default()
            },
            (0xd, 0) => CpuidRegisters {
                eax: 7,
                ..Default::default()
            },
            (0xd, 1) => CpuidRegisters {
                eax: 2,
                ..Default::default()
            },
            (0xd, 2) => CpuidRegisters {
                eax: 256,
                ebx: 576,
                ..Default::default()
            },
            _ => CpuidRegisters::default(),
        })
    }

    /// L13 · 2021 · f9dfb5e390fa, 9301982c424a · the initial image was what XSAVES had left of uninitialised memory
    #[test]
    fn a_new_area_is_in_the_initial_configuration_whatever_the_memory_held() {
        let cpu = avx_cpu();
        let mut memory = Memory([0xee; 1024]);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        // SDM 1, 13.6: FCW 037FH, MXCSR 1F80H; SDM 1, 13.4.2: XCOMP_BV.
        assert_eq!(area.bytes()[0..2], [0x7f, 0x03]);
        assert_eq!(area.bytes()[4], 0);
        assert_eq!(area.bytes()[24..28], [0x80, 0x1f, 0, 0]);
        assert_eq!(area.bytes()[512..520], [0; 8]);
        assert_eq!(area.bytes()[520..528], [7, 0, 0, 0, 0, 0, 0, 0x80]);
        assert!(area.bytes()[528..].iter().all(|&byte| byte == 0));
        assert_eq!(area.bytes().len(), 832);
        assert_eq!(
            memory.0[832], 0xee,
            "bytes beyond the layout are not touched"
        );
    }

    /// C1 · peers · the crate xsave, Serenity, `DragonOS`, stdarch, `OpenVMM`, libkrun, Hyperlight, ACRN, Hedron, seL4 · a buffer of fixed length, shorter than what CPUID says
    #[test]
    fn memory_that_is_short_or_misaligned_is_given_back_with_the_figures() {
        let cpu = avx_cpu();
        let mut memory = Memory([0; 1024]);
        let layout = Layout::standard(&cpu, cpu.components()).unwrap();
        let (error, storage) = XsaveArea::new(layout, &mut memory.0[..831]).unwrap_err();
        assert_eq!(
            error,
            AreaError::TooShort {
                found: 831,
                needed: 832
            }
        );
        assert_eq!(storage.len(), 831);
        assert!(XsaveArea::new(layout, &mut memory.0[..832]).is_ok());
        let (error, _) = XsaveArea::new(layout, &mut memory.0[16..]).unwrap_err();
        assert!(matches!(error, AreaError::Misaligned { address } if address % 64 == 16));
    }

    /// L39 · 2025 · a9d9c33132d4, CVE-2025-21632 · a debugger read the shadow-stack pointer of a task without shadow stack: a null pointer
    #[test]
    fn a_component_in_its_initial_configuration_has_no_bytes() {
        let cpu = avx_cpu();
        let mut memory = Memory([0; 1024]);
        let layout = Layout::standard(&cpu, cpu.components()).unwrap();
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        area.bytes_mut()[576..832].fill(0xaa);
        assert_eq!(
            area.extended(Component::Avx),
            None,
            "stale: XSTATE_BV[2] is 0"
        );
        area.set_xstate_bv(ComponentSet::only(Component::Avx));
        assert_eq!(area.extended(Component::Avx), Some(&[0xaa; 256][..]));
    }

    #[test]
    fn stale_bytes_of_the_legacy_region_are_never_read() {
        let cpu = avx_cpu();
        let stale = LegacyRegion {
            fcw: 0x27f,
            mxcsr: Mxcsr::from_bits(0x1fa0),
            xmm: [[0x11; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        // SDM 1, 13.8.1: the standard format gives MXCSR whatever XSTATE_BV[1] is; 13.8.2: the
        // compacted one does not.
        for (layout, mxcsr) in [
            (Layout::standard(&cpu, cpu.components()).unwrap(), 0x1fa0),
            (Layout::compacted(&cpu, cpu.components()).unwrap(), 0x1f80),
        ] {
            let mut memory = Memory([0; 1024]);
            let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
            area.write_legacy(&stale);
            let expected = LegacyRegion {
                mxcsr: Mxcsr::from_bits(mxcsr),
                ..LegacyRegion::INITIAL
            };
            assert_eq!(area.legacy(), expected);
        }
    }

    /// L27 · 2021 · 145e9e0d8c6f, d298b03506d3, b2381acd3fd9 · a debugger wrote reserved bits of MXCSR, and the restore faulted in the kernel
    #[test]
    fn an_mxcsr_the_cpu_lacks_is_refused_and_changes_nothing() {
        let cpu = avx_cpu();
        let mut memory = Memory([0; 1024]);
        let layout = Layout::standard(&cpu, cpu.components()).unwrap();
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        let region = LegacyRegion {
            mxcsr: Mxcsr::from_bits(0x1_1f80),
            ..LegacyRegion::INITIAL
        };
        let refused = area.set_legacy(&region, 0xffff);
        assert_eq!(
            refused,
            Err(MxcsrError {
                found: 0x1_1f80,
                mask: 0xffff
            })
        );
        assert_eq!(area.legacy(), LegacyRegion::INITIAL);
    }

    #[test]
    fn a_legacy_region_that_is_written_is_live() {
        let cpu = avx_cpu();
        let mut memory = Memory([0; 1024]);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        let region = LegacyRegion {
            fcw: 0x27f,
            xmm: [[0xaa; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        area.set_legacy(&region, 0xffff).unwrap();
        assert_eq!(area.xstate_bv(), ComponentSet::LEGACY);
        assert_eq!(area.legacy(), region);
    }

    #[test]
    fn a_component_that_is_written_is_live_and_the_others_are_as_they_were() {
        let cpu = avx_cpu();
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut memory = Memory([0; 1024]);
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        area.set_extended(Component::Avx, &[7; 256]).unwrap();
        assert_eq!(area.xstate_bv(), ComponentSet::only(Component::Avx));
        assert_eq!(area.extended(Component::Avx), Some(&[7; 256][..]));
        assert_eq!(
            area.set_extended(Component::Avx, &[8; 255]),
            Err(ComponentError::Length {
                component: Component::Avx,
                found: 255,
                needed: 256
            })
        );
        let component = Component::CetU;
        let room = layout.components();
        assert_eq!(
            area.set_extended(component, &[0; 16]),
            Err(ComponentError::NoRoom { component, room })
        );
        assert_eq!(area.extended(Component::Avx), Some(&[7; 256][..]));
    }

    #[test]
    fn what_the_owner_disables_is_not_announced_and_not_lost_before_it_is_loaded() {
        let cpu = avx_cpu();
        let avx = ComponentSet::only(Component::Avx);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut memory = Memory([0; 1024]);
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        let write_and_disable: [fn(&mut XsaveArea<'_, &mut [u8]>); 2] = [
            |area| area.set_extended(Component::Avx, &[7; 256]).unwrap(),
            |area| area.disable(ComponentSet::only(Component::Avx)),
        ];
        for order in [[0, 1], [1, 0]] {
            area.disable(ComponentSet::EMPTY);
            area.initialise();
            for step in order {
                write_and_disable[step](&mut area);
            }
            // Any other write to the header leaves it so.
            area.set_legacy(&LegacyRegion::INITIAL, 0xffff).unwrap();
            assert!(!area.xstate_bv().intersects(avx), "{order:?}");
            area.disable(ComponentSet::EMPTY);
            assert_eq!(area.extended(Component::Avx), Some(&[7; 256][..]));
        }
        area.disable(avx);
        area.loaded();
        area.disable(ComponentSet::EMPTY);
        assert_eq!(area.extended(Component::Avx), None);
    }

    #[test]
    fn a_refused_area_or_component_says_what_was_found_and_what_was_needed() {
        const TILES: ComponentSet = ComponentSet::TILES;
        for (shown, sentence) in [
            (
                AreaError::TooShort {
                    found: 1,
                    needed: 576,
                }
                .to_string(),
                "area of 1 bytes; the layout needs 576",
            ),
            (
                AreaError::Misaligned { address: 0x1001 }.to_string(),
                "area at 0x1001; allowed: multiples of 64",
            ),
            (
                ComponentError::NoRoom {
                    component: Component::Avx,
                    room: TILES,
                }
                .to_string(),
                "no room for AVX; the area has XTILECFG+XTILEDATA",
            ),
            (
                ComponentError::Length {
                    component: Component::Avx,
                    found: 128,
                    needed: 256,
                }
                .to_string(),
                "128 bytes for AVX, which has 256",
            ),
            (
                MxcsrError {
                    found: 0x1_0000,
                    mask: 0xffff,
                }
                .to_string(),
                "MXCSR at byte 24 is 0x10000; allowed bits: 0xffff",
            ),
        ] {
            assert_eq!(shown, sentence);
        }
    }

    /// SDM 1, 13.8.1: a standard area gives MXCSR whatever XSTATE_BV is; FXRSTOR takes every register.
    #[test]
    fn where_control_words_are_kept_nothing_else_is_left_in_any_format() {
        let cpu = avx_cpu();
        let stale = LegacyRegion {
            fcw: 0x27f,
            mxcsr: Mxcsr::from_bits(0x1fa0),
            xmm: [[0x11; 16]; 16],
            ..LegacyRegion::INITIAL
        };
        for layout in [
            Layout::fxsave(&cpu).unwrap(),
            Layout::standard(&cpu, cpu.components()).unwrap(),
            Layout::compacted(&cpu, cpu.components()).unwrap(),
        ] {
            for (mxcsr, fcw) in [(0x1f80, 0x37f), (0x9fc0, 0x37f), (0x1f80, 0x27f)] {
                let mut memory = Memory([0; 1024]);
                let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
                area.set_legacy(&stale, 0xffff).unwrap();
                let mxcsr = Mxcsr::from_bits(mxcsr);
                area.keep_control_words(mxcsr, fcw);
                let expected = LegacyRegion {
                    fcw,
                    mxcsr,
                    ..LegacyRegion::INITIAL
                };
                assert_eq!(area.legacy(), expected, "{:?}", layout.format());
            }
        }
    }

    #[test]
    fn components_are_initialised_without_the_others() {
        let cpu = avx_cpu();
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut memory = Memory([0; 1024]);
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        let mut region = LegacyRegion::INITIAL;
        (region.fcw, region.xmm[3]) = (0x27f, [9; 16]);
        area.set_legacy(&region, 0xffff).unwrap();
        area.set_extended(Component::Avx, &[7; 256]).unwrap();
        area.initialise_components(ComponentSet::only(Component::X87).with(Component::Avx));
        assert_eq!(area.xstate_bv(), ComponentSet::only(Component::Sse));
        assert_eq!((area.legacy().fcw, area.legacy().xmm[3]), (0x37f, [9; 16]));
        assert_eq!(area.extended(Component::Avx), None);
    }

    #[test]
    fn what_is_disabled_while_the_registers_hold_the_state_is_not_announced_and_not_kept() {
        let cpu = avx_cpu();
        let avx = ComponentSet::only(Component::Avx);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut memory = Memory([0; 1024]);
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        area.set_extended(Component::Avx, &[7; 256]).unwrap();
        area.disable(avx);
        area.disable_while_loaded(avx);
        area.disable(ComponentSet::EMPTY);
        assert_eq!(area.extended(Component::Avx), None, "it was set aside");
        area.disable_while_loaded(avx);
        area.set_extended(Component::Avx, &[8; 256]).unwrap();
        assert!(!area.xstate_bv().intersects(avx));
    }

    #[test]
    fn a_state_is_replaced_but_for_what_is_preserved() {
        let cpu = avx_cpu();
        let avx = ComponentSet::only(Component::Avx);
        let mut memory = Memory([0; 1024]);
        let mut initial = LegacyRegion::INITIAL;
        initial.fcw = 0x27f;
        let mut masked = initial;
        masked.mxcsr = Mxcsr::from_bits(0x1fa0);
        for (legacy, live, preserved, byte, xstate_bv) in [
            (&initial, avx, ComponentSet::EMPTY, Some(8), 0b100),
            (&initial, avx, avx, Some(7), 0b100),
            (&initial, ComponentSet::EMPTY, avx, Some(7), 0b100),
            (&initial, ComponentSet::EMPTY, ComponentSet::EMPTY, None, 0),
            // MXCSR is part of a compacted area only where SSE is.
            (&masked, avx, ComponentSet::EMPTY, Some(8), 0b110),
        ] {
            let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
            let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
            area.set_extended(Component::Avx, &[7; 256]).unwrap();
            let extended = [(Component::Avx, &[8; 256][..])].into_iter();
            area.replace(legacy, live, preserved, extended);
            assert_eq!(area.xstate_bv().bits(), xstate_bv);
            assert_eq!(area.bytes()[..2], [0x7f, 2]);
            assert_eq!(area.legacy().mxcsr, legacy.mxcsr);
            let avx = area.extended(Component::Avx);
            assert_eq!(
                avx.map(|bytes| (bytes[0], bytes[255])),
                byte.map(|b| (b, b))
            );
        }
        let layout = Layout::standard(&cpu, cpu.components()).unwrap();
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        let nothing = ComponentSet::EMPTY;
        area.replace(&masked, nothing, nothing, core::iter::empty());
        assert_eq!(
            (area.xstate_bv().bits(), area.legacy().mxcsr.bits()),
            (0, 0x1fa0)
        );
    }

    #[test]
    fn a_log_gets_the_layout_and_not_the_registers() {
        let cpu = avx_cpu();
        let mut memory = Memory([0; 1024]);
        let layout = Layout::compacted(&cpu, cpu.components()).unwrap();
        let mut area = XsaveArea::new(layout, &mut memory.0[..]).unwrap();
        area.set_extended(Component::Avx, &[0xa7; 256]).unwrap();
        assert_eq!(
            std::format!("{area:?}"),
            "XsaveArea { format: Compacted, components: ComponentSet(0x7: x87+SSE+AVX), area_len: 832, .. }"
        );
    }
}
