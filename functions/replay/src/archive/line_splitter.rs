//! Bytes to lines, compressed with gzip or not, a bounded amount at a time.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// The longest line that is read, in bytes. A row of the archive has half of that: the largest envelope has 256 KiB
/// ([`relay_core::envelope::MAX_BYTES`]), and as a JSON text in a JSON text at most twice as many.
pub const MAX_LINE: usize = 1024 * 1024;

/// Compressed bytes that are decompressed at once: gzip makes at most 1,032 bytes of one.
pub const MAX_STEP: usize = 8 * 1024;

/// The first bytes of gzip data (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// It is longer than [`MAX_LINE`]; its text is not kept.
    TooLong,
}

/// Takes bytes and gives lines. Lines of white space are left out.
#[derive(Debug, Default)]
pub struct LineSplitter {
    encoding: Encoding,
    line: Vec<u8>,
    is_too_long: bool,
    decompressed: Vec<u8>,
    /// How much of it has become lines.
    done: usize,
}

#[derive(Debug)]
enum Encoding {
    /// Too few bytes to tell.
    Unknown(Vec<u8>),
    Plain,
    Gzip(MultiGzDecoder<Vec<u8>>),
}

impl Default for Encoding {
    fn default() -> Self {
        Encoding::Unknown(Vec::new())
    }
}

impl LineSplitter {
    /// Takes the next bytes, at most [`MAX_STEP`], so that memory stays bounded. Call it when [`Self::next`] has nothing
    /// left.
    ///
    /// # Errors
    /// If the gzip data is corrupt.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.decompressed.clear();
        self.done = 0;
        if let Encoding::Unknown(head) = &mut self.encoding {
            head.extend_from_slice(bytes);
            if head.len() < GZIP.len() {
                return Ok(());
            }
            let head = std::mem::take(head);
            self.encoding = match head.starts_with(&GZIP) {
                true => Encoding::Gzip(MultiGzDecoder::new(Vec::new())),
                false => Encoding::Plain,
            };
            return self.decompress(&head);
        }
        self.decompress(bytes)
    }

    /// Says that no more bytes will come. The last lines are left for [`Self::next`].
    ///
    /// # Errors
    /// If the end of the gzip data is missing.
    pub fn end(&mut self) -> io::Result<()> {
        self.decompressed.clear();
        self.done = 0;
        match &mut self.encoding {
            Encoding::Unknown(head) => self.decompressed = std::mem::take(head),
            Encoding::Plain => (),
            Encoding::Gzip(decoder) => {
                decoder.try_finish()?;
                self.decompressed = std::mem::take(decoder.get_mut());
            }
        }
        self.decompressed.push(b'\n');
        Ok(())
    }

    pub fn is_gzip(&self) -> bool {
        matches!(self.encoding, Encoding::Gzip(_))
    }

    pub fn next(&mut self) -> Option<Line> {
        loop {
            let rest = self.decompressed.get(self.done..).filter(|rest| !rest.is_empty())?;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = &rest[..end.unwrap_or(rest.len())];
            self.is_too_long |= self.line.len() + part.len() > MAX_LINE;
            match self.is_too_long {
                true => self.line.clear(),
                false => self.line.extend_from_slice(part),
            }
            self.done += part.len() + usize::from(end.is_some());
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                match std::mem::take(&mut self.is_too_long) {
                    true => return Some(Line::TooLong),
                    false if line.iter().all(u8::is_ascii_whitespace) => (),
                    false => return Some(Line::Whole(line)),
                }
            }
        }
    }

    fn decompress(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.encoding {
            Encoding::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                std::mem::swap(&mut self.decompressed, decoder.get_mut());
            }
            Encoding::Plain | Encoding::Unknown(_) => self.decompressed.extend_from_slice(bytes),
        }
        Ok(())
    }
}

#[cfg(test)]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(bytes: &[u8], step: usize) -> io::Result<Vec<Line>> {
        let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
        for bytes in bytes.chunks(step) {
            splitter.feed(bytes)?;
            lines.extend(std::iter::from_fn(|| splitter.next()));
        }
        splitter.end()?;
        lines.extend(std::iter::from_fn(|| splitter.next()));
        Ok(lines)
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_with_and_without_an_end() {
        assert_eq!(lines(b"", 1).unwrap(), []);
        assert_eq!(lines(b"a", 1).unwrap(), [whole("a")]);
        assert_eq!(lines(b"a\n\n \nbc\n", 2).unwrap(), [whole("a"), whole("bc")]);
        assert_eq!(lines(b"a\nbc", 100).unwrap(), [whole("a"), whole("bc")]);
    }

    #[test]
    fn a_line_that_is_too_long_loses_no_other() {
        let text = format!("a\n{}\nb\n{}", "x".repeat(MAX_LINE + 1), "y".repeat(MAX_LINE));
        let expected = [whole("a"), Line::TooLong, whole("b"), whole(&"y".repeat(MAX_LINE))];
        assert_eq!(lines(text.as_bytes(), MAX_STEP).unwrap(), expected);
        assert_eq!(lines(&gzip(text.as_bytes()), MAX_STEP).unwrap(), expected);
    }

    #[test]
    fn gzip_that_is_cut_off_or_corrupt_is_an_error() {
        let compressed = gzip("a line\n".repeat(1_000).as_bytes());
        assert!(lines(&compressed[..compressed.len() - 9], 7).is_err());
        let mut corrupt = compressed;
        corrupt[12] ^= 0xff;
        assert!(lines(&corrupt, 7).is_err());
    }

    proptest! {
        #[test]
        fn steps_make_no_difference(
            texts in proptest::collection::vec("[a-z]{1,40}", 0..40), step in 1_usize..200, members in 1_usize..4,
        ) {
            let expected: Vec<Line> = texts.iter().map(|text| whole(text)).collect();
            let plain = texts.iter().map(|text| format!("{text}\n")).collect::<String>();
            prop_assert_eq!(&lines(plain.as_bytes(), step).unwrap(), &expected);
            // Firehose puts compressed pieces one behind the other.
            let cut = plain.len() / members;
            let mut compressed = Vec::new();
            for member in plain.as_bytes().chunks(cut.max(1)) {
                compressed.extend(gzip(member));
            }
            prop_assert_eq!(&lines(&compressed, step).unwrap(), &expected);
        }
    }
}
