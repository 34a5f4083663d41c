//! Standard-format images made without the library: what a signal frame, a debugger or a VMM hands
//! over (SDM 1, 13.4).

use std::ops::Range;

use fpstate_arch::xsave_header::EXTENDED_REGION_OFFSET;
use fpstate_arch::{Component, ComponentSet, Enumeration, LegacyRegion, XsaveHeader};

use crate::contents::Contents;
use crate::memory::Memory;

/// Where CPUID puts a user component in the standard format.
///
/// # Panics
/// If `enumeration` does not have it.
#[must_use]
pub fn standard_place(enumeration: &Enumeration, component: Component) -> Range<usize> {
    let entry = enumeration.entry(component).expect("a sub-leaf");
    let (offset, len) = (entry.standard_offset, entry.len);
    offset.try_into().expect("an offset")..(offset + len).try_into().expect("an end")
}

/// An image of `contents` with `xstate_bv`, as long as an area for all user components.
///
/// # Panics
/// If `contents` lacks a component of `xstate_bv`, or `xstate_bv` has a supervisor component.
#[must_use]
pub fn standard_image(
    enumeration: &Enumeration,
    contents: &Contents,
    xstate_bv: ComponentSet,
) -> Memory {
    assert!(enumeration.user_components().contains_all(xstate_bv));
    let len = usize::try_from(enumeration.standard_len()).expect("a length");
    let mut memory = Memory::zeroed(len.max(EXTENDED_REGION_OFFSET));
    set_legacy(&mut memory, contents.legacy());
    set_header(&mut memory, &XsaveHeader::standard(xstate_bv));
    for component in xstate_bv.difference(ComponentSet::LEGACY).iter() {
        let value = contents.extended(component).expect("a value");
        memory.bytes_mut()[standard_place(enumeration, component)].copy_from_slice(value);
    }
    memory
}

/// The contents of `components` that an image of XSAVE, which writes every component, has.
///
/// # Panics
/// If the image is too short.
#[must_use]
pub fn contents_of(enumeration: &Enumeration, bytes: &[u8], components: ComponentSet) -> Contents {
    let legacy = LegacyRegion::from_bytes(bytes.first_chunk().expect("512 bytes"));
    let extended = components.difference(ComponentSet::LEGACY);
    Contents::from_parts(
        &legacy,
        extended.iter().map(|component| {
            let place = standard_place(enumeration, component);
            (component, bytes[place].to_vec())
        }),
    )
}

/// Bytes 0 to 511 := `legacy`.
///
/// # Panics
/// If the memory is too short.
pub fn set_legacy(memory: &mut Memory, legacy: &LegacyRegion) {
    legacy.write_to(memory.bytes_mut().first_chunk_mut().expect("512 bytes"));
}

/// Bytes 512 to 575 := `header`.
///
/// # Panics
/// If the memory is too short.
pub fn set_header(memory: &mut Memory, header: &XsaveHeader) {
    memory.bytes_mut()[512..576].copy_from_slice(&header.to_bytes());
}
