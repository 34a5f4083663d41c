//! Worlds that differ by which is which: the orders in which one is described.

/// A byte of a description.
#[derive(Clone, Copy)]
pub(super) enum Item {
    Byte(u8),
    /// The place of a CPU, a thread, a guest; states are threads and then guests.
    Cpu(usize),
    State(usize),
    /// What these states should be, as bits; no bit is garbage.
    Value(u16),
}

/// One order in which a world is described: what stands at each place, and the place of each.
#[derive(Clone, Debug)]
pub(super) struct Order {
    cpus: Vec<usize>,
    states: Vec<usize>,
    place_of_cpu: Vec<usize>,
    place_of_state: Vec<usize>,
}

impl Order {
    /// Every order in which CPUs, threads of one kind and guests of one kind change places.
    pub(super) fn all<T: PartialEq, G: PartialEq>(
        cpus: usize,
        threads: &[T],
        guests: &[G],
    ) -> Vec<Self> {
        let mut all = Vec::new();
        for cpus in orders(&vec![(); cpus]) {
            for states in orders(threads) {
                for guests in orders(guests) {
                    let guests = guests.into_iter().map(|guest| threads.len() + guest);
                    let states: Vec<_> = states.iter().copied().chain(guests).collect();
                    all.push(Self {
                        place_of_cpu: inverse(&cpus),
                        place_of_state: inverse(&states),
                        cpus: cpus.clone(),
                        states,
                    });
                }
            }
        }
        all
    }

    pub(super) fn cpus(&self) -> &[usize] {
        &self.cpus
    }

    /// Threads, then guests.
    pub(super) fn states(&self) -> &[usize] {
        &self.states
    }

    /// The bytes of `section` in this order.
    pub(super) fn write(&self, section: &[Item], out: &mut Vec<u8>) {
        for item in section {
            out.push(match *item {
                Item::Byte(byte) => byte,
                Item::Cpu(cpu) => index(self.place_of_cpu[cpu]),
                Item::State(state) => index(self.place_of_state[state]),
                Item::Value(states) => {
                    let mut places = self.states.iter();
                    let place = places.position(|state| states & 1 << state != 0);
                    place.map_or(0, |place| 1 + index(place))
                }
            });
        }
    }
}

/// All orders that leave each thing at a place of its kind.
fn orders<T: PartialEq>(kinds: &[T]) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for place in kinds {
        let mut longer = Vec::new();
        for order in &orders {
            for (thing, kind) in kinds.iter().enumerate() {
                if kind == place && !order.contains(&thing) {
                    let mut order: Vec<_> = order.clone();
                    order.push(thing);
                    longer.push(order);
                }
            }
        }
        orders = longer;
    }
    orders
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, &thing) in order.iter().enumerate() {
        places[thing] = place;
    }
    places
}

fn index(index: usize) -> u8 {
    u8::try_from(index).expect("small worlds")
}
