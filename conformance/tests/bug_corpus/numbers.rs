//! Which bugs there are.

/// The bugs of Linux since 2017. There is no 35, and a 31b.
const BUGS_OF_LINUX: u32 = 67;
const HAZARDS: u32 = 13;
const CLASSES: u32 = 20;

/// The numbers of all bugs, in the order of the table.
pub(crate) fn all() -> Vec<String> {
    let linux = (1..=BUGS_OF_LINUX).filter(|&n| n != 35).flat_map(|n| {
        let again = (n == 31).then(|| "L31b".to_owned());
        [Some(format!("L{n}")), again].into_iter().flatten()
    });
    let hazards = (1..=HAZARDS).map(|n| format!("H{n}"));
    let classes = (1..=CLASSES).map(|n| format!("C{n}"));
    linux.chain(hazards).chain(classes).collect()
}

/// Whether `word` has the form of a number: a letter, digits, and perhaps a `b`.
pub(crate) fn is_number(word: &str) -> bool {
    let digits = word
        .strip_prefix(['L', 'H', 'C'])
        .map(|rest| rest.strip_suffix('b').unwrap_or(rest));
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn there_are_100_bugs() {
    let all = all();
    assert_eq!(all.len(), 67 + 13 + 20);
    assert!(all.iter().all(|number| is_number(number)));
    for word in ["L", "Lb", "X1", "L1 ", "LEGACY", "C5x"] {
        assert!(!is_number(word), "{word}");
    }
}
