//! The one allocator of a world: every area lent has a number and comes back exactly once.

use std::collections::BTreeMap;

use fastrand::Rng;
use fpstate::AreaStorage;

use crate::memory::Memory;

/// Behind the bytes that an area needs.
const CANARY: u8 = 0xc7;
/// Lengths of the pieces that are kept for lending again.
const SIZES: [usize; 2] = [4096, 16384];

/// Which allocations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// None.
    Never,
    /// This one alone, counted from 1.
    Nth(u64),
    /// One in this many, by chance.
    OneIn(u32),
}

/// Memory for one area.
#[derive(Debug)]
pub(super) struct Lent {
    number: u64,
    needed: usize,
    len: usize,
    memory: Memory,
}

impl Lent {
    /// Whether it has as many bytes as an area needs.
    pub(super) const fn reaches(&self, needed: usize) -> bool {
        self.len >= needed
    }
}

impl AreaStorage for Lent {
    fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }
}

/// The allocator and its ledger.
#[derive(Debug)]
pub(super) struct Lender {
    failing: Failing,
    random: Rng,
    /// Where each area that is lent begins, by number.
    lent: BTreeMap<u64, usize>,
    /// What came back, of each size; the last is lent first, as it was left.
    free: [Vec<Memory>; SIZES.len()],
    asked: u64,
    failed: u64,
    reused: u64,
}

impl Lender {
    pub(super) fn new(failing: Failing, random: Rng) -> Self {
        Self {
            failing,
            random,
            lent: BTreeMap::new(),
            free: [const { Vec::new() }; SIZES.len()],
            asked: 0,
            failed: 0,
            reused: 0,
        }
    }

    /// Chance comes from `random` from here on.
    pub(super) fn decide_by(&mut self, random: Rng) {
        self.random = random;
    }

    /// How many areas are lent.
    pub(super) fn lent(&self) -> usize {
        self.lent.len()
    }

    /// How many allocations there were, and how many of them failed.
    pub(super) const fn asked_and_failed(&self) -> (u64, u64) {
        (self.asked, self.failed)
    }

    /// How many areas lie where an earlier one lay.
    pub(super) const fn reused(&self) -> u64 {
        self.reused
    }

    /// Memory for `needed` bytes or a few more, or none.
    pub(super) fn lend(&mut self, needed: usize) -> Option<Lent> {
        self.asked += 1;
        let fails = match self.failing {
            Failing::Never => false,
            Failing::Nth(number) => number == self.asked,
            Failing::OneIn(many) => self.random.u32(0..many) == 0,
        };
        if fails {
            self.failed += 1;
            return None;
        }
        let size = SIZES.iter().position(|&size| size >= needed + 64);
        let size = size.expect("no area is longer");
        let mut memory = if let Some(memory) = self.free[size].pop() {
            self.reused += 1;
            memory
        } else {
            let mut memory = Memory::zeroed(SIZES[size]);
            memory.bytes_mut().fill(0xee);
            memory
        };
        let len = needed + self.random.choice([0, 1, 64]).expect("three");
        memory.bytes_mut()[needed..len].fill(CANARY);
        self.lent.insert(self.asked, memory.bytes().as_ptr().addr());
        Some(Lent {
            number: self.asked,
            needed,
            len,
            memory,
        })
    }

    /// `lent` is not used any more.
    pub(super) fn take_back(&mut self, lent: Lent) -> Result<(), String> {
        if lent.bytes()[lent.needed..].iter().any(|&b| b != CANARY) {
            return Err(format!("bytes beyond area {} were written", lent.number));
        }
        self.strike_out(lent.number)?;
        let size = SIZES.iter().position(|&s| s == lent.memory.bytes().len());
        self.free[size.expect("one of the sizes")].push(lent.memory);
        Ok(())
    }

    /// What a kernel does that gives memory back twice.
    pub(super) fn take_back_twice(&mut self, lent: Lent) -> Result<(), String> {
        let number = lent.number;
        self.take_back(lent)?;
        self.strike_out(number)
    }

    fn strike_out(&mut self, number: u64) -> Result<(), String> {
        match self.lent.remove(&number) {
            Some(_) => Ok(()),
            None => Err(format!("area {number} was returned twice")),
        }
    }

    /// The areas at `reachable` are lent, each once, and no others are.
    pub(super) fn check(&self, mut reachable: Vec<usize>) -> Result<(), String> {
        let mut lent: Vec<_> = self.lent.values().copied().collect();
        lent.sort_unstable();
        reachable.sort_unstable();
        if lent == reachable {
            return Ok(());
        }
        let unreachable: Vec<_> = self
            .lent
            .iter()
            .filter(|(_, address)| !reachable.contains(address))
            .map(|(number, _)| number)
            .collect();
        Err(format!(
            "memory: {} areas lent, {} in use; lost: {unreachable:?}",
            lent.len(),
            reachable.len()
        ))
    }
}
