//! The interrupt controllers of old, which firmware leaves open: they are silenced.

use crate::port;

/// No interrupt comes from them any more.
pub fn mask() {
    for data in [0x21, 0xa1] {
        // SAFETY: 1: the kernel. 2: less happens than before.
        unsafe { port::write_byte(data, 0xff) };
    }
}
