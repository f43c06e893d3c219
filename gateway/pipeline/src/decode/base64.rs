//! base64 (RFC 4648) with the standard alphabet, padded.

use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
};

/// Decodes base64. Line ends, spaces and tabs in it are passed over.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// The bits of the group at hand, and of how many characters they are.
    bits: u32,
    characters: u8,
    /// How many `=` have come.
    padding: u8,
    offset: u64,
}

impl Base64 {
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let value = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return Ok(()),
            b'=' => return self.pad(out),
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(self.fault("a character that is not of the alphabet")),
        };
        if self.padding > 0 {
            return Err(self.fault("something follows the `=` at the end"));
        }
        self.bits = self.bits << 6 | u32::from(value);
        self.characters += 1;
        if self.characters == 4 {
            let [_, group @ ..] = self.bits.to_be_bytes();
            out.extend_from_slice(&group);
            self.bits = 0;
            self.characters = 0;
        }
        Ok(())
    }

    /// A `=`: the group at hand ends with the first one.
    fn pad(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let needed = match self.characters {
            2 => 2,
            3 => 1,
            _ => return Err(self.fault("a `=` where no group is to be filled")),
        };
        if self.padding == needed {
            return Err(self.fault("more `=` than the last group needs"));
        }
        self.padding += 1;
        if self.padding < needed {
            return Ok(());
        }
        let bits = self.bits << (6 * u32::from(needed));
        let [_, group @ ..] = bits.to_be_bytes();
        let (whole, rest) = group.split_at(3 - usize::from(needed));
        if rest.iter().any(|&byte| byte != 0) {
            return Err(self.fault("the last group has bits that are of no byte"));
        }
        out.extend_from_slice(whole);
        Ok(())
    }

    fn fault(&self, detail: &str) -> Invalid {
        Invalid::new(codes::BASE64, self.offset, detail)
    }
}

impl Stage for Base64 {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE));
        *bytes = rest;
        for &byte in piece {
            self.byte(byte, out)?;
            self.offset += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Invalid> {
        let open = match (self.characters, self.padding) {
            (0, 0) | (2, 2) | (3, 1) => return Ok(()),
            _ => "the body ends in the middle of a group of four",
        };
        Err(self.fault(open))
    }
}
