//! The page of a deadline: what an agent writes and its process reads right before each effect.
//!
//! Sixteen bytes in memory that both have open. The deadline stands there twice, the second time inverted, so
//! that a reader in the middle of a write sees that it is; a page that does not hold together is no
//! permission.

use std::time::Duration;

use quayside_model::Monotonic;

/// The length of a page in bytes.
pub const LEN: usize = 16;

/// The bytes of `deadline`, in microseconds of boot time.
#[must_use]
pub fn encode(deadline: Monotonic) -> [u8; LEN] {
    let micros = u64::try_from(deadline.since_boot().as_micros()).unwrap_or(u64::MAX);
    let mut page = [0; LEN];
    page[..8].copy_from_slice(&micros.to_ne_bytes());
    page[8..].copy_from_slice(&(!micros).to_ne_bytes());
    page
}

/// The deadline of a page; `None`: it is being written at this moment, or was never.
#[must_use]
pub fn decode(page: [u8; LEN]) -> Option<Monotonic> {
    let number = |at: usize| {
        let bytes = page[at..at + 8].try_into();
        u64::from_ne_bytes(bytes.expect("eight bytes"))
    };
    let (micros, inverted) = (number(0), number(8));
    (micros == !inverted).then(|| Monotonic::from_boot(Duration::from_micros(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_returns_and_a_torn_or_empty_page_is_none() {
        let deadline = Monotonic::from_boot(Duration::from_micros(123_456_789));
        let page = encode(deadline);
        assert_eq!(decode(page), Some(deadline));
        assert_eq!(decode([0; LEN]), None);
        let later = encode(deadline.plus(Duration::from_secs(1)));
        let mut torn = page;
        torn[..8].copy_from_slice(&later[..8]);
        assert_eq!(decode(torn), None);
    }
}
