//! Passing over text in which nothing needs a closer look, many bytes at a time.

/// How many bytes are looked at together. A loop of this length over bytes becomes a few vector
/// instructions; one that leaves at the first hit does not.
pub(super) const BLOCK: usize = 32;

/// The length of the whole blocks at the front of `bytes` that hold no byte that is `special`.
pub(super) fn blocks_without(bytes: &[u8], special: impl Fn(u8) -> bool) -> usize {
    let plain = |block: &&[u8]| !block.iter().fold(false, |any, &byte| any | special(byte));
    BLOCK * bytes.chunks_exact(BLOCK).take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_byte_anywhere_ends_the_blocks_before_it() {
        let mut bytes = vec![b'x'; 3 * BLOCK + 7];
        let stars = |byte| byte == b'*';
        assert_eq!(blocks_without(&bytes, stars), 3 * BLOCK);
        assert_eq!(blocks_without(&bytes[..BLOCK - 1], stars), 0);
        for at in 0..bytes.len() {
            bytes[at] = b'*';
            let whole = (at / BLOCK).min(3) * BLOCK;
            assert_eq!(blocks_without(&bytes, stars), whole, "at {at}");
            bytes[at] = b'x';
        }
    }
}
