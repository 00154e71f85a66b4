//! What guests have tried on terminals.

/// Sequences that a terminal obeys, or that hide what stands there.
pub const SEQUENCES: &[&str] = &[
    // Colours and modes.
    "\x1b[31m",
    "\x1b[1;38;2;255;0;0m",
    "\x1b[38:5:196m",
    "\x1b[8m",
    "\x1b[?25l",
    "\x1b[?1049h",
    "\x1b[?2004h",
    "\x1b[?1000;1006h",
    // Moving about.
    "\x1b[2K\x1b[1G",
    "\x1b[2J\x1b[H",
    "\x1b[3J",
    "\x1b[10A",
    "\x1b[10;20H",
    "\x1b[1;1r",
    "\r",
    "\x08\x08\x08",
    "\x0b\x0c",
    "\x07",
    "\x0e\x0f",
    "\0",
    "\x7f",
    // Titles, and reports of them that type for the user.
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x1b]1;icon\u{9c}",
    "\x1b[21t",
    "\x1b[6n",
    "\x1b[c",
    "\x1b[>0q",
    "\x1bZ",
    "\x05",
    // Clipboard, links, pictures, files.
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]52;c;?\x07",
    "\x1b]8;;https://evil.example\x1b\\",
    "\x1b]1337;File=name=eA==:AAAA\x07",
    "\x1b]9;notify\x07",
    "\x1b]777;notify;a;b\x07",
    "\x1b]50;font\x07",
    "\x1b]4;1;rgb:00/00/00\x07",
    "\x1b]133;A\x07",
    // Device control, sixels, keys, application and privacy strings.
    "\x1bPq#0;2;0;0;0~-\x1b\\",
    "\x1bP$q\"p\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b_Gf=100;AAAA\x1b\\",
    "\x1b^private\x1b\\",
    "\x1bXstart\x1b\\",
    "\x1bP0;0|17/0a\x1b\\",
    // Other escapes.
    "\x1bc",
    "\x1b(0",
    "\x1b#8",
    "\x1b%G",
    "\x1b7\x1b8",
    "\x1b=\x1b>",
    "\x1bM\x1bD",
    // The same as single characters.
    "\u{9b}31m",
    "\u{9d}0;title\u{9c}",
    "\u{90}data\u{9c}",
    "\u{85}\u{84}\u{8d}",
    // Nested and cancelled.
    "\x1b[31\x1b[32m",
    "\x1b\x1b[31m",
    "\x1b[31\x18m",
    // Direction and the invisible.
    "\u{202e}txt.exe\u{202c}",
    "\u{2066}\u{2067}\u{2068}\u{2069}",
    "\u{200e}\u{200f}\u{61c}",
    "\u{200b}\u{feff}\u{ad}",
    "\u{2028}\u{2029}",
    "\u{e0041}\u{e007f}",
];

/// All of them in one text that begins with a mark, which must stay; what one began is ended before the next. A new line
/// in it pretends to be the program's own.
pub fn evil() -> String {
    SEQUENCES.iter().fold("MARK".to_owned(), |text, sequence| text + sequence + "\x1b\\\x07") + "\nFORGED"
}

/// Whatever of an output a terminal could obey, or a person could not see.
pub fn harm(output: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(output) else { return Some("it is no UTF-8".to_owned()) };
    let harmful = |letter: &char| {
        !matches!(letter, '\n' | '\t')
            && (letter.is_control()
                || matches!(letter,
                    '\u{61c}' | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
    };
    text.chars().find(harmful).map(|letter| format!("U+{:04X} in {text:?}", u32::from(letter)))
}
