//! MIME multipart (RFC 2046): the part that is the body, and those beside it.

use serde::Deserialize;

use super::{base64::Base64, quoted::Quoted};
use crate::{Invalid, chain::Stage, codes};

/// Which part is the body. The first one that fits counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyPart {
    /// The first one.
    #[default]
    First,
    /// The one with this number, from 1.
    Number(u64),
    /// The first one of this media type, as in `application/xml`.
    Type(String),
    /// The one with this `Content-ID`, without `<` and `>`.
    Id(String),
}

/// How much of anything a multipart body may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// How many parts.
    pub parts: u64,
    /// The headers of one part, in bytes.
    pub header_bytes: usize,
}

impl Default for PartLimits {
    fn default() -> Self {
        Self {
            parts: 100,
            header_bytes: 16 * 1024,
        }
    }
}

/// What a part says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartHead {
    /// Its number, from 1.
    pub number: u64,
    /// Whether it is the body.
    pub body: bool,
    /// `Content-Type`, as it stands.
    pub content_type: Option<String>,
    /// `Content-ID`, without `<` and `>`.
    pub id: Option<String>,
    /// The file name of `Content-Disposition`, or else its name. It is what the sender says: no path.
    pub name: Option<String>,
}

/// What happens in a multipart body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part begins. Bytes that come from now on are its.
    Part(PartHead),
    /// The part has ended. Bytes that came with this were its last.
    End,
}

/// Reads one multipart body. After the first error it is of no more use: drop it.
///
/// Parts that are multipart themselves are parts as they are. `Content-Transfer-Encoding` is taken off.
#[derive(Debug)]
pub struct Multipart {
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    choice: BodyPart,
    limits: PartLimits,
    state: State,
    /// Whether the line at hand is content, and no delimiter.
    plain: bool,
    /// Whether the last byte of such a line was a carriage return, which may be of its end.
    held_return: bool,
    /// The end of the line before. It belongs to the delimiter, if one follows.
    line_end: &'static [u8],
    /// The line at hand, as long as it may become a delimiter.
    line: Vec<u8>,
    /// The headers of the part at hand.
    headers: Vec<u8>,
    /// Where the line of the headers at hand begins.
    header_line: usize,
    number: u64,
    chosen: bool,
    transfer: Option<Box<dyn Stage>>,
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In front of the first part.
    Preamble,
    Headers,
    Body,
    /// Behind the last part.
    Epilogue,
}

/// What a whole line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Another part begins.
    Delimiter,
    /// The last part has ended.
    Close,
    Content,
}

impl Multipart {
    /// Reads a body whose `Content-Type` is `content_type`.
    ///
    /// # Errors
    /// QS0263 if that is not multipart with a boundary.
    pub fn new(content_type: &str, choice: BodyPart, limits: PartLimits) -> Result<Self, Invalid> {
        let fault = |detail: &str| Invalid::new(codes::MULTIPART, 0, detail);
        if !media_type(content_type).starts_with("multipart/") {
            return Err(fault("the content type is not multipart"));
        }
        let boundary = parameter(content_type, "boundary");
        let boundary = boundary.ok_or_else(|| fault("the content type has no boundary"))?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
        let fits = (1..=70).contains(&boundary.len())
            && boundary.bytes().all(allowed)
            && !boundary.ends_with(' ');
        if !fits {
            return Err(fault(
                "the boundary is not one of 1 to 70 characters that it may have",
            ));
        }
        Ok(Self {
            delimiter: format!("--{boundary}").into_bytes(),
            choice,
            limits,
            state: State::Preamble,
            plain: false,
            held_return: false,
            line_end: b"",
            line: Vec::new(),
            headers: Vec::new(),
            header_line: 0,
            number: 0,
            chosen: false,
            transfer: None,
            offset: 0,
        })
    }

    /// Takes bytes from the front of `bytes` until something happens, and adds to `out` what is of the part at
    /// hand. Nothing: all bytes are taken and more are needed.
    ///
    /// # Errors
    /// Why the body cannot be read further.
    pub fn pull(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Event>, Invalid> {
        while let Some(&byte) = bytes.first() {
            let (used, event) = match self.state {
                State::Headers => (1, self.header(byte)?),
                State::Epilogue => (bytes.len(), None),
                State::Preamble | State::Body if self.plain => (self.content(bytes, out)?, None),
                State::Preamble | State::Body => (1, self.candidate(byte, out)?),
            };
            self.offset += used as u64;
            *bytes = &bytes[used..];
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Ends the body. To be called until nothing happens: the last part may end with the body.
    ///
    /// # Errors
    /// Why the body, which is whole now, is not of the form that its type says.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<Option<Event>, Invalid> {
        if self.state == State::Body && !self.plain && self.whole() == Whole::Close {
            return self.end_part(State::Epilogue, out);
        }
        match self.state {
            State::Epilogue if self.chosen => Ok(None),
            State::Epilogue => {
                let detail = format!(
                    "none of the {} parts is the one that is chosen",
                    self.number
                );
                Err(Invalid::new(codes::NO_BODY_PART, self.offset, detail))
            }
            State::Preamble => Err(self.fault("no part begins")),
            State::Headers | State::Body => Err(self.fault("the body ends inside of a part")),
        }
    }

    /// One byte of a line that may be a delimiter.
    fn candidate(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<Option<Event>, Invalid> {
        if byte == b'\n' {
            return match self.whole() {
                Whole::Delimiter => self.end_part(State::Headers, out),
                Whole::Close => self.end_part(State::Epilogue, out),
                Whole::Content => {
                    let line_end: &[u8] = match self.line.pop_if(|last| *last == b'\r') {
                        Some(_) => b"\r\n",
                        None => b"\n",
                    };
                    self.flush(out)?;
                    self.line_end = line_end;
                    Ok(None)
                }
            };
        }
        self.line.push(byte);
        if !self.possible() {
            self.plain = true;
            self.held_return = self.line.pop_if(|last| *last == b'\r').is_some();
            self.flush(out)?;
        }
        Ok(None)
    }

    /// Bytes of a line that is no delimiter, up to its end. Returns how many.
    fn content(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Invalid> {
        let special = bytes.iter().position(|&b| matches!(b, b'\r' | b'\n'));
        let run = special.unwrap_or(bytes.len());
        if self.held_return {
            self.held_return = false;
            if bytes[0] != b'\n' {
                self.give(b"\r", out)?;
                return Ok(0);
            }
            self.plain = false;
            self.line_end = b"\r\n";
            return Ok(1);
        }
        self.give(&bytes[..run], out)?;
        match bytes.get(run) {
            None => return Ok(run),
            Some(b'\r') => self.held_return = true,
            Some(_) => {
                self.plain = false;
                self.line_end = b"\n";
            }
        }
        Ok(run + 1)
    }

    /// Whether the line at hand may become a delimiter: with its boundary, `--` if it is the last one, and space.
    fn possible(&self) -> bool {
        /// How much space may be behind a boundary.
        const SPACE: usize = 256;
        let Some(tail) = self.line.strip_prefix(&*self.delimiter) else {
            return self.delimiter.starts_with(&self.line);
        };
        let tail = tail.strip_suffix(b"\r").unwrap_or(tail);
        let space = tail.strip_prefix(b"--").unwrap_or(tail);
        tail == b"-" || (space.len() <= SPACE && space.iter().all(|b| matches!(b, b' ' | b'\t')))
    }

    /// What the line at hand is, if it ends here.
    fn whole(&self) -> Whole {
        match self
            .line
            .strip_prefix(&*self.delimiter)
            .map(<[u8]>::trim_ascii_end)
        {
            Some(b"") => Whole::Delimiter,
            Some(b"--") => Whole::Close,
            _ => Whole::Content,
        }
    }

    /// The line at hand is content, and the end of the one before too.
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let line = std::mem::take(&mut self.line);
        let line_end = std::mem::take(&mut self.line_end);
        self.give(line_end, out)?;
        self.give(&line, out)?;
        self.line = line;
        self.line.clear();
        Ok(())
    }

    /// Adds content of the part at hand to `out`.
    fn give(&mut self, mut content: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        match &mut self.transfer {
            _ if self.state == State::Preamble => {}
            None => out.extend_from_slice(content),
            Some(stage) => {
                while !content.is_empty() {
                    stage
                        .push(&mut content, out)
                        .map_err(|invalid| of_part(self.number, invalid))?;
                }
            }
        }
        Ok(())
    }

    /// A delimiter has ended the part at hand, if there was one.
    fn end_part(&mut self, next: State, out: &mut Vec<u8>) -> Result<Option<Event>, Invalid> {
        let was = std::mem::replace(&mut self.state, next);
        self.line.clear();
        self.line_end = b"";
        self.headers.clear();
        self.header_line = 0;
        if let Some(mut stage) = self.transfer.take() {
            stage
                .finish(out)
                .map_err(|invalid| of_part(self.number, invalid))?;
        }
        Ok((was == State::Body).then_some(Event::End))
    }

    /// One byte of the headers of a part.
    fn header(&mut self, byte: u8) -> Result<Option<Event>, Invalid> {
        if self.headers.len() == self.limits.header_bytes {
            let limit = self.limits.header_bytes;
            let detail = format!(
                "the headers of part {} are longer than {limit} bytes",
                self.number + 1
            );
            return Err(Invalid::new(codes::MULTIPART_LIMIT, self.offset, detail));
        }
        self.headers.push(byte);
        if byte != b'\n' {
            return Ok(None);
        }
        let line = self.headers[self.header_line..].trim_ascii_end();
        if !line.is_empty() {
            self.header_line = self.headers.len();
            return Ok(None);
        }
        if self.number == self.limits.parts {
            let detail = format!("the body has more than {} parts", self.limits.parts);
            return Err(Invalid::new(codes::MULTIPART_LIMIT, self.offset, detail));
        }
        self.number += 1;
        self.state = State::Body;
        self.plain = false;
        self.head().map(|head| Some(Event::Part(head)))
    }

    /// The head of the part at hand, whose headers are whole.
    fn head(&mut self) -> Result<PartHead, Invalid> {
        let mut head = PartHead {
            number: self.number,
            ..PartHead::default()
        };
        let headers = String::from_utf8_lossy(&self.headers).into_owned();
        for (name, value) in self.fields(&headers)? {
            match name.as_str() {
                "content-type" => head.content_type = Some(value),
                "content-id" => {
                    let bare = value.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
                    head.id = Some(bare.unwrap_or(&value).to_owned());
                }
                "content-disposition" => {
                    head.name = parameter(&value, "filename").or_else(|| parameter(&value, "name"));
                }
                "content-transfer-encoding" => self.transfer = self.transfer(&value)?,
                _ => {}
            }
        }
        head.body = !self.chosen && self.choice.fits(&head);
        self.chosen |= head.body;
        Ok(head)
    }

    /// Names, in small letters, and values; lines that begin with space go on with the line before.
    fn fields(&self, headers: &str) -> Result<Vec<(String, String)>, Invalid> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in headers.lines().filter(|line| !line.trim().is_empty()) {
            match (fields.last_mut(), line.split_once(':')) {
                (Some((_, value)), _) if line.starts_with([' ', '\t']) => {
                    value.push(' ');
                    value.push_str(line.trim());
                }
                (_, Some((name, value))) if is_token(name) => {
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                _ => {
                    let detail = format!(
                        "part {}: {} is no header",
                        self.number,
                        Invalid::quote(line)
                    );
                    return Err(self.fault(&detail));
                }
            }
        }
        Ok(fields)
    }

    fn transfer(&self, value: &str) -> Result<Option<Box<dyn Stage>>, Invalid> {
        match value.to_ascii_lowercase().as_str() {
            "" | "7bit" | "8bit" | "binary" => Ok(None),
            "base64" => Ok(Some(Box::new(Base64::default()))),
            "quoted-printable" => Ok(Some(Box::new(Quoted::default()))),
            _ => {
                let shown = Invalid::quote(value);
                Err(self.fault(&format!(
                    "part {}: the transfer encoding {shown} is not known",
                    self.number
                )))
            }
        }
    }

    fn fault(&self, detail: &str) -> Invalid {
        Invalid::new(codes::MULTIPART, self.offset, detail)
    }
}

impl BodyPart {
    fn fits(&self, head: &PartHead) -> bool {
        match self {
            Self::First => true,
            Self::Number(number) => head.number == *number,
            Self::Type(wanted) => {
                // A part without a type is plain text.
                let is = head.content_type.as_deref().unwrap_or("text/plain");
                media_type(is) == media_type(wanted)
            }
            Self::Id(id) => head.id.as_deref() == Some(id),
        }
    }
}

/// A fault in the content of a part; its offset is one in that.
fn of_part(number: u64, mut invalid: Invalid) -> Invalid {
    invalid.detail = format!("part {number}: {}", invalid.detail);
    invalid
}

/// Whether `name` can be the name of a header.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())
}

/// The media type of a content type, in small letters.
fn media_type(content_type: &str) -> String {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// A parameter of a header, without the quotes around it.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (found, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        // Something without `=` before it is no parameter.
        if key.rsplit(';').next()?.trim().eq_ignore_ascii_case(name) {
            return Some(found);
        }
        rest = next.split_once(';')?.1;
    }
}

/// A text up to the quote that ends it, with what it escapes, and what comes after.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((found, &text[at + 1..])),
            '\\' => found.push(characters.next()?.1),
            _ => found.push(c),
        }
    }
    None
}
