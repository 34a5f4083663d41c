//! Round trips of each policy by criterion, to compare one's change with what was before:
//! `cargo bench -p fpstate-bench`. The figures of the README are `fpstate bench`'s.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "round_trip/here.rs"]
mod round_trip;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "round_trip/elsewhere.rs"]
mod round_trip;

fn main() {
    round_trip::measure();
}
