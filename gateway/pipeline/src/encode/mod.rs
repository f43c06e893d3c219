//! From a document to what a partner takes: the other direction of [`decode`](crate::decode).
//!
//! ```
//! use quayside_pipeline::encode::{EncodeSpec, Encoding};
//! let spec: EncodeSpec = serde_json::from_str(r#"{"stages": [{"charset": "windows-1252"}, "base64"]}"#).expect("a spec");
//! let encode = spec.compile().expect("no fault");
//! let mut encoding = Encoding::new(&encode);
//! let (mut body, mut sent) = ("äö".as_bytes(), Vec::new());
//! while encoding.pull(&mut body, &mut sent).expect("characters that it has") {}
//! while encoding.finish(&mut sent).expect("all of it") {}
//! assert_eq!(sent, b"5PY=");
//! ```

mod base64;
mod charset;
mod gzip;
#[cfg(test)]
mod tests;

use quayside_model::Fault;
use serde::Deserialize;

use self::{base64::Base64, charset::Charset, gzip::Gzip};
use crate::{
    Invalid,
    chain::{Chain, Stage},
    codes,
};

/// How bodies are encoded, as it is configured. [`EncodeSpec::compile`](Self::compile) checks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeSpec {
    /// What is put around, in this order.
    #[serde(default)]
    pub stages: Vec<EncodeStage>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncodeStage {
    /// gzip. The same body gives the same bytes: it carries no name and no time.
    Gzip,
    /// base64 with the standard alphabet, in one line.
    Base64,
    /// UTF-8 to the character set of this name.
    Charset(String),
}

/// Stages that can be used.
#[derive(Debug)]
pub struct Encode {
    stages: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Gzip,
    Base64,
    Charset(&'static encoding_rs::Encoding),
}

impl EncodeSpec {
    /// The most stages.
    const STAGES: usize = 8;

    /// Compiles the stages.
    ///
    /// # Errors
    /// Every fault, at its key.
    pub fn compile(&self) -> Result<Encode, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |path: &[&str], message: String| {
            faults.push(Fault::error(codes::ENCODE, path, message));
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
            match stage {
                EncodeStage::Gzip => stages.push(Known::Gzip),
                EncodeStage::Base64 => stages.push(Known::Base64),
                EncodeStage::Charset(name) => {
                    if number > 0 {
                        fault(
                            &["stages", &at],
                            "a `charset` comes first: behind other stages there is no text"
                                .to_owned(),
                        );
                    }
                    let encoding = encoding_rs::Encoding::for_label_no_replacement(name.as_bytes());
                    match encoding {
                        Some(encoding) if encoding.output_encoding() == encoding => {
                            stages.push(Known::Charset(encoding));
                        }
                        Some(_) => fault(
                            &["stages", &at],
                            format!("`{name}` can be read, and not written"),
                        ),
                        None => fault(
                            &["stages", &at],
                            format!("there is no character set `{name}`"),
                        ),
                    }
                }
            }
        }
        if faults.is_empty() {
            Ok(Encode { stages })
        } else {
            Err(faults)
        }
    }
}

impl Encode {
    /// The media type of what comes out of a body that has this one.
    #[must_use]
    pub fn content_type(&self, before: Option<&str>) -> Option<String> {
        match self.stages.last() {
            None => before.map(ToOwned::to_owned),
            Some(Known::Gzip) => Some("application/gzip".to_owned()),
            Some(Known::Base64) => Some("text/plain".to_owned()),
            Some(Known::Charset(encoding)) => {
                let media = before?.split(';').next().unwrap_or_default().trim();
                let charset = encoding.name().to_ascii_lowercase();
                Some(format!("{media}; charset={charset}"))
            }
        }
    }
}

/// Encodes one body. After the first error it is of no more use: drop it.
#[derive(Debug)]
pub struct Encoding {
    chain: Chain,
}

impl Encoding {
    /// Encodes a body as `encode` says.
    #[must_use]
    pub fn new(encode: &Encode) -> Self {
        let stages = encode.stages.iter().map(|known| -> Box<dyn Stage> {
            match known {
                Known::Gzip => Box::new(Gzip::default()),
                Known::Base64 => Box::new(Base64::default()),
                Known::Charset(encoding) => Box::new(Charset::new(encoding)),
            }
        });
        // What is sent grows by a third at most, and was bounded when it was taken.
        Self {
            chain: Chain::new(stages, u64::MAX),
        }
    }

    /// Takes bytes from the front of `bytes` and adds about 64 KiB of what they become to `out`, or less.
    /// Whether it is to be called again, with the rest of `bytes`, before more bytes come.
    ///
    /// # Errors
    /// Why the body cannot be encoded further.
    pub fn pull(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Invalid> {
        self.chain.pull(bytes, out)
    }

    /// Ends the body, and adds to `out` as [`Encoding::pull`] does. Whether it is to be called again.
    ///
    /// # Errors
    /// Why the body, which is whole now, cannot be encoded.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool, Invalid> {
        self.chain.finish(out)
    }
}
