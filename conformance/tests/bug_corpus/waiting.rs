//! Bugs whose code is not built here yet.

use crate::impossible::{Impossible, impossible};

const WRITERS: &str = "writers of images";
const FRAMES: &str = "the whole of sigreturn";

/// In the order of their numbers.
pub(crate) const WAITING: &[Impossible] = &[
    impossible(
        [
            "L12",
            "2021",
            "efa165504943",
            "a signal frame that could not be read left the registers as they were",
        ],
        FRAMES,
    ),
    impossible(
        [
            "L24",
            "2020",
            "9e4636545933, 5714ee50bb43",
            "a debugger got uninitialised memory where a component was initial",
        ],
        WRITERS,
    ),
    impossible(
        [
            "L26",
            "2021",
            "510b80a6a0f1",
            "an image whose PKRU is initial left PKRU as it was, and did not make it 0",
        ],
        FRAMES,
    ),
    impossible(
        [
            "L28",
            "2021",
            "52d0b8b18776",
            "the padding of a signal frame's software bytes was kernel stack",
        ],
        WRITERS,
    ),
    impossible(
        [
            "L34",
            "2022",
            "4a804c4f8356, d7e5aceace51",
            "PKRU that a debugger wrote was ignored",
        ],
        FRAMES,
    ),
    impossible(
        [
            "L36",
            "2024",
            "d877550eaf2d, CVE-2024-26603",
            "the length that a signal frame gave itself was believed, and sigreturn never came to an end",
        ],
        FRAMES,
    ),
    impossible(
        [
            "L37",
            "2025",
            "dc8aa31a7ac2, 44eeff9bc467",
            "a frame with fewer components than the kernel writes lost all but x87 and SSE",
        ],
        FRAMES,
    ),
    impossible(
        [
            "L38",
            "2024, 2025",
            "ae6012d72fa6, d10b554919d4, d1e420772cd1",
            "the frame showed the PKRU that the kernel had set to write it, or none where it was 0",
        ],
        WRITERS,
    ),
    impossible(
        [
            "L46",
            "2022",
            "471f0aa7fa64, CVE-2022-50425, a401f45e3875, d3e021adac7c",
            "the initial value of a component on demand was read behind the end of the initial image",
        ],
        WRITERS,
    ),
    impossible(
        [
            "L56",
            "2022",
            "d187ba531230, CVE-2022-49557",
            "`KVM_GET_XSAVE` and `KVM_SET_XSAVE` took the length of the state for that of the buffer",
        ],
        WRITERS,
    ),
];
