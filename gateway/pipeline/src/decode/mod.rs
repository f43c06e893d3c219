//! From what a partner sends to what the scanners and splitters read.
//!
//! A [`Decoding`] takes off what was put around a body, one stage after the other: gzip, base64, a character
//! set. Before these, the part that is the body is taken out of a multipart one, which a [`Multipart`] reads. Both take bytes in any pieces
//! and are asked for what comes out of them, so that a small piece that becomes a large one is never in
//! memory as a whole. How a body was cut changes neither what it becomes nor the code of its fault.
//!
//! ```
//! use quayside_pipeline::decode::{DecodeSpec, Decoding};
//! let spec: DecodeSpec = serde_json::from_str(r#"{"stages": ["base64", {"charset": "windows-1252"}]}"#).expect("a spec");
//! let decode = spec.compile().expect("no fault");
//! let mut decoding = Decoding::new(&decode, None);
//! let (mut body, mut text): (&[u8], Vec<u8>) = (b"5PY=", Vec::new());
//! while decoding.pull(&mut body, &mut text).expect("base64 so far") {}
//! while decoding.finish(&mut text).expect("all of it") {}
//! assert_eq!(text, "äö".as_bytes());
//! ```

mod base64;
mod charset;
mod gzip;
mod multipart;
mod parts;
mod quoted;
#[cfg(test)]
mod tests;
mod text;

use quayside_model::Fault;
use serde::Deserialize;

pub(crate) use self::text::{Decoder, Encoding, Sink};
use self::{
    base64::Base64,
    charset::Charset,
    gzip::Gunzip,
    parts::{PartType, Parts},
};
pub use self::{
    multipart::{BodyPart, Event, Multipart, PartHead, PartLimits},
    parts::{MultipartSpec, Others},
};
use crate::{
    Invalid,
    chain::{Chain, Stage},
    codes,
};

/// How bodies are decoded, as it is configured. [`DecodeSpec::compile`](Self::compile) checks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSpec {
    /// Which part of a multipart body is the body, if they are multipart. It comes before the stages.
    pub multipart: Option<MultipartSpec>,
    /// What is taken off, in this order: what the sender put around last comes first.
    #[serde(default)]
    pub stages: Vec<StageSpec>,
    /// How many bytes a body may have after each stage. Default: 1 GiB.
    pub max_bytes: Option<u64>,
    /// How many times as long as before a body may be after each stage, beyond its first 64 KiB. Default: 200.
    pub max_ratio: Option<u64>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageSpec {
    /// gzip, of one member or several.
    Gzip,
    /// base64 with the standard alphabet; line ends and spaces in it are passed over.
    Base64,
    /// A character set by its name on the web, as in `windows-1252`; what comes out is UTF-8. A byte order mark
    /// says more than the name.
    Charset(String),
}

/// Stages that can be used.
#[derive(Debug)]
pub struct Decode {
    multipart: Option<MultipartSpec>,
    stages: Vec<Known>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Gzip,
    Base64,
    Charset(&'static encoding_rs::Encoding),
}

/// How far a body may grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 1024 * 1024 * 1024,
            ratio: 200,
        }
    }
}

impl Limits {
    /// Below this many bytes the ratio is not looked at: short texts compress well.
    const FREE: u64 = 64 * 1024;

    /// Refuses `after` bytes that came from `before` if these are too many for so few.
    fn growth(&self, before: u64, after: u64) -> Result<(), Invalid> {
        if after <= Self::FREE || after / self.ratio <= before {
            return Ok(());
        }
        let detail = format!("the body grows to more than {} times its size", self.ratio);
        Err(Invalid::new(codes::EXPANSION, before, detail))
    }
}

impl DecodeSpec {
    /// The most stages.
    const STAGES: usize = 8;

    /// Compiles the stages.
    ///
    /// # Errors
    /// Every fault, at its key.
    pub fn compile(&self) -> Result<Decode, Vec<Fault>> {
        let multipart = self.multipart.as_ref();
        let mut faults: Vec<Fault> = multipart
            .and_then(MultipartSpec::fault)
            .into_iter()
            .collect();
        let mut fault = |path: &[&str], message: String| {
            faults.push(Fault::error(codes::DECODE, path, message))
        };
        let default = Limits::default();
        let limits = Limits {
            bytes: self.max_bytes.unwrap_or(default.bytes),
            ratio: self.max_ratio.unwrap_or(default.ratio),
        };
        if self.stages.len() > Self::STAGES {
            fault(
                &["stages"],
                format!("a body has {} stages at most", Self::STAGES),
            );
        }
        let mut stages = Vec::with_capacity(self.stages.len());
        for (number, stage) in self.stages.iter().enumerate() {
            let at = number.to_string();
            if matches!(stages.last(), Some(Known::Charset(_))) {
                fault(
                    &["stages", &at],
                    "behind a `charset` there is text, and nothing to decode".to_owned(),
                );
            }
            match stage {
                StageSpec::Gzip => stages.push(Known::Gzip),
                StageSpec::Base64 => stages.push(Known::Base64),
                StageSpec::Charset(name) => {
                    match encoding_rs::Encoding::for_label_no_replacement(name.as_bytes()) {
                        Some(encoding) => stages.push(Known::Charset(encoding)),
                        None => fault(
                            &["stages", &at],
                            format!("there is no character set `{name}`"),
                        ),
                    }
                }
            }
        }
        for (key, value) in [("max_bytes", limits.bytes), ("max_ratio", limits.ratio)] {
            if value == 0 {
                fault(&[key], format!("`{key}` is 1 at least"));
            }
        }
        if faults.is_empty() {
            Ok(Decode {
                multipart: self.multipart.clone(),
                stages,
                limits,
            })
        } else {
            Err(faults)
        }
    }
}

/// Decodes one body. After the first error it is of no more use: drop it.
#[derive(Debug)]
pub struct Decoding {
    chain: Chain,
    part_type: PartType,
}

impl Decode {
    /// Whether bodies are multipart, so that the one in it has a type of its own.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.multipart.is_some()
    }

    /// Whether stages are taken off, so that the type of what was around says nothing of what is inside.
    #[must_use]
    pub fn has_stages(&self) -> bool {
        !self.stages.is_empty()
    }
}

impl Decoding {
    /// Decodes a body of the type `content_type` as `decode` says.
    #[must_use]
    pub fn new(decode: &Decode, content_type: Option<&str>) -> Self {
        let stages = decode.stages.iter().map(|known| -> Box<dyn Stage> {
            match known {
                Known::Gzip => Box::new(Gunzip::new(decode.limits)),
                Known::Base64 => Box::new(Base64::default()),
                Known::Charset(encoding) => Box::new(Charset::new(encoding)),
            }
        });
        let part_type = PartType::default();
        let front = decode.multipart.as_ref().map(|spec| -> Box<dyn Stage> {
            Box::new(Parts::new(spec, content_type, part_type.clone()))
        });
        Self {
            chain: Chain::behind(front, stages, decode.limits.bytes),
            part_type,
        }
    }

    /// The content type of the part that is the body, when it has begun and has one.
    #[must_use]
    pub fn part_type(&self) -> Option<&str> {
        self.part_type.get().map(String::as_str)
    }

    /// Takes bytes from the front of `bytes` and adds about 64 KiB of what they become to `out`, or less.
    /// Whether it is to be called again, with the rest of `bytes`, before more bytes come.
    ///
    /// # Errors
    /// Why the body cannot be decoded further.
    pub fn pull(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Invalid> {
        self.chain.pull(bytes, out)
    }

    /// Ends the body, and adds to `out` as [`Decoding::pull`] does. Whether it is to be called again.
    ///
    /// # Errors
    /// Why the body, which is whole now, cannot be decoded.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool, Invalid> {
        self.chain.finish(out)
    }
}
