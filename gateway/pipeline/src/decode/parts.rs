//! The body out of a multipart one, as the first stage of decoding.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use quayside_model::Fault;
use serde::Deserialize;

use super::multipart::{BodyPart, Event, Multipart, PartLimits};
use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
};

/// How multipart bodies are read, as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultipartSpec {
    /// Which part is the body. Default: the first one.
    #[serde(default)]
    pub body: BodyPart,
    /// What becomes of the other parts. Default: they are refused.
    #[serde(default)]
    pub others: Others,
}

/// What becomes of the parts that are not the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Others {
    /// A body that has any is refused.
    #[default]
    Refuse,
    /// They are left out.
    Drop,
}

impl MultipartSpec {
    /// Why it cannot work.
    pub(super) fn fault(&self) -> Option<Fault> {
        let message = match &self.body {
            BodyPart::Number(0) => "parts count from 1",
            BodyPart::Type(name) if !name.contains('/') => {
                "a type is one of media, as in `application/xml`"
            }
            BodyPart::Id(id) if id.is_empty() => "an id is not empty",
            _ => return None,
        };
        Some(Fault::error(codes::DECODE, &["multipart", "body"], message))
    }
}

/// The content type of the part that is the body, once it has begun.
pub(super) type PartType = Arc<OnceLock<String>>;

/// Takes the body out.
#[derive(Debug)]
pub(super) struct Parts {
    spec: MultipartSpec,
    state: State,
    part_type: PartType,
    /// Whether the part at hand is the body.
    in_body: bool,
    /// The number of the first part that is not.
    other: Option<u64>,
    offset: u64,
}

#[derive(Debug)]
enum State {
    /// Nobody says what the boundary is: the first line does, so far this.
    FirstLine(Vec<u8>),
    Reading(Box<Multipart>),
    /// The content type is none of a multipart body.
    Faulty(Invalid),
}

impl Parts {
    /// Reads a body of the type `content_type`, and tells `part_type` the one of the part.
    pub(super) fn new(
        spec: &MultipartSpec,
        content_type: Option<&str>,
        part_type: PartType,
    ) -> Self {
        let state = match content_type {
            Some(content_type) if says_something(content_type) => {
                match Multipart::new(content_type, spec.body.clone(), PartLimits::default()) {
                    Ok(reader) => State::Reading(Box::new(reader)),
                    Err(invalid) => State::Faulty(invalid),
                }
            }
            _ => State::FirstLine(Vec::new()),
        };
        Self {
            spec: spec.clone(),
            state,
            part_type,
            in_body: false,
            other: None,
            offset: 0,
        }
    }

    /// Reads the boundary from the first line, when that is whole.
    fn begin(&mut self, bytes: &mut &[u8], ended: bool) -> Result<(), Invalid> {
        /// `--`, the longest boundary, and the end of the line.
        const LONGEST: usize = 2 + 70 + 2;
        let State::FirstLine(line) = &mut self.state else {
            return Ok(());
        };
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            line.push(byte);
            if byte == b'\n' || line.len() > LONGEST {
                break;
            }
        }
        let whole = line.ends_with(b"\n");
        if !whole && !ended && line.len() <= LONGEST {
            return Ok(());
        }
        let boundary = std::str::from_utf8(line.trim_ascii_end()).ok();
        let boundary = boundary.and_then(|line| line.strip_prefix("--"));
        // A quote would end it in the content type, and no boundary has one.
        let boundary = boundary.filter(|boundary| whole && !boundary.contains(['"', '\\']));
        let Some(boundary) = boundary else {
            let detail = "no content type tells the boundary, and the first line is none";
            return Err(Invalid::new(codes::MULTIPART, 0, detail));
        };
        let content_type = format!("multipart/mixed; boundary=\"{boundary}\"");
        let mut reader =
            Multipart::new(&content_type, self.spec.body.clone(), PartLimits::default())?;
        let mut first = &line[..];
        // The delimiter begins a part and gives nothing.
        reader.pull(&mut first, &mut Vec::new())?;
        self.state = State::Reading(Box::new(reader));
        Ok(())
    }

    /// Notes what happens.
    fn note(&mut self, event: Event) {
        match event {
            Event::End => self.in_body = false,
            Event::Part(head) => {
                self.in_body = head.body;
                match (head.body, head.content_type) {
                    (true, Some(content_type)) => {
                        self.part_type.get_or_init(|| content_type);
                    }
                    (true, None) => {}
                    (false, _) => {
                        self.other.get_or_insert(head.number);
                    }
                }
            }
        }
    }
}

/// Whether a content type is one that somebody has given on purpose, as [`Kind::sniff`](crate::Kind::sniff) has it.
fn says_something(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    let media = media.trim().to_ascii_lowercase();
    !matches!(
        media.as_str(),
        "" | "application/octet-stream" | "binary/octet-stream" | "text/plain"
    )
}

impl Stage for Parts {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (had, length) = (out.len(), bytes.len());
        self.begin(bytes, false)?;
        let mut dropped = Vec::new();
        while !bytes.is_empty() && out.len() - had < PIECE {
            let reader = match &mut self.state {
                State::Reading(reader) => reader,
                State::Faulty(invalid) => return Err(invalid.clone()),
                State::FirstLine(_) => break,
            };
            let target = if self.in_body {
                &mut *out
            } else {
                &mut dropped
            };
            let event = reader.pull(bytes, target)?;
            dropped.clear();
            if let Some(event) = event {
                self.note(event);
            }
        }
        self.offset += (length - bytes.len()) as u64;
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        self.begin(&mut &[][..], true)?;
        let mut dropped = Vec::new();
        loop {
            let reader = match &mut self.state {
                State::Reading(reader) => reader,
                State::Faulty(invalid) => return Err(invalid.clone()),
                State::FirstLine(_) => return Ok(()),
            };
            let target = if self.in_body {
                &mut *out
            } else {
                &mut dropped
            };
            match reader.finish(target)? {
                Some(event) => self.note(event),
                None => break,
            }
        }
        match (self.spec.others, self.other) {
            (Others::Refuse, Some(number)) => {
                let detail = format!("part {number} is not the body, and others are refused");
                Err(Invalid::new(codes::OTHER_PARTS, self.offset, detail))
            }
            _ => Ok(()),
        }
    }
}
