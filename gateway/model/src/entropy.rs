//! Randomness as a parameter.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
};

/// A source of random bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A number from 0 (inclusive) to 1 (exclusive), for jitter.
    fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0
    }
}

/// The operating system's randomness, asked for in blocks: an id must not cost a system call.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

/// Bytes of the operating system that were given to nobody yet.
struct Block {
    bytes: [u8; 512],
    used: usize,
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; 512], used: 512 }) };
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        BLOCK.with_borrow_mut(|block| block.fill(bytes));
    }
}

impl Block {
    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == self.bytes.len() {
                getrandom::fill(&mut self.bytes)
                    .expect("Linux gives random bytes once it has booted");
                self.used = 0;
            }
            let len = bytes.len().min(self.bytes.len() - self.used);
            let (now, later) = bytes.split_at_mut(len);
            now.copy_from_slice(&self.bytes[self.used..self.used + len]);
            self.used += len;
            bytes = later;
        }
    }
}

/// The same bytes for the same seed: for tests and simulations only.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64: a counter and a mixing function, so that threads may share it.
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_gave_is_given_to_one_only() {
        // More than a block at once, and pieces that do not divide a block.
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut bytes = [0; 24];
            SystemEntropy.fill(&mut bytes);
            assert!(seen.insert(bytes), "{bytes:?} came twice");
        }
        let mut long = [0; 1300];
        SystemEntropy.fill(&mut long);
        let pieces: std::collections::HashSet<_> = long.chunks(16).collect();
        assert_eq!(pieces.len(), long.len().div_ceil(16));
    }
}
