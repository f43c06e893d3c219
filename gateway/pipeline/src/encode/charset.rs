//! From UTF-8 to a character set.

use encoding_rs::{EncoderResult, Encoding};

use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
    declaration::Declaration,
    decode::{Decoder, Encoding as Unicode, Sink},
};

/// Converts text, and the encoding that an XML declaration says. A character that the set does not have is a fault: a `?` in its place would be a guess.
pub(super) struct Charset {
    /// Gives whole characters.
    text: Decoder,
    encoder: Encoder,
}

struct Encoder {
    name: &'static str,
    encoder: encoding_rs::Encoder,
    declaration: Declaration,
    /// How much text was encoded, in bytes of UTF-8.
    offset: u64,
    out: Vec<u8>,
}

impl std::fmt::Debug for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Charset");
        shown
            .field("name", &self.encoder.name)
            .finish_non_exhaustive()
    }
}

impl Charset {
    pub(super) fn new(encoding: &'static Encoding) -> Self {
        Self {
            text: Decoder::default(),
            encoder: Encoder {
                name: encoding.name(),
                encoder: encoding.new_encoder(),
                declaration: Declaration::new(Some(encoding.name())),
                offset: 0,
                out: Vec::new(),
            },
        }
    }
}

impl Encoder {
    fn encode(&mut self, text: Vec<u8>, last: bool) -> Result<(), Invalid> {
        // Only ASCII was put in or left out.
        let text = String::from_utf8(text).expect("the text was UTF-8");
        let mut buffer = [0; 4096];
        let mut done = 0;
        loop {
            let rest = &text[done..];
            let (result, read, written) =
                self.encoder
                    .encode_from_utf8_without_replacement(rest, &mut buffer, last);
            self.out.extend_from_slice(&buffer[..written]);
            done += read;
            match result {
                EncoderResult::InputEmpty => {
                    self.offset += text.len() as u64;
                    return Ok(());
                }
                EncoderResult::OutputFull => {}
                EncoderResult::Unmappable(c) => {
                    let at = self.offset + (done - c.len_utf8()) as u64;
                    let shown = Invalid::quote(c.encode_utf8(&mut [0; 4]));
                    let detail = format!(
                        "{} has no character {shown} (U+{:04X})",
                        self.name,
                        u32::from(c)
                    );
                    return Err(Invalid::new(codes::UNMAPPABLE, at, detail));
                }
            }
        }
    }
}

impl Sink for Encoder {
    fn text(&mut self, text: &str, _: u64) -> Result<(), Invalid> {
        let mut passed = Vec::with_capacity(text.len());
        self.declaration.pass(text.as_bytes(), &mut passed);
        self.encode(passed, false)
    }

    fn encoding(&mut self, _: Unicode) -> Result<(), Invalid> {
        Ok(())
    }
}

impl Stage for Charset {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE / 2));
        *bytes = rest;
        let pushed = self.text.push(piece, &mut self.encoder);
        out.append(&mut self.encoder.out);
        pushed
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        std::mem::take(&mut self.text).finish(&mut self.encoder)?;
        let mut rest = Vec::new();
        self.encoder.declaration.finish(&mut rest);
        let ended = self.encoder.encode(rest, true);
        out.append(&mut self.encoder.out);
        ended
    }
}
