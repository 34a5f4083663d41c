//! Guests and their images on other CPUs: `fpstate baseline`, `convert`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asked;
mod baseline;
mod convert;
mod images;
