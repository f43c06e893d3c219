//! Inflating gzip piece by piece, so that a small request can never become a large allocation.

use std::io::Write;

use bytes::{Buf, Bytes};
use flate2::write::MultiGzDecoder;
use quayside_adapter_api::AdapterError;

use crate::error::{BAD_GZIP, invalid, too_large};

/// How much of the wire is inflated before the limits are looked at: deflate grows at most 1032 times.
const STEP: usize = 256;

/// How large an inflated piece becomes before it is handed on.
const PIECE: usize = 64 * 1024;

/// Below this many inflated bytes the ratio is not looked at: short texts compress well.
const RATIO_FREE: u64 = 64 * 1024;

/// How far inflation may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Inflated bytes.
    pub(crate) inflated: u64,
    /// Inflated bytes for each byte on the wire.
    pub(crate) ratio: u64,
}

/// Inflates one body.
pub(crate) struct Inflate {
    decoder: MultiGzDecoder<Vec<u8>>,
    limits: Limits,
    wire: u64,
    inflated: u64,
    pending: Bytes,
}

impl Inflate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            limits,
            wire: 0,
            inflated: 0,
            pending: Bytes::new(),
        }
    }

    /// Takes a piece of the wire, when [`Inflate::next_piece`] has given all of the one before.
    pub(crate) fn feed(&mut self, wire: Bytes) {
        debug_assert!(
            self.pending.is_empty(),
            "the piece before is inflated first"
        );
        self.pending = wire;
    }

    /// The next inflated piece of what was fed, or nothing when more has to be fed.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>, AdapterError> {
        while !self.pending.is_empty() && self.decoder.get_ref().len() < PIECE {
            let step = self.pending.len().min(STEP);
            let taken = self
                .decoder
                .write(&self.pending[..step])
                .map_err(malformed)?;
            if taken == 0 {
                return Err(invalid(
                    BAD_GZIP,
                    "something follows the end of the gzip stream",
                ));
            }
            self.pending.advance(taken);
            self.wire += taken as u64;
            self.check_limits()?;
        }
        Ok(self.take_output())
    }

    /// The last piece, when the wire is at its end.
    pub(crate) fn finish(&mut self) -> Result<Option<Bytes>, AdapterError> {
        if self.wire == 0 {
            return Err(invalid(BAD_GZIP, "an empty content is no gzip stream"));
        }
        self.decoder.try_finish().map_err(malformed)?;
        self.check_limits()?;
        Ok(self.take_output())
    }

    fn check_limits(&self) -> Result<(), AdapterError> {
        let inflated = self.inflated + self.decoder.get_ref().len() as u64;
        if inflated > self.limits.inflated {
            let max = self.limits.inflated;
            return Err(too_large(format!(
                "the content inflates to more than {max} bytes"
            )));
        }
        if inflated > RATIO_FREE && inflated / self.limits.ratio > self.wire {
            let max = self.limits.ratio;
            return Err(too_large(format!(
                "the content inflates to more than {max} times its size"
            )));
        }
        Ok(())
    }

    fn take_output(&mut self) -> Option<Bytes> {
        let output = std::mem::take(self.decoder.get_mut());
        self.inflated += output.len() as u64;
        (!output.is_empty()).then(|| output.into())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that map_err asks for"
)]
fn malformed(error: std::io::Error) -> AdapterError {
    invalid(BAD_GZIP, error.to_string())
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::error::TOO_LARGE;

    const WIDE: Limits = Limits {
        inflated: 1 << 20,
        ratio: 2000,
    };

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(wire: &[u8], limits: Limits, chunk: usize) -> Result<Vec<u8>, AdapterError> {
        let mut inflate = Inflate::new(limits);
        let mut out = Vec::new();
        for piece in wire.chunks(chunk) {
            inflate.feed(Bytes::copy_from_slice(piece));
            while let Some(piece) = inflate.next_piece()? {
                assert!(
                    piece.len() <= PIECE + STEP * 1040,
                    "a piece of {}",
                    piece.len()
                );
                out.extend_from_slice(&piece);
            }
        }
        while let Some(piece) = inflate.finish()? {
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }

    #[test]
    fn content_comes_out_as_it_went_in() {
        let content: Vec<u8> = (0..300_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect();
        let wire = gzip(&content);
        let two = [gzip(b"ab"), gzip(b"cd")].concat();
        for chunk in [1, 7, 4096, usize::MAX] {
            assert_eq!(inflate(&wire, WIDE, chunk).as_deref(), Ok(&content[..]));
            assert_eq!(inflate(&two, WIDE, chunk).as_deref(), Ok(&b"abcd"[..]));
        }
    }

    #[test]
    fn a_bomb_is_cut_at_either_limit() {
        let bomb = gzip(&vec![0; 10 << 20]);
        let by_size = Limits {
            inflated: 1 << 20,
            ratio: 2000,
        };
        let by_ratio = Limits {
            inflated: 1 << 30,
            ratio: 100,
        };
        for limits in [by_size, by_ratio] {
            let error = inflate(&bomb, limits, usize::MAX).expect_err("a bomb");
            assert_eq!(error.code, TOO_LARGE);
        }
        let small = gzip(&[b' '; 60_000]);
        assert!(
            inflate(&small, by_ratio, usize::MAX).is_ok(),
            "a short text compresses well"
        );
    }

    #[test]
    fn what_is_no_gzip_is_refused() {
        let wire = gzip(b"hello hello hello");
        let mut flipped = wire.clone();
        let crc = wire.len() - 6;
        flipped[crc] ^= 1;
        let trailing = [&wire[..], b"more"].concat();
        for bad in [
            &b""[..],
            b"hello",
            &wire[..wire.len() - 3],
            &flipped,
            &trailing,
        ] {
            let error = inflate(bad, WIDE, usize::MAX).expect_err("no gzip");
            assert_eq!(error.code, BAD_GZIP, "{bad:?}");
        }
    }
}
