//! Text from a guest must not steer a terminal.

/// The text with everything removed that could steer a terminal: escape sequences whole (with what they carry), control
/// characters but newline and tab, carriage returns, overrides of the writing direction, invisible characters. Doing it
/// twice changes nothing more.
#[must_use]
pub fn sanitize_terminal(text: &str) -> String {
    let mut filter = TerminalFilter::default();
    let mut safe = String::with_capacity(text.len());
    filter.push_str(text, &mut safe);
    safe
}

/// Like [`sanitize_terminal`], and one line of at most `most` characters.
#[must_use]
pub fn sanitize_line(text: &str, most: usize) -> String {
    let mut filter = TerminalFilter::default();
    let mut safe = String::new();
    let mut kept = 0;
    for letter in text.chars() {
        let Some(letter) = filter.letter(letter) else { continue };
        if kept == most {
            break;
        }
        safe.push(if matches!(letter, '\n' | '\t') { ' ' } else { letter });
        kept += 1;
    }
    safe
}

/// Where inside an escape sequence the text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one final byte follows.
    Intermediate,
    /// In a control sequence: parameters until a final byte.
    Control,
    /// In a string (title, clipboard, hyperlink, device control): everything until its end.
    String,
    /// In a string, after ESC.
    StringEscape,
}

/// Sanitizes a stream of bytes piece by piece: sequences and characters may be cut anywhere between two pieces.
#[derive(Clone, Debug, Default)]
pub struct TerminalFilter {
    at: At,
    /// Letters inside the present sequence.
    inside: usize,
    /// The beginning of a character of UTF-8 that the last piece cut.
    cut: Vec<u8>,
}

impl TerminalFilter {
    /// A sequence longer than this has no end: the text after it is shown again, so that one byte cannot hide
    /// everything that follows. Terminals give up earlier or later; what is shown then is only letters.
    const LONGEST: usize = 64 * 1024;

    /// Adds what is safe of a piece of text.
    pub fn push_str(&mut self, text: &str, safe: &mut String) {
        safe.extend(text.chars().filter_map(|letter| self.letter(letter)));
    }

    /// Adds what is safe of a piece of bytes; what is not UTF-8 becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8], safe: &mut String) {
        let mut joined = std::mem::take(&mut self.cut);
        joined.extend_from_slice(bytes);
        let mut rest = joined.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => return self.push_str(text, safe),
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.push_str(&String::from_utf8_lossy(good), safe);
                    let Some(length) = error.error_len() else {
                        self.cut = bad.to_vec();
                        return;
                    };
                    self.push_str("\u{fffd}", safe);
                    rest = &bad[length..];
                }
            }
        }
    }

    /// Adds what a character that was cut at the end of the stream becomes.
    pub fn finish(&mut self, safe: &mut String) {
        if !std::mem::take(&mut self.cut).is_empty() {
            self.push_str("\u{fffd}", safe);
        }
        self.at = At::Text;
    }

    fn letter(&mut self, letter: char) -> Option<char> {
        if self.at == At::Text {
            self.inside = 0;
        } else {
            self.inside += 1;
            if self.inside > Self::LONGEST {
                self.at = At::Text;
            }
        }
        let (next, shown) = match (self.at, letter) {
            // These end or begin sequences wherever they stand.
            (At::String, '\u{1b}') => (At::StringEscape, None),
            (_, '\u{1b}') => (At::Escape, None),
            (_, '\u{18}' | '\u{1a}') => (At::Text, None),
            (_, '\u{9b}') => (At::Control, None),
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => (At::String, None),
            (_, '\u{9c}') => (At::Text, None),

            (At::Text, letter) => (At::Text, safe(letter)),

            (At::Escape, '[') => (At::Control, None),
            (At::Escape, ']' | 'P' | 'X' | '^' | '_') => (At::String, None),
            (At::Escape | At::Intermediate, ' '..='/') => (At::Intermediate, None),
            (At::Escape | At::Intermediate, '0'..='~') => (At::Text, None),

            (At::Control, ' '..='?') => (At::Control, None),
            (At::Control, '@'..='~') => (At::Text, None),

            (At::String, '\u{7}') => (At::Text, None),
            (At::String, _) => (At::String, None),
            (At::StringEscape, '\\') => (At::Text, None),
            // A new sequence begins inside of a string: terminals disagree, so nothing of it is shown.
            (At::StringEscape, '[') => (At::Control, None),
            (At::StringEscape, _) => (At::String, None),

            // Controls act in the middle of a sequence without ending it; newlines are kept.
            (at, '\n' | '\t') => (at, safe(letter)),
            (at, letter) if letter.is_control() => (at, None),
            // No sequence goes on like this: it is over, and the letter is text.
            (_, letter) => (At::Text, safe(letter)),
        };
        self.at = next;
        shown
    }
}

/// A letter outside of any sequence.
fn safe(letter: char) -> Option<char> {
    match letter {
        '\n' | '\t' => Some(letter),
        letter if letter.is_control() => None,
        // Direction: marks, embeddings, overrides, isolates.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => None,
        // Line and paragraph separators, zero-width characters, byte order mark, soft hyphen, annotations.
        '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{ad}' => None,
        '\u{fff9}'..='\u{fffb}' | '\u{180e}' => None,
        // Tags: invisible copies of ASCII.
        '\u{e0000}'..='\u{e007f}' => None,
        letter => Some(letter),
    }
}
