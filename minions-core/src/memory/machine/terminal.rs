//! A simulated terminal: lines are edited and echoed before a program reads them.

/// What a piece of typing led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Shown to whoever types.
    Echo(Vec<u8>),
    /// A line that a program may read.
    Line(Vec<u8>),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D at the beginning of a line.
    End,
}

#[derive(Debug, Default)]
pub(super) struct Terminal {
    line: Vec<u8>,
}

impl Terminal {
    /// Longest line that is kept.
    const MAX_LINE: usize = 4096;

    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut all = Vec::new();
        let mut echo = Vec::new();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    echo.extend_from_slice(b"\r\n");
                    all.push(Typed::Echo(std::mem::take(&mut echo)));
                    self.line.push(b'\n');
                    all.push(Typed::Line(std::mem::take(&mut self.line)));
                }
                3 => {
                    self.line.clear();
                    echo.extend_from_slice(b"^C\r\n");
                    all.push(Typed::Echo(std::mem::take(&mut echo)));
                    all.push(Typed::Interrupt);
                }
                4 if self.line.is_empty() => all.push(Typed::End),
                8 | 127 => echo.extend_from_slice(self.line.pop().map_or(b"", |_| b"\x08 \x08")),
                byte if self.line.len() < Self::MAX_LINE => {
                    self.line.push(*byte);
                    echo.push(*byte);
                }
                _ => {}
            }
        }
        if !echo.is_empty() {
            all.push(Typed::Echo(echo));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_once_it_is_ended_and_after_its_corrections() {
        let mut terminal = Terminal::default();
        assert_eq!(terminal.typed(b"lx"), [Typed::Echo(b"lx".to_vec())]);
        let rest = terminal.typed(b"\x7fs\r\x04");
        assert!(rest.contains(&Typed::Line(b"ls\n".to_vec())), "{rest:?}");
        assert_eq!(rest.last(), Some(&Typed::End));
    }

    #[test]
    fn ctrl_c_throws_the_line_away() {
        let mut terminal = Terminal::default();
        assert!(terminal.typed(b"rm -r /\x03").contains(&Typed::Interrupt));
        assert!(terminal.typed(b"\n").contains(&Typed::Line(b"\n".to_vec())));
    }
}
