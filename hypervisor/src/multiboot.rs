//! What the loader says: the command line, and what it asks for.

use core::ffi::CStr;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'l> {
    /// Every scenario.
    All,
    /// None; the names are printed.
    List,
    /// The scenario of this name, or those whose names begin with it.
    Named(&'l str),
}

impl<'l> Request<'l> {
    /// Reads a command line: `list`, `scenario=NAME`. Loaders put the path of the image before it,
    /// so other words mean nothing; the last word that means something counts.
    pub fn parse(command_line: &'l str) -> Self {
        command_line
            .split_ascii_whitespace()
            .filter_map(|word| match word {
                "list" => Some(Self::List),
                _ => word.strip_prefix("scenario=").map(Self::Named),
            })
            .next_back()
            .unwrap_or(Self::All)
    }
}

/// What EAX holds when a multiboot loader starts the image.
pub const MAGIC: u32 = 0x2bad_b002;

/// The first words of the multiboot information (Multiboot specification 0.6.96, 3.3).
#[derive(Clone, Copy)]
#[repr(C)]
struct Information {
    flags: u32,
    memory: [u32; 2],
    boot_device: u32,
    command_line: u32,
}

const HAS_COMMAND_LINE: u32 = 1 << 2;

/// The command line at the loader's `information`; empty if there is none, or none in UTF-8.
///
/// # Safety
/// 1. `magic` and `information` are what EAX and EBX held when the image was started.
/// 2. The first 4 GB are mapped one to one, and nothing ever writes to the loader's memory.
pub unsafe fn command_line(magic: u32, information: u32) -> &'static str {
    if magic != MAGIC {
        return "";
    }
    // SAFETY: 1: a multiboot loader left the information there. 2: it is mapped.
    let information = unsafe { (information as usize as *const Information).read_unaligned() };
    if information.flags & HAS_COMMAND_LINE == 0 {
        return "";
    }
    // SAFETY: 1: the loader ends it with a zero byte. 2: it stays.
    let line = unsafe { CStr::from_ptr(information.command_line as usize as *const _) };
    line.to_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_nothing_are_passed_over() {
        for (line, request) in [
            ("", Request::All),
            ("/boot/kernel", Request::All),
            ("/boot/kernel list", Request::List),
            ("a/b scenario=svm-", Request::Named("svm-")),
            ("scenario=a  scenario=b", Request::Named("b")),
            ("scenario=", Request::Named("")),
            ("playlist", Request::All),
        ] {
            assert_eq!(Request::parse(line), request, "{line:?}");
        }
    }
}
