//! JSON (RFC 8259), checked while it streams by.
//!
//! Nothing is held but the key or promoted value at hand and one flag per nesting level, so a document of
//! any length costs the same.

mod number;
mod records;
mod track;

use quayside_model::{Code, Text};

pub(crate) use self::records::Recorder;
use self::{
    number::Number,
    track::{Tracker, Value},
};
use crate::{
    Invalid, Limits, codes,
    decode::{Encoding, Sink},
    found::Found,
    scanner::{Numbered, Scanned},
    split::Record,
};

/// Reads one document.
#[derive(Debug)]
pub(crate) struct JsonScanner<'a> {
    limits: Limits,
    state: State,
    /// The open containers: `true` for an object.
    open: Vec<bool>,
    trackers: Vec<Tracker<'a>>,
    /// The key or promoted value at hand, as far as it has come.
    token: String,
    /// Whether the value at hand is promoted.
    keep: bool,
    token_start: u64,
    /// The length of the token at hand, kept or not.
    run: u64,
    /// The first half of a surrogate pair, waiting for the second.
    high: Option<u16>,
    /// Cuts records out of the document, if that is what is wanted.
    recorder: Option<Box<Recorder<'a>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`.
    ValueOrEnd,
    /// After `{`.
    KeyOrEnd,
    Key,
    Colon,
    /// After a value in a container.
    CommaOrEnd,
    String {
        key: bool,
    },
    Escape {
        key: bool,
    },
    Unicode {
        key: bool,
        digits: u8,
        unit: u16,
    },
    Number(Number),
    Literal {
        word: &'static str,
        at: usize,
    },
    /// After the document.
    End,
}

impl Sink for JsonScanner<'_> {
    fn text(&mut self, text: &str, offset: u64) -> Result<(), Invalid> {
        let mut done = 0;
        while done < text.len() {
            let at = offset + done as u64;
            let used = match self.state {
                State::String { key } => self.string(&text[done..], key, at)?,
                _ => {
                    let used = self.byte(text.as_bytes()[done], at)?;
                    usize::from(used)
                }
            };
            if let Some(recorder) = &mut self.recorder {
                recorder.pass(&text[done..done + used]);
            }
            done += used;
        }
        Ok(())
    }

    fn encoding(&mut self, encoding: Encoding) -> Result<(), Invalid> {
        match encoding {
            Encoding::Utf8 => Ok(()),
            Encoding::Utf16 { .. } => Err(Invalid::new(
                codes::ENCODING,
                0,
                "JSON is exchanged in UTF-8",
            )),
        }
    }
}

impl<'a> JsonScanner<'a> {
    pub(crate) fn new(expected: Vec<Numbered<'a>>, limits: Limits) -> Self {
        Self {
            limits,
            state: State::Value,
            open: Vec::new(),
            trackers: expected.into_iter().map(Tracker::new).collect(),
            token: String::new(),
            keep: false,
            token_start: 0,
            run: 0,
            high: None,
            recorder: None,
        }
    }

    /// Reads one document and cuts records out of it.
    pub(crate) fn with_recorder(
        expected: Vec<Numbered<'a>>,
        limits: Limits,
        recorder: Recorder<'a>,
    ) -> Self {
        Self {
            recorder: Some(Box::new(recorder)),
            ..Self::new(expected, limits)
        }
    }

    /// The record that ended last, once.
    pub(crate) fn ready(&mut self) -> Option<Record> {
        self.recorder.as_mut()?.ready()
    }

    /// Ends the document at `offset`.
    pub(crate) fn finish(mut self, offset: u64) -> Result<Scanned, Invalid> {
        if let State::Number(number) = self.state
            && number.whole()
            && self.open.is_empty()
        {
            self.scalar(Value::Number)?;
        }
        if self.state != State::End {
            let detail = match self.open.last() {
                _ if self.token_start == 0 && offset == 0 => "the body is empty",
                Some(true) => "the document ends inside of an object",
                Some(false) => "the document ends inside of an array",
                None => "the document ends before its value does",
            };
            return Err(Invalid::new(codes::INCOMPLETE, offset, detail));
        }
        let scanned = track::choose(self.trackers, offset)?;
        if let Some(recorder) = &self.recorder {
            recorder.finish(scanned.properties.len(), offset)?;
        }
        Ok(scanned)
    }

    /// One byte outside of strings. Says whether it was used: a number ends at a byte that is not its.
    fn byte(&mut self, byte: u8, at: u64) -> Result<bool, Invalid> {
        match self.state {
            State::Number(number) => return self.number(number, byte, at),
            State::Literal { word, at: place } => self.literal(word, place, byte, at)?,
            State::Escape { key } => self.escape(key, byte, at)?,
            State::Unicode { key, digits, unit } => self.unicode(key, digits, unit, byte, at)?,
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
            _ if byte < 0x20 => return Err(control(at)),
            State::End => {
                return Err(Invalid::new(
                    codes::TRAILING,
                    at,
                    "there is content after the document",
                ));
            }
            State::Colon if byte == b':' => self.state = State::Value,
            State::KeyOrEnd | State::Key if byte == b'"' => {
                self.begin(State::String { key: true }, at)
            }
            State::KeyOrEnd | State::CommaOrEnd if byte == b'}' => self.close(true, at)?,
            State::ValueOrEnd | State::CommaOrEnd if byte == b']' => self.close(false, at)?,
            State::CommaOrEnd if byte == b',' => {
                if self.open.last() == Some(&true) {
                    self.state = State::Key;
                } else {
                    self.next_element(at)?;
                }
            }
            State::Value => self.value(byte, at)?,
            State::ValueOrEnd => {
                self.next_element(at)?;
                self.value(byte, at)?;
            }
            _ => return Err(syntax(at, &self.wanted())),
        }
        Ok(true)
    }

    fn begin(&mut self, state: State, at: u64) {
        self.state = state;
        self.token.clear();
        self.token_start = at;
        self.run = 0;
    }

    fn value(&mut self, byte: u8, at: u64) -> Result<(), Invalid> {
        self.record(at)?;
        match byte {
            b'{' => return self.container(true, at),
            b'[' => return self.container(false, at),
            b'"' => self.begin(State::String { key: false }, at),
            b't' => self.begin(
                State::Literal {
                    word: "true",
                    at: 1,
                },
                at,
            ),
            b'f' => self.begin(
                State::Literal {
                    word: "false",
                    at: 1,
                },
                at,
            ),
            b'n' => self.begin(
                State::Literal {
                    word: "null",
                    at: 1,
                },
                at,
            ),
            b'-' | b'0'..=b'9' => {
                self.begin(State::Number(Number::begin(byte)), at);
                self.token.push(char::from(byte));
            }
            _ => return Err(syntax(at, "a value")),
        }
        self.keep = self.trackers.iter().any(Tracker::wants_value);
        Ok(())
    }

    /// Begins a record, if the value that begins is one.
    fn record(&mut self, at: u64) -> Result<(), Invalid> {
        let Some(recorder) = self.recorder.as_mut().filter(|r| r.at_record()) else {
            return Ok(());
        };
        let found = self.trackers.first().map(Tracker::found);
        let count = found.map_or(0, Found::count);
        let found = || found.map_or(Ok(Vec::new()), |found| found.so_far(at));
        recorder.begin(at, (count, found))
    }

    fn container(&mut self, object: bool, at: u64) -> Result<(), Invalid> {
        if self.open.len() == self.limits.depth {
            let detail = "objects and arrays are nested deeper than the limit";
            return Err(Invalid::new(codes::TOO_DEEP, at, detail));
        }
        self.open.push(object);
        self.state = if object {
            State::KeyOrEnd
        } else {
            State::ValueOrEnd
        };
        self.recording(|recorder| recorder.open(object, at))?;
        track::each(&mut self.trackers, |tracker| tracker.open(at))
    }

    fn close(&mut self, object: bool, at: u64) -> Result<(), Invalid> {
        if self.open.last() != Some(&object) {
            return Err(syntax(at, &self.wanted()));
        }
        self.open.pop();
        self.trackers.iter_mut().for_each(Tracker::close);
        if let Some(recorder) = &mut self.recorder {
            recorder.close();
        }
        self.after_value();
        Ok(())
    }

    fn next_element(&mut self, at: u64) -> Result<(), Invalid> {
        track::each(&mut self.trackers, |tracker| tracker.element(at))?;
        self.recording(|recorder| recorder.element(at))?;
        self.state = State::Value;
        Ok(())
    }

    fn recording(
        &mut self,
        event: impl FnOnce(&mut Recorder<'a>) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.recorder
            .as_mut()
            .map_or(Ok(()), |recorder| event(recorder))
    }

    fn after_value(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.after_value();
        }
        self.state = if self.open.is_empty() {
            State::End
        } else {
            State::CommaOrEnd
        };
    }

    /// A whole value that is no container.
    fn scalar(&mut self, value: Value) -> Result<(), Invalid> {
        let (token, at) = (&self.token, self.token_start);
        track::each(&mut self.trackers, |tracker| {
            tracker.scalar(value, token, at)
        })?;
        self.recording(|recorder| recorder.scalar(at))?;
        self.after_value();
        Ok(())
    }

    fn string(&mut self, rest: &str, key: bool, at: u64) -> Result<usize, Invalid> {
        let stops = |b: u8| b == b'"' || b == b'\\' || b < 0x20;
        let end = rest.bytes().position(stops).unwrap_or(rest.len());
        if end > 0 {
            self.no_half(at)?;
            self.append(&rest[..end], key)?;
        }
        match rest.as_bytes().get(end) {
            None => return Ok(end),
            Some(b'\\') => self.state = State::Escape { key },
            Some(b'"') => {
                self.no_half(at + end as u64)?;
                self.end_string(key)?;
            }
            Some(_) => return Err(control(at + end as u64)),
        }
        Ok(end + 1)
    }

    fn end_string(&mut self, key: bool) -> Result<(), Invalid> {
        if !key {
            return self.scalar(Value::Text);
        }
        let (token, at) = (&self.token, self.token_start);
        track::each(&mut self.trackers, |tracker| tracker.member(token, at))?;
        if let Some(recorder) = &mut self.recorder {
            recorder.member(token, at)?;
        }
        self.state = State::Colon;
        Ok(())
    }

    /// Adds `text` to the token at hand, within the limits.
    fn append(&mut self, text: &str, key: bool) -> Result<(), Invalid> {
        self.run += text.len() as u64;
        let limit = if key {
            self.limits.name_bytes as u64
        } else {
            self.limits.text_bytes
        };
        if self.run > limit {
            let detail = if key {
                "a key is longer than the limit"
            } else {
                "a text is longer than the limit"
            };
            return Err(Invalid::new(codes::TOO_LONG, self.token_start, detail));
        }
        // One byte beyond the bound is enough to know that the value does not fit.
        if key || (self.keep && self.token.len() <= Text::MAX) {
            let room = if key {
                text.len()
            } else {
                Text::MAX + 1 - self.token.len()
            };
            self.token.push_str(&text[..text.floor_char_boundary(room)]);
            if text.len() > room {
                self.token
                    .extend(std::iter::repeat_n(' ', Text::MAX + 1 - self.token.len()));
            }
        }
        Ok(())
    }

    fn escape(&mut self, key: bool, byte: u8, at: u64) -> Result<(), Invalid> {
        let c = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.state = State::Unicode {
                    key,
                    digits: 0,
                    unit: 0,
                };
                return Ok(());
            }
            _ => return Err(syntax(at, "one of `\"\\/bfnrtu` after `\\`")),
        };
        self.no_half(at)?;
        self.state = State::String { key };
        self.append(c.encode_utf8(&mut [0; 4]), key)
    }

    fn unicode(
        &mut self,
        key: bool,
        digits: u8,
        unit: u16,
        byte: u8,
        at: u64,
    ) -> Result<(), Invalid> {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(syntax(at, "four hexadecimal digits after `\\u`"));
        };
        let unit = unit << 4 | u16::try_from(digit).expect("a hexadecimal digit is below 16");
        if digits < 3 {
            self.state = State::Unicode {
                key,
                digits: digits + 1,
                unit,
            };
            return Ok(());
        }
        self.state = State::String { key };
        match (self.high.take(), unit) {
            (None, 0xd800..0xdc00) => {
                self.high = Some(unit);
                Ok(())
            }
            (high, _) => {
                let decoded = char::decode_utf16(high.into_iter().chain([unit])).next();
                let c = decoded.and_then(Result::ok).ok_or_else(|| lone(at))?;
                self.append(c.encode_utf8(&mut [0; 4]), key)
            }
        }
    }

    /// Refuses a first half that nothing can follow any more.
    fn no_half(&self, at: u64) -> Result<(), Invalid> {
        if self.high.is_some() {
            Err(lone(at))
        } else {
            Ok(())
        }
    }

    fn number(&mut self, number: Number, byte: u8, at: u64) -> Result<bool, Invalid> {
        if let Some(next) = number.next(byte) {
            self.state = State::Number(next);
            self.append(char::from(byte).encode_utf8(&mut [0; 4]), false)?;
            return Ok(true);
        }
        if !number.whole() || byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-') {
            return Err(syntax(
                at,
                "a number of the form `-12.5e3`, without leading zeros",
            ));
        }
        self.scalar(Value::Number)?;
        Ok(false)
    }

    fn literal(
        &mut self,
        word: &'static str,
        place: usize,
        byte: u8,
        at: u64,
    ) -> Result<(), Invalid> {
        if word.as_bytes()[place] != byte {
            return Err(syntax(at, "`true`, `false` or `null`"));
        }
        if place + 1 < word.len() {
            self.state = State::Literal {
                word,
                at: place + 1,
            };
            return Ok(());
        }
        self.token.push_str(word);
        self.scalar(if word == "null" {
            Value::Null
        } else {
            Value::Boolean
        })
    }

    fn wanted(&self) -> String {
        let wanted = match (self.state, self.open.last()) {
            (State::Colon, _) => "`:`",
            (State::Key, _) => "a key in `\"`",
            (State::KeyOrEnd, _) => "a key in `\"`, or `}`",
            (State::CommaOrEnd, Some(true)) => "`,` or `}`",
            (State::CommaOrEnd, _) => "`,` or `]`",
            _ => "a value",
        };
        wanted.to_owned()
    }
}

fn syntax(at: u64, wanted: &str) -> Invalid {
    Invalid::new(codes::JSON_SYNTAX, at, format!("expected {wanted}"))
}

fn control(at: u64) -> Invalid {
    Invalid::new(
        codes::CHARACTER,
        at,
        "a control character that JSON wants escaped",
    )
}

fn lone(at: u64) -> Invalid {
    let code: Code = codes::LONE_SURROGATE;
    Invalid::new(code, at, "half of a surrogate pair")
}

#[cfg(test)]
mod tests;
