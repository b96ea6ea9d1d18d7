//! Lines and fields of a CSV file that holds keys: one buffer of fixed size, wiped at the end.

use std::io::{self, Read};

use zeroize::Zeroizing;

use super::LINE_OCTETS_MAX;
use super::fault::Reason;

const BUFFER_OCTETS: usize = 1 << 16;

/// Cuts a file into lines without ever holding more than one buffer of it.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    number: u64,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, buffer: Zeroizing::new(vec![0; BUFFER_OCTETS]), start: 0, end: 0, number: 0 }
    }

    /// The next line with its number from 1, without its end; `None` at the end of the file.
    /// A line over the limit is `Err(LineLength)`, one that is no text `Err(NotText)`.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Result<&str, Reason>)>> {
        self.number = self.number.saturating_add(1);
        let mut too_long = false;
        let range = loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(length) = held.iter().position(|&octet| octet == b'\n') {
                let start = self.start;
                self.start = start + length + 1;
                break start..start + length;
            }
            if held.len() > LINE_OCTETS_MAX {
                too_long = true;
                self.start = self.end;
            }
            if self.fill()? == 0 {
                let rest = self.start..self.end;
                self.start = self.end;
                if rest.is_empty() && !too_long {
                    return Ok(None);
                }
                break rest;
            }
        };
        let line = self.buffer.get(range).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = if too_long || line.len() > LINE_OCTETS_MAX {
            Err(Reason::LineLength)
        } else {
            std::str::from_utf8(line).map_err(|_| Reason::NotText)
        };
        Ok(Some((self.number, line)))
    }

    /// Reads more behind what is held, which moves to the front; 0 at the end of the file.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count.min(room.len());
                    return Ok(count);
                }
            }
        }
    }
}

/// The fields of a line. A quoted field (RFC 4180) may hold commas; no column takes a quote, so a quote
/// inside a field is a fault, and so is a field that runs over the end of its line.
pub(crate) struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(line: &'a str) -> Self {
        Self { rest: Some(line) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<&'a str, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, rest) = match rest.split_once(',') {
                Some((field, rest)) => (field, Some(rest)),
                None => (rest, None),
            };
            self.rest = rest;
            return Some(if field.contains('"') { Err(Reason::Quote) } else { Ok(field) });
        };
        let Some((field, after)) = quoted.split_once('"') else { return Some(Err(Reason::Quote)) };
        self.rest = after.strip_prefix(',');
        Some(if self.rest.is_some() || after.is_empty() { Ok(field) } else { Err(Reason::Quote) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Result<String, Reason>)> {
        let mut lines = Lines::new(text);
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            found.push((number, line.map(str::to_owned)));
        }
        found
    }

    #[test]
    fn lines_end_at_either_end_of_line_and_at_the_end_of_the_file() {
        let line = |number, text: &str| (number, Ok(text.to_owned()));
        assert_eq!(lines(b"a,b\r\n\nc"), [line(1, "a,b"), line(2, ""), line(3, "c")]);
        assert_eq!(lines(b"c\n"), [line(1, "c")]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_long_line_is_named_and_the_next_one_still_read() {
        for length in [LINE_OCTETS_MAX + 1, BUFFER_OCTETS - 1, BUFFER_OCTETS, 3 * BUFFER_OCTETS + 7] {
            let mut text = vec![b'x'; length];
            text.extend_from_slice(b"\nnext\n\xff\n");
            let expected =
                [(1, Err(Reason::LineLength)), (2, Ok("next".to_owned())), (3, Err(Reason::NotText))];
            assert_eq!(lines(&text), expected, "{length}");
            assert_eq!(lines(&vec![b'x'; length]), [(1, Err(Reason::LineLength))], "{length}");
        }
        let longest = "y".repeat(LINE_OCTETS_MAX);
        assert_eq!(lines(longest.as_bytes()), [(1, Ok(longest.clone()))]);
    }

    #[test]
    fn lines_survive_the_seams_of_the_buffer() {
        let text: String = (0..20_000).map(|number| format!("row {number}\n")).collect();
        let found = lines(text.as_bytes());
        assert_eq!(found.len(), 20_000);
        assert!(found.iter().enumerate().all(|(index, (number, line))| {
            *number == index as u64 + 1 && line.as_deref() == Ok(&format!("row {index}"))
        }));
    }

    #[test]
    fn fields_may_be_quoted() {
        let fields = |line| Fields::of(line).collect::<Vec<_>>();
        assert_eq!(fields("a,,\"b,c\",\"\""), [Ok("a"), Ok(""), Ok("b,c"), Ok("")]);
        assert_eq!(fields(""), [Ok("")]);
        assert_eq!(fields("a,"), [Ok("a"), Ok("")]);
        assert_eq!(fields("\"a\"b,c"), [Err(Reason::Quote)]);
        assert_eq!(fields("\"a,b"), [Err(Reason::Quote)]);
        assert_eq!(fields("a\"b\",c"), [Err(Reason::Quote), Ok("c")]);
        assert_eq!(fields("\"a\"\"b\",c"), [Err(Reason::Quote)]);
    }
}
