//! Text of guests: nothing that steers a terminal is left, wherever it was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use minions_core::api::guest::{TerminalFilter, sanitize_line, sanitize_terminal};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = filter([bytes]);
    let (left, right) = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    assert_eq!(filter([left, right]), whole, "where the bytes were cut makes no difference");
    assert!(whole.chars().all(|letter| matches!(letter, '\n' | '\t') || !letter.is_control()), "{whole:?}");
    assert_eq!(sanitize_terminal(&whole), whole, "twice is once");
    let most = usize::from(cut % 300);
    let line = sanitize_line(&String::from_utf8_lossy(bytes), most);
    assert!(line.chars().count() <= most && !line.contains(['\n', '\t', '\u{1b}']), "{line:?}");
});

fn filter<const N: usize>(pieces: [&[u8]; N]) -> String {
    let mut filter = TerminalFilter::default();
    let mut safe = String::new();
    for piece in pieces {
        filter.push(piece, &mut safe);
    }
    filter.finish(&mut safe);
    safe
}
