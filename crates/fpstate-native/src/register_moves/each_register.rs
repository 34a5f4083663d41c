//! The same instructions for each register of a kind; `\\n` in them is its number.

/// XMM0 to XMM15, and what lies above them.
macro_rules! each_low_register {
    ($instructions:literal) => {
        concat!(
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n",
            $instructions,
            "\n.endr"
        )
    };
}
pub(super) use each_low_register;

/// ZMM16 to ZMM31.
macro_rules! each_high_register {
    ($instructions:literal) => {
        concat!(
            ".irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n",
            $instructions,
            "\n.endr"
        )
    };
}
pub(super) use each_high_register;

/// K0 to K7.
macro_rules! each_opmask {
    ($instructions:literal) => {
        concat!(".irp n, 0,1,2,3,4,5,6,7\n", $instructions, "\n.endr")
    };
}
pub(super) use each_opmask;
