//! Images from elsewhere.

use conformance::cpus;
use conformance::images::{set_header, standard_image};
use conformance::machine::Machine;
use conformance::pair::{Pair, observed, visible};
use fpstate::{ImageError, Layout, Restoring, StandardImage};
use fpstate_arch::{LegacyRegion, XsaveHeader};

/// L23 · 2017 · 814fb7bb7db5, CVE-2017-15537 · XCOMP_BV from user space was accepted; XRSTOR faulted, and registers of another task stayed loaded
#[test]
fn an_xcomp_bv_from_user_space_was_accepted() {
    for kind in cpus::with_xsave() {
        let machine = Machine::ring0(kind);
        let mut pair = Pair::new(&machine);
        let user = machine.user_components();
        let mut image = standard_image(&machine.enumeration, &pair.new_values(), user);
        let layout = Layout::standard(&machine.enumeration, user).unwrap();
        assert!(StandardImage::parse(image.bytes(), layout, 0xffff).is_ok());
        for bit in 0..64 {
            let header = XsaveHeader {
                xcomp_bv: 1 << bit,
                ..XsaveHeader::standard(user)
            };
            set_header(&mut image, &header);
            let refused = StandardImage::parse(image.bytes(), layout, 0xffff).err();
            let expected = ImageError::XcompBv { found: 1 << bit };
            assert_eq!(refused, Some(expected), "{}, bit {bit}", kind.name);
        }
    }
}

/// L31b · 2022 · 44cad52cc14a · XMM registers of another number than the one meant were cleared when a debugger wrote FXSAVE's image
#[test]
fn xmm_registers_were_cleared_that_the_image_had() {
    for kind in &cpus::ALL {
        let machine = Machine::ring0(kind);
        let (mut cpu, mut pair) = (observed(kind, &machine, 0), Pair::new(&machine));
        let mut bytes = [0; 512];
        pair.new_values().legacy().write_to(&mut bytes);
        let written = LegacyRegion::from_bytes(&bytes);
        let area = pair.guest.edit().unwrap();
        area.set_legacy(&written, 0xffff).unwrap();
        let Pair { thread, guest, .. } = &mut pair;
        thread.enter_guest(guest, &mut cpu, Restoring::Now).unwrap();
        let found = visible(&mut cpu, &machine);
        for number in 0..16 {
            let bytes: [u8; 16] = *bytes[160 + 16 * number..].first_chunk().unwrap();
            assert_eq!(
                found.legacy().xmm[number],
                bytes,
                "XMM{number}, {}",
                kind.name
            );
        }
    }
}
