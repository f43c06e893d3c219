//! From bytes in any pieces to text: the scanners never see half a character.

use quayside_model::Code;

use crate::{Invalid, codes};

/// Decodes UTF-8, and UTF-16 that starts with a byte order mark. Holds back at most three bytes.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    encoding: Option<Encoding>,
    /// Bytes of a character, or of a byte order mark, that is not whole yet.
    tail: Vec<u8>,
    /// How much text was given out, in bytes of UTF-8, the mark included.
    offset: u64,
}

/// How characters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// One to four bytes.
    Utf8,
    /// Units of two bytes.
    Utf16 {
        /// Whether the first byte of a unit is the higher one.
        big: bool,
    },
}

/// Takes decoded text with its offset.
pub(crate) trait Sink {
    /// Takes the next piece, which starts at `offset`.
    fn text(&mut self, text: &str, offset: u64) -> Result<(), Invalid>;
    /// Learns the encoding, before the first piece.
    fn encoding(&mut self, encoding: Encoding) -> Result<(), Invalid>;
}

const MARK_UTF8: &[u8] = b"\xef\xbb\xbf";
const MARK_BIG: &[u8] = b"\xfe\xff";
const MARK_LITTLE: &[u8] = b"\xff\xfe";

impl Decoder {
    /// Decodes `bytes` into `sink`. Text before a fault is given out before the fault is returned, so
    /// that the first fault of a body is the same however it was cut.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Invalid> {
        match self.encoding {
            Some(Encoding::Utf8) => self.utf8(bytes, sink),
            Some(Encoding::Utf16 { big }) => self.utf16(bytes, big, sink),
            None => {
                self.tail.extend_from_slice(bytes);
                if self.tail.len() < MARK_UTF8.len() {
                    Ok(())
                } else {
                    self.begin(sink)
                }
            }
        }
    }

    /// Ends the body.
    pub(crate) fn finish(mut self, sink: &mut dyn Sink) -> Result<u64, Invalid> {
        if self.encoding.is_none() && !self.tail.is_empty() {
            self.begin(sink)?;
        }
        if self.tail.is_empty() {
            return Ok(self.offset);
        }
        Err(self.fault(codes::BAD_UTF, "the body ends in the middle of a character"))
    }

    fn begin(&mut self, sink: &mut dyn Sink) -> Result<(), Invalid> {
        let bytes = std::mem::take(&mut self.tail);
        let big = bytes.starts_with(MARK_BIG);
        if big || bytes.starts_with(MARK_LITTLE) {
            self.encoding = Some(Encoding::Utf16 { big });
            sink.encoding(Encoding::Utf16 { big })?;
            self.offset = MARK_UTF8.len() as u64;
            return self.utf16(&bytes[MARK_BIG.len()..], big, sink);
        }
        if bytes.starts_with(b"<\0") || bytes.starts_with(b"\0<") {
            return Err(self.fault(
                codes::ENCODING,
                "UTF-16 has to start with a byte order mark",
            ));
        }
        self.encoding = Some(Encoding::Utf8);
        sink.encoding(Encoding::Utf8)?;
        let text = bytes.strip_prefix(MARK_UTF8).unwrap_or(&bytes);
        self.offset = (bytes.len() - text.len()) as u64;
        self.utf8(text, sink)
    }

    fn utf8(&mut self, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Invalid> {
        while !self.tail.is_empty() {
            let Some((&first, rest)) = bytes.split_first() else {
                return Ok(());
            };
            self.tail.push(first);
            bytes = rest;
            let tail = std::mem::take(&mut self.tail);
            match std::str::from_utf8(&tail) {
                Ok(text) => self.give(text, sink)?,
                Err(error) if error.error_len().is_none() => self.tail = tail,
                Err(_) => return Err(self.bad_utf8()),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.give(text, sink),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).expect("checked by the error itself");
                self.give(valid, sink)?;
                if error.error_len().is_some() {
                    return Err(self.bad_utf8());
                }
                self.tail.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    fn utf16(&mut self, bytes: &[u8], big: bool, sink: &mut dyn Sink) -> Result<(), Invalid> {
        self.tail.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.tail);
        let unit = |pair: &[u8]| match big {
            true => u16::from_be_bytes([pair[0], pair[1]]),
            false => u16::from_le_bytes([pair[0], pair[1]]),
        };
        let even = bytes.len() & !1;
        let mut text = String::with_capacity(bytes.len());
        let mut bad = false;
        let mut taken = 0;
        for decoded in char::decode_utf16(bytes[..even].chunks_exact(2).map(unit)) {
            match decoded {
                Ok(c) => {
                    text.push(c);
                    taken += 2 * c.len_utf16();
                }
                Err(error) => {
                    // The first half at the very end may get its second half with the next piece.
                    let half = error.unpaired_surrogate() < 0xdc00 && taken + 2 == even;
                    bad = !half;
                    break;
                }
            }
        }
        self.give(&text, sink)?;
        if bad {
            return Err(self.fault(codes::BAD_UTF, "half of a surrogate pair in UTF-16"));
        }
        self.tail.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn give(&mut self, text: &str, sink: &mut dyn Sink) -> Result<(), Invalid> {
        if text.is_empty() {
            return Ok(());
        }
        let offset = self.offset;
        self.offset += text.len() as u64;
        sink.text(text, offset)
    }

    fn bad_utf8(&self) -> Invalid {
        self.fault(codes::BAD_UTF, "a byte that is not valid UTF-8")
    }

    fn fault(&self, code: Code, detail: &str) -> Invalid {
        Invalid::new(code, self.offset, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(String);

    impl Sink for Kept {
        fn text(&mut self, text: &str, _: u64) -> Result<(), Invalid> {
            self.0.push_str(text);
            Ok(())
        }
        fn encoding(&mut self, _: Encoding) -> Result<(), Invalid> {
            Ok(())
        }
    }

    fn decode(bytes: &[u8], piece: usize) -> (String, Option<Code>) {
        let (mut decoder, mut kept) = (Decoder::default(), Kept::default());
        let mut all = || {
            for piece in bytes.chunks(piece) {
                decoder.push(piece, &mut kept)?;
            }
            std::mem::take(&mut decoder).finish(&mut kept)
        };
        let code = all().err().map(|invalid| invalid.code);
        (kept.0, code)
    }

    #[test]
    fn every_cut_gives_the_same_text() {
        let text = "<a>äö€𝄞</a>";
        let utf16 = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            let units = text.encode_utf16().flat_map(bytes);
            mark.iter().copied().chain(units).collect::<Vec<u8>>()
        };
        let marked = [MARK_UTF8, text.as_bytes()].concat();
        for bytes in [
            text.as_bytes().to_vec(),
            marked,
            utf16(MARK_BIG, u16::to_be_bytes),
            utf16(MARK_LITTLE, u16::to_le_bytes),
        ] {
            for piece in 1..=bytes.len() {
                assert_eq!(
                    decode(&bytes, piece),
                    (text.to_owned(), None),
                    "pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn faults_come_after_the_text_before_them() {
        for (bytes, text, code) in [
            (&b"ab\xffcd"[..], "ab", codes::BAD_UTF),
            (b"abc\xe2\x82", "abc", codes::BAD_UTF),
            (b"a\xed\xa0\x80bc", "a", codes::BAD_UTF),
            (b"\xff\xfea\0\0\xdcb\0", "a", codes::BAD_UTF),
            (b"\xff\xfea\0\0\xd8", "a", codes::BAD_UTF),
            (b"<\0a\0", "", codes::ENCODING),
        ] {
            for piece in 1..=bytes.len() {
                assert_eq!(
                    decode(bytes, piece),
                    (text.to_owned(), Some(code)),
                    "{bytes:?}"
                );
            }
        }
    }
}
