//! There is nothing to measure.

pub(crate) fn measure() {
    println!("bench measures on x86-64 Linux only");
}
