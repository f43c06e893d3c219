//! gzip, a little at a time.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use crate::{
    Invalid,
    chain::{PIECE, Stage},
};

/// Compresses one body.
#[derive(Debug)]
pub(super) struct Gzip(GzEncoder<Vec<u8>>);

impl Default for Gzip {
    fn default() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::default()))
    }
}

impl Stage for Gzip {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE));
        *bytes = rest;
        self.0.write_all(piece).expect("memory takes everything");
        out.append(self.0.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        self.0.try_finish().expect("memory takes everything");
        out.append(self.0.get_mut());
        Ok(())
    }
}
