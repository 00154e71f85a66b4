//! What guests have tried on terminals, and what is left of it.

use super::terminal::{TerminalFilter, sanitize_line, sanitize_terminal};

/// What comes from a guest, and what may reach a terminal.
const CORPUS: &[(&str, &str)] = &[
    // Plain text, of any language, stays.
    ("plain text", "plain text"),
    ("tabs\tand\nnewlines\n", "tabs\tand\nnewlines\n"),
    ("Grüße, 日本語, עברית, العربية", "Grüße, 日本語, עברית, العربية"),
    ("🦀 👩‍🚀", "🦀 👩‍🚀"),
    ("[31m without its escape", "[31m without its escape"),
    // Colours and modes.
    ("\x1b[31mred\x1b[0m", "red"),
    ("\x1b[1;38;2;255;0;0mred\x1b[m", "red"),
    ("\x1b[38:5:196mred", "red"),
    ("\x1b[8mhidden\x1b[28m", "hidden"),
    ("\x1b[?25l\x1b[?1049hfull screen", "full screen"),
    ("\x1b[?2004hpaste", "paste"),
    ("\x1b[?1000;1006hmouse", "mouse"),
    // Moving about: overwriting what was said before.
    ("safe\x1b[2K\x1b[1Gevil", "safeevil"),
    ("\x1b[2J\x1b[Hcleared", "cleared"),
    ("\x1b[3Jscrollback", "scrollback"),
    ("up\x1b[1A\x1b[10Ddown", "updown"),
    ("\x1b[10;20Hplaced", "placed"),
    ("\x1b[1;1r\x1b[5Sscroll", "scroll"),
    ("done\rfail", "donefail"),
    ("line\r\nline", "line\nline"),
    ("abc\x08\x08\x08xyz", "abcxyz"),
    ("\x0b\x0cfeeds", "feeds"),
    ("bell\x07", "bell"),
    ("\x0eshift\x0f", "shift"),
    ("nul\0byte", "nulbyte"),
    ("del\x7fete", "delete"),
    // Titles, and reports of them that type for the user.
    ("\x1b]0;title\x07text", "text"),
    ("\x1b]2;title\x1b\\text", "text"),
    ("\x1b]1;icon\u{9c}text", "text"),
    ("\x1b[21treport", "report"),
    ("\x1b[6ncursor", "cursor"),
    ("\x1b[cwho", "who"),
    ("\x1b[>0qversion", "version"),
    ("\x1bZwho", "who"),
    ("\x05answerback", "answerback"),
    // Clipboard, links, pictures, files.
    ("\x1b]52;c;ZXZpbA==\x07text", "text"),
    ("\x1b]52;c;?\x07text", "text"),
    ("\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\", "click"),
    ("\x1b]1337;File=name=eA==:AAAA\x07text", "text"),
    ("\x1b]9;notify\x07text", "text"),
    ("\x1b]777;notify;a;b\x07text", "text"),
    ("\x1b]50;font\x07text", "text"),
    ("\x1b]4;1;rgb:00/00/00\x07text", "text"),
    ("\x1b]133;A\x07prompt", "prompt"),
    // Device control, sixels, key definitions, application and privacy strings.
    ("\x1bPq#0;2;0;0;0~-\x1b\\text", "text"),
    ("\x1bP$q\"p\x1b\\text", "text"),
    ("\x1bP+q544e\x1b\\text", "text"),
    ("\x1b_Gf=100;AAAA\x1b\\text", "text"),
    ("\x1b^private\x1b\\text", "text"),
    ("\x1bXstart\x1b\\text", "text"),
    ("\x1bP0;0|17/0a\x1b\\text", "text"),
    // Other escapes.
    ("\x1bcreset", "reset"),
    ("\x1b(0lqqk\x1b(B", "lqqk"),
    ("\x1b#8align", "align"),
    ("\x1b%Gutf", "utf"),
    ("\x1b7saved\x1b8", "saved"),
    ("\x1b=keys\x1b>", "keys"),
    ("\x1bMindex\x1bD", "index"),
    ("\x1b ffe", "fe"),
    // The same as single characters.
    ("\u{9b}31mred", "red"),
    ("\u{9d}0;title\u{9c}text", "text"),
    ("\u{90}data\u{9c}text", "text"),
    ("\u{85}next\u{84}line", "nextline"),
    ("\u{8d}reverse", "reverse"),
    // Broken, nested and cut off.
    ("\x1b", ""),
    ("text\x1b[", "text"),
    ("text\x1b[31", "text"),
    ("text\x1b]0;never ends", "text"),
    ("\x1b[31\x1b[32mgreen", "green"),
    ("\x1b\x1b[31mred", "red"),
    ("\x1b]0;a\x1b[31mtext", "text"),
    ("\x1b[3\n1mred", "\nred"),
    ("\x1b[31\x18mred", "mred"),
    ("\x1b]0;cancel\x18text", "text"),
    ("\x1b[éx", "éx"),
    ("\x1bétext", "étext"),
    // Direction and the invisible.
    ("user\u{202e}txt.exe", "usertxt.exe"),
    ("\u{202a}a\u{202b}b\u{202c}c\u{202d}d", "abcd"),
    ("\u{2066}a\u{2067}b\u{2068}c\u{2069}", "abc"),
    ("\u{200e}a\u{200f}b\u{61c}", "ab"),
    ("pay\u{200b}pal\u{feff}", "paypal"),
    ("soft\u{ad}hyphen", "softhyphen"),
    ("line\u{2028}para\u{2029}", "linepara"),
    ("tag\u{e0041}\u{e007f}", "tag"),
    ("note\u{fff9}a\u{fffa}b\u{fffb}", "noteab"),
];

#[test]
fn bad_21_nothing_of_the_corpus_steers_a_terminal_and_all_text_of_it_stays() {
    assert!(CORPUS.len() >= 60);
    for (hostile, want) in CORPUS {
        assert_eq!(&sanitize_terminal(hostile), want, "{hostile:?}");
        assert_eq!(&sanitize_terminal(want), want, "twice: {hostile:?}");
    }
}

#[test]
fn bad_21_it_does_not_matter_where_a_stream_is_cut() {
    for (hostile, want) in CORPUS {
        for size in 1..5 {
            let mut filter = TerminalFilter::default();
            let mut safe = String::new();
            for piece in hostile.as_bytes().chunks(size) {
                filter.push(piece, &mut safe);
            }
            filter.finish(&mut safe);
            assert_eq!(&safe, want, "{hostile:?} in pieces of {size}");
        }
    }
}

#[test]
fn bad_21_bytes_that_are_no_text_become_a_mark_and_hide_nothing() {
    let mut filter = TerminalFilter::default();
    let mut safe = String::new();
    filter.push(b"a\xff\x9b31mb\xc3", &mut safe);
    filter.push(b"\xa9c\xe2\x82", &mut safe);
    filter.finish(&mut safe);
    assert_eq!(safe, "a\u{fffd}\u{fffd}31mbéc\u{fffd}");
}

#[test]
fn bad_21_a_sequence_without_end_does_not_hide_everything_after_it() {
    let text = format!("\x1b]0;{}visible", "x".repeat(1 << 17));
    assert!(sanitize_terminal(&text).ends_with("visible"));
}

#[test]
fn bad_21_a_line_is_one_line_and_no_longer_than_allowed() {
    assert_eq!(sanitize_line("a\nb\tc\r\x1b[31md", 256), "a b cd");
    assert_eq!(sanitize_line(&"é".repeat(1 << 20), 256), "é".repeat(256));
    assert_eq!(sanitize_line("abc", 0), "");
}

#[test]
fn no_mix_of_hostile_pieces_leaves_a_control_character() {
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..6 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let piece = CORPUS[usize::try_from(state % CORPUS.len() as u64).unwrap()].0;
            let cut = usize::try_from(state >> 32).unwrap() % (piece.chars().count() + 1);
            text.extend(piece.chars().take(cut.max(1)));
        }
        let safe = sanitize_terminal(&text);
        let bad = safe.chars().find(|letter| letter.is_control() && !matches!(letter, '\n' | '\t'));
        assert_eq!(bad, None, "{text:?}");
        assert_eq!(sanitize_terminal(&safe), safe, "{text:?}");
    }
}
