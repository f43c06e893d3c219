//! The document that a map makes, written while its values are found.

pub(super) mod json;
pub(super) mod xml;

use super::{
    limits,
    scalar::Scalar,
    work::{Stop, Work},
};
use crate::codes;

/// Refuses a value that is too long, and counts the work to write it.
fn weigh(value: &Scalar, work: &mut Work) -> Result<(), Stop> {
    let bytes = value.text().len();
    if bytes > limits::VALUE_BYTES {
        let most = limits::VALUE_BYTES;
        let detail = format!("the value has {bytes} bytes, and {most} are the most");
        return Err(Stop::new(codes::MAP_OUTPUT, detail));
    }
    work.charge(bytes as u64 / 256)
}

/// Refuses a document that is too long.
fn fits(document: &str) -> Result<(), Stop> {
    if document.len() <= limits::OUTPUT_BYTES {
        return Ok(());
    }
    let detail = format!("it has more than {} bytes", limits::OUTPUT_BYTES);
    Err(Stop::new(codes::MAP_OUTPUT, detail))
}
