//! Guests and their images on other CPUs: `fpstate baseline`, `convert`,
//! `check`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asked;
mod baseline;
mod check;
mod convert;
mod images;
