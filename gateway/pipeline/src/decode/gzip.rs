//! gzip, a little at a time.

use std::io::Write as _;

use flate2::write::MultiGzDecoder;

use super::Limits;
use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
};

/// How much is inflated before the limits are looked at: deflate grows at most 1032 times.
const STEP: usize = 256;

/// Inflates one body.
#[derive(Debug)]
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    limits: Limits,
    taken: u64,
    given: u64,
}

impl Gunzip {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            limits,
            taken: 0,
            given: 0,
        }
    }

    /// Moves what was inflated to `out`.
    fn give(&mut self, out: &mut Vec<u8>) -> usize {
        let inflated = self.decoder.get_mut();
        let length = inflated.len();
        self.given += length as u64;
        out.append(inflated);
        length
    }

    fn damaged(&self, detail: impl Into<String>) -> Invalid {
        Invalid::new(codes::COMPRESSED, self.taken, detail)
    }
}

impl Stage for Gunzip {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let mut given = 0;
        while !bytes.is_empty() && given < PIECE {
            // Steps are counted from the start of the body, so that the limits see the same however it was cut.
            let step = STEP - (self.taken % STEP as u64) as usize;
            let step = &bytes[..step.min(bytes.len())];
            let written = self.decoder.write(step);
            let written = written.map_err(|error| self.damaged(error.to_string()));
            given += self.give(out);
            let written = written?;
            if written == 0 {
                return Err(self.damaged("something follows the end of the gzip stream"));
            }
            self.taken += written as u64;
            *bytes = &bytes[written..];
            if self.taken.is_multiple_of(STEP as u64) {
                self.limits.growth(self.taken, self.given)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        if self.taken == 0 {
            return Err(self.damaged("an empty body is no gzip stream"));
        }
        let finished = self.decoder.try_finish();
        let finished = finished.map_err(|error| self.damaged(error.to_string()));
        self.give(out);
        finished?;
        self.limits.growth(self.taken, self.given)
    }
}
