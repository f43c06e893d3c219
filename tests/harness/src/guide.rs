//! The operations guide: what it shows is what tests run.

use std::fs;

/// The text of `docs/operations.md`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn operations_guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The one block of the guide that begins with the line `first`, behind that line.
///
/// # Panics
/// When there is none, or more than one.
#[must_use]
pub fn guide_block(first: &str) -> String {
    let guide = operations_guide();
    // Between pairs of fences lies a block; its language stands before the end of the first line.
    let blocks: Vec<_> = guide
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n')?.1.strip_prefix(first))
        .collect();
    let [block] = blocks[..] else {
        panic!("{} blocks of the guide begin with `{first}`", blocks.len());
    };
    block.trim_start_matches('\n').to_owned()
}
