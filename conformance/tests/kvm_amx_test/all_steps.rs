//! The selftest from its first to its last step.

use super::*;

/// What each of the selftest's synchronisations is.
enum Sync<'e> {
    Stay,
    /// Another vCPU on another machine, to which everything is written in this order.
    Move(fn(&'e Enumeration) -> Vcpu<'e>, [Item; 5]),
}

/// A run of the selftest.
struct Run<'e> {
    enumeration: &'e Enumeration,
    vcpu: Vcpu<'e>,
    sync: Sync<'e>,
}

impl<'e> Run<'e> {
    fn new(enumeration: &'e Enumeration, sync: Sync<'e>) -> Self {
        let vcpu = new_vcpu(enumeration);
        Self {
            enumeration,
            vcpu,
            sync,
        }
    }

    fn sync(&mut self) {
        let Sync::Move(target, order) = self.sync else {
            return;
        };
        let saved = self.vcpu.save();
        self.vcpu = target(self.enumeration);
        self.vcpu.load(&saved, order).expect("nothing to refuse");
        let differences = saved.differences(&self.vcpu.save());
        assert!(differences.is_empty(), "{differences:?}, {order:?}");
    }

    fn all(&mut self) {
        let mut random = Rng::with_seed(11);
        let earlier = self.first_use(&TileValues::random(&mut random));
        self.restored_while_disabled(&earlier);
        self.released();
        self.device_not_available(&TileValues::random(&mut random));
    }

    fn first_use(&mut self, values: &TileValues) -> Saved {
        self.vcpu.guest.write_xcr0(XCR0).expect("XCR0");
        self.vcpu.guest.write_xss(CET).expect("IA32_XSS");
        self.sync();
        self.vcpu.wrmsr_xfd(NOTHING);
        self.sync();
        self.vcpu.execute(tiles::configure).expect("LDTILECFG");
        self.sync();
        let loaded = self
            .vcpu
            .execute(|cpu| cpu.tileloadd(0, values.bytes(), 64));
        assert_eq!(loaded, Ok(()));
        self.sync();
        let saved = self.vcpu.save();
        assert!(tile_data(&saved.image)[..1024] == values.bytes()[..1024]);
        saved
    }

    fn restored_while_disabled(&mut self, earlier: &Saved) {
        self.vcpu.wrmsr_xfd(BIT_18);
        self.vcpu.leave();
        self.vcpu.import(&earlier.image);
        assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
        self.sync();
        assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
    }

    fn released(&mut self) {
        self.vcpu.wrmsr_xfd(NOTHING);
        self.vcpu
            .execute(|cpu| cpu.tilerelease())
            .expect("TILERELEASE");
        self.sync();
        for xfd in [NOTHING, BIT_18] {
            self.vcpu.wrmsr_xfd(xfd);
            assert_eq!(xsavec(&mut self.vcpu), (0, 0x6_0000 | 1 << 63));
            self.sync();
            assert_eq!(xsavec(&mut self.vcpu), (0, 0x6_0000 | 1 << 63));
        }
    }

    fn device_not_available(&mut self, values: &TileValues) {
        self.vcpu.execute(tiles::configure).expect("LDTILECFG");
        self.sync();
        let load = |cpu: &mut ModelCpu| cpu.tileloadd(0, values.bytes(), 64);
        let refused = self.vcpu.execute(load);
        assert_eq!(refused, Err(Fault::DeviceNotAvailable));
        for _ in 0..2 {
            assert_eq!(self.vcpu.rdmsr_xfd_err(), BIT_18);
            assert_eq!(self.vcpu.rdmsr_xfd(), BIT_18);
            self.sync();
        }
        self.vcpu
            .guest
            .write_xfd_err(NOTHING)
            .expect("IA32_XFD_ERR");
        self.sync();
        assert_eq!(self.vcpu.rdmsr_xfd_err(), NOTHING);
        self.vcpu.wrmsr_xfd(NOTHING);
        self.sync();
        assert_eq!(self.vcpu.execute(load), Ok(()));
        self.sync();
        let now = self.vcpu.save();
        assert!(tile_data(&now.image)[..1024] == values.bytes()[..1024]);
        let found = stored(&mut self.vcpu).expect("the tiles");
        assert!(found.bytes()[..1024] == values.bytes()[..1024]);
    }
}

fn used_before(enumeration: &Enumeration) -> Vcpu<'_> {
    used(enumeration, &mut Rng::with_seed(12))
}

#[test]
fn on_one_vcpu() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    Run::new(enumeration, Sync::Stay).all();
}

#[test]
fn on_a_new_vcpu_after_each_in_every_order_of_loading() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    for order in Item::orders() {
        Run::new(enumeration, Sync::Move(new_vcpu, order)).all();
    }
}

#[test]
fn on_a_vcpu_that_was_used_after_each_in_every_order_of_loading() {
    let enumeration = &SAPPHIRE_RAPIDS.enumeration();
    for order in Item::orders() {
        Run::new(enumeration, Sync::Move(used_before, order)).all();
    }
}
