//! The line that is being typed: keys in, what to show out. Pure.

/// Most letters of a line.
const MOST: usize = 4_096;

/// Most lines that are remembered.
const REMEMBERED: usize = 100;

/// What a key came to, where it is more than another look of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The line is done.
    Enter(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// Tab: the line up to the cursor, and whether it was the second one in a row.
    Complete(String, bool),
    /// Ctrl-L.
    Clear,
    /// A key that nothing can be done with here.
    Bell,
}

#[derive(Debug, Default)]
enum Part {
    #[default]
    None,
    Escape,
    /// Within a sequence of the terminal's, as far as it has come.
    Sequence(Vec<u8>),
    /// Within a letter of several bytes.
    Letter(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Line {
    letters: Vec<char>,
    cursor: usize,
    part: Part,
    history: Vec<String>,
    /// Which of these is shown, and what was typed before.
    shown: Option<(usize, Vec<char>)>,
    tabbed: bool,
    returned: bool,
}

impl Line {
    /// Takes one byte.
    pub(super) fn press(&mut self, byte: u8) -> Option<Act> {
        let (tabbed, returned) = (std::mem::take(&mut self.tabbed), std::mem::take(&mut self.returned));
        match std::mem::take(&mut self.part) {
            Part::Escape => return self.escaped(byte),
            Part::Sequence(so_far) => return self.sequence(so_far, byte),
            Part::Letter(so_far) => return self.letter(so_far, byte),
            Part::None => {}
        }
        match byte {
            b'\n' if returned => None,
            b'\r' | b'\n' => {
                self.returned = byte == b'\r';
                Some(Act::Enter(self.done()))
            }
            0x03 => {
                self.done();
                Some(Act::Interrupt)
            }
            0x04 if self.letters.is_empty() => Some(Act::End),
            0x04 => self.delete(),
            0x09 => {
                self.tabbed = true;
                Some(Act::Complete(self.letters[..self.cursor].iter().collect(), tabbed))
            }
            0x0c => Some(Act::Clear),
            0x01 => self.go(0),
            0x05 => self.go(self.letters.len()),
            0x02 => self.go(self.cursor.saturating_sub(1)),
            0x06 => self.go(self.cursor + 1),
            0x10 => self.remember(true),
            0x0e => self.remember(false),
            0x08 | 0x7f => self.cut(self.cursor.saturating_sub(1)),
            0x15 => self.cut(0),
            0x17 => self.cut(self.word_before()),
            0x0b => {
                self.letters.truncate(self.cursor);
                None
            }
            0x1b => {
                self.part = Part::Escape;
                None
            }
            0x20..=0x7e => self.insert(char::from(byte)),
            0xc2..=0xf4 => self.letter(Vec::new(), byte),
            _ => Some(Act::Bell),
        }
    }

    /// Puts in what completes a word.
    pub(super) fn complete(&mut self, rest: &str) -> Option<Act> {
        rest.chars().find_map(|letter| self.insert(letter))
    }

    /// The line as it stands on a screen: a prompt, what of the line fits beside it, and the cursor in its place.
    pub(super) fn draw(&self, prompt: &str, columns: usize) -> String {
        let room = columns.saturating_sub(prompt.chars().count() + 1).max(8);
        let first = (self.cursor + 1).saturating_sub(room);
        let shown: String = self.letters.iter().skip(first).take(room).collect();
        let back = shown.chars().count() - (self.cursor - first);
        let back = if back > 0 { format!("\u{1b}[{back}D") } else { String::new() };
        format!("\r{prompt}{shown}\u{1b}[K{back}")
    }

    fn done(&mut self) -> String {
        let text: String = self.letters.drain(..).collect();
        (self.cursor, self.shown) = (0, None);
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            if self.history.len() == REMEMBERED {
                self.history.remove(0);
            }
            self.history.push(text.clone());
        }
        text
    }

    fn escaped(&mut self, byte: u8) -> Option<Act> {
        match byte {
            b'[' | b'O' => {
                self.part = Part::Sequence(Vec::new());
                None
            }
            b'b' => self.go(self.word_before()),
            b'f' => self.go(self.word_after()),
            b'd' => {
                let end = self.word_after();
                self.letters.drain(self.cursor..end);
                None
            }
            0x7f => self.cut(self.word_before()),
            _ => None,
        }
    }

    fn sequence(&mut self, mut so_far: Vec<u8>, byte: u8) -> Option<Act> {
        // Ended by the first of these, whatever it means.
        if !(0x40..=0x7e).contains(&byte) {
            if so_far.len() < 16 {
                so_far.push(byte);
            }
            self.part = Part::Sequence(so_far);
            return None;
        }
        match (byte, &so_far[..]) {
            (b'A', b"") => self.remember(true),
            (b'B', b"") => self.remember(false),
            (b'C', b"") => self.go(self.cursor + 1),
            (b'D', b"") => self.go(self.cursor.saturating_sub(1)),
            (b'C', _) => self.go(self.word_after()),
            (b'D', _) => self.go(self.word_before()),
            (b'H', _) | (b'~', b"1" | b"7") => self.go(0),
            (b'F', _) | (b'~', b"4" | b"8") => self.go(self.letters.len()),
            (b'~', b"3") => self.delete(),
            _ => None,
        }
    }

    fn letter(&mut self, mut so_far: Vec<u8>, byte: u8) -> Option<Act> {
        so_far.push(byte);
        match std::str::from_utf8(&so_far) {
            Ok(text) => text.chars().next().and_then(|letter| self.insert(letter)),
            Err(error) if error.error_len().is_none() => {
                self.part = Part::Letter(so_far);
                None
            }
            Err(_) => Some(Act::Bell),
        }
    }

    /// Letters that are one column wide, so that the cursor stands where it seems to.
    fn insert(&mut self, letter: char) -> Option<Act> {
        let plain = matches!(letter, ' '..='~' | '\u{a1}'..='\u{2ff}' | '\u{370}'..='\u{482}') && letter != '\u{ad}';
        if !plain || self.letters.len() >= MOST {
            return Some(Act::Bell);
        }
        self.letters.insert(self.cursor, letter);
        self.cursor += 1;
        None
    }

    fn go(&mut self, to: usize) -> Option<Act> {
        self.cursor = to.min(self.letters.len());
        None
    }

    /// Takes out what lies between a place and the cursor behind it.
    fn cut(&mut self, from: usize) -> Option<Act> {
        self.letters.drain(from..self.cursor);
        self.go(from)
    }

    fn delete(&mut self) -> Option<Act> {
        if self.cursor < self.letters.len() {
            self.letters.remove(self.cursor);
        }
        None
    }

    fn word_before(&self) -> usize {
        let before = &self.letters[..self.cursor];
        let end = before.iter().rposition(|letter| *letter != ' ').map_or(0, |at| at + 1);
        before[..end].iter().rposition(|letter| *letter == ' ').map_or(0, |at| at + 1)
    }

    fn word_after(&self) -> usize {
        let after = &self.letters[self.cursor..];
        let begin = after.iter().position(|letter| *letter != ' ').unwrap_or(after.len());
        let length = after[begin..].iter().position(|letter| *letter == ' ').unwrap_or(after.len() - begin);
        self.cursor + begin + length
    }

    fn remember(&mut self, older: bool) -> Option<Act> {
        let place = match (&self.shown, older) {
            (None, true) => self.history.len().checked_sub(1),
            (None, false) => None,
            (Some((at, _)), true) => at.checked_sub(1),
            (Some((at, _)), false) => Some(at + 1),
        };
        let Some(place) = place else { return Some(Act::Bell) };
        let typed = match self.shown.take() {
            Some((_, typed)) => typed,
            None => self.letters.clone(),
        };
        match self.history.get(place) {
            Some(line) => {
                self.letters = line.chars().collect();
                self.shown = Some((place, typed));
            }
            None => self.letters = typed,
        }
        self.go(self.letters.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &mut Line, keys: &str) -> Vec<Act> {
        keys.bytes().filter_map(|byte| line.press(byte)).collect()
    }

    fn entered(keys: &str) -> String {
        match typed(&mut Line::default(), &format!("{keys}\r")).pop() {
            Some(Act::Enter(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_edit_the_line_as_people_are_used_to() {
        for (keys, want) in [
            ("list", "list"),
            ("lst\u{1b}[D\u{1b}[Di", "list"),
            ("lixst\x02\x02\x7f", "list"),
            ("xxx\x15list", "list"),
            ("list junk \x17\x7f", "list"),
            ("web\x01start \x05 now", "start web now"),
            ("ab\u{1b}[H\u{1b}[3~", "b"),
            ("ab\x01\x04", "b"),
            ("one two\u{1b}b\x0b", "one "),
            ("one two\x01\u{1b}fX", "oneX two"),
            ("one two\x01\u{1b}[1;5CX", "oneX two"),
            ("one two\x01\u{1b}d", " two"),
            ("gr\u{fc}n", "gr\u{fc}n"),
            ("a\u{1f980}b\u{301}", "ab"),
            ("\u{1b}[200~a", "a"),
        ] {
            assert_eq!(entered(keys), want, "{keys:?}");
        }
    }

    #[test]
    fn what_was_typed_before_comes_back_and_what_is_being_typed_is_kept() {
        let mut line = Line::default();
        typed(&mut line, "one\rtwo\r\ntwo\r");
        assert_eq!(typed(&mut line, "dra\u{1b}[A\u{1b}[A\r"), [Act::Enter("one".to_owned())]);
        assert_eq!(typed(&mut line, "dra\u{1b}[A\u{1b}[A\u{1b}[A"), []);
        assert_eq!(typed(&mut line, "\u{1b}[A"), [Act::Bell], "nothing is older");
        assert_eq!(typed(&mut line, "\u{1b}[B\u{1b}[B\u{1b}[Bft\r"), [Act::Enter("draft".to_owned())]);
    }

    #[test]
    fn ends_and_interrupts_are_told() {
        let mut line = Line::default();
        assert_eq!(typed(&mut line, "abc\x03"), [Act::Interrupt]);
        assert_eq!(typed(&mut line, "\x04"), [Act::End]);
        assert_eq!(typed(&mut line, "st\t\t"), [Act::Complete("st".into(), false), Act::Complete("st".into(), true)]);
    }

    #[test]
    fn a_line_that_is_wider_than_the_screen_shows_the_part_with_the_cursor() {
        let mut line = Line::default();
        typed(&mut line, "0123456789");
        assert_eq!(line.draw("> ", 80), "\r> 0123456789\u{1b}[K");
        assert_eq!(line.draw("> ", 12), "\r> 23456789\u{1b}[K");
        typed(&mut line, "\x01");
        assert_eq!(line.draw("> ", 12), "\r> 012345678\u{1b}[K\u{1b}[9D");
    }

    #[test]
    fn bad_16_no_bytes_break_the_line() {
        let mut seed = 1_u64;
        for _ in 0..200 {
            let mut line = Line::default();
            for _ in 0..500 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                line.press(seed.to_be_bytes()[0] & if seed & 256 == 0 { 0x1f } else { 0xff });
                assert!(line.cursor <= line.letters.len());
                line.draw("> ", usize::from(seed.to_be_bytes()[1]));
            }
        }
        let mut long = Line::default();
        (0..MOST + 10).for_each(|_| drop(long.press(b'x')));
        assert_eq!(long.letters.len(), MOST);
    }
}
