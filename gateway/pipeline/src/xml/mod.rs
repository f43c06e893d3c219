//! XML 1.0 with namespaces, checked while it streams by.
//!
//! Written for this purpose instead of driving a pull parser: it takes pieces of any size, holds at most
//! one tag, and refuses what pull parsers pass (undefined entities, `]]>`, names, characters). The tests
//! compare it with such a parser.

mod collect;
mod follow;
pub(crate) mod names;
mod records;
mod scope;
mod skip;
mod tag;

use quayside_model::{Code, Text};

use self::{collect::Collector, scope::Scope, tag::StartTag};
pub(crate) use self::{
    names::{any_forbidden, escape, is_name},
    records::{Recorder, in_time},
    scope::RESERVED,
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
pub(crate) struct XmlScanner<'a> {
    limits: Limits,
    expected: Vec<Numbered<'a>>,
    encoding: Encoding,
    state: State,
    stage: Stage,
    /// The tag, instruction or reference at hand, as far as it has come.
    pending: String,
    /// Where it began.
    token_start: u64,
    /// The length of the run of text at hand.
    run: u64,
    /// How many `]` the text at hand ends with, 2 at most.
    brackets: u8,
    /// Whether the text at hand ends with a carriage return.
    after_return: bool,
    scope: Scope,
    message_type: Option<Text>,
    /// Which of the expected types the document is of.
    chosen: Option<usize>,
    collector: Option<Collector<'a>>,
    /// Cuts records out of the document, if that is what is wanted.
    recorder: Option<Box<Recorder<'a>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Reference,
    /// Begun with `<`: what it is depends on the next characters.
    Markup,
    Tag {
        quote: Option<u8>,
    },
    Instruction,
    Comment {
        dashes: u8,
    },
    CData {
        brackets: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was seen: only here an XML declaration may stand.
    Start,
    Prolog,
    Root,
    Epilog,
}

impl Sink for XmlScanner<'_> {
    fn text(&mut self, text: &str, offset: u64) -> Result<(), Invalid> {
        let mut done = 0;
        while done < text.len() {
            let rest = &text[done..];
            let at = offset + done as u64;
            let used = match self.state {
                State::Text => self.plain(rest, at),
                State::Reference => self.reference(rest, at),
                State::Markup => self.markup(rest),
                State::Tag { quote } => self.tag(rest, quote),
                State::Instruction => self.instruction(rest),
                State::Comment { dashes } => self.comment(rest, dashes, at),
                State::CData { brackets } => self.cdata(rest, brackets, at),
            }?;
            if let Some(recorder) = &mut self.recorder {
                recorder.pass(&rest[..used]);
            }
            done += used;
        }
        Ok(())
    }

    fn encoding(&mut self, encoding: Encoding) -> Result<(), Invalid> {
        self.encoding = encoding;
        Ok(())
    }
}

impl<'a> XmlScanner<'a> {
    pub(crate) fn new(expected: Vec<Numbered<'a>>, limits: Limits) -> Self {
        Self {
            limits,
            expected,
            encoding: Encoding::Utf8,
            state: State::Text,
            stage: Stage::Start,
            pending: String::new(),
            token_start: 0,
            run: 0,
            brackets: 0,
            after_return: false,
            scope: Scope::default(),
            message_type: None,
            chosen: None,
            collector: None,
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
    pub(crate) fn finish(self, offset: u64) -> Result<Scanned, Invalid> {
        if self.state != State::Text || self.stage != Stage::Epilog {
            let detail = match self.scope.innermost() {
                Some(name) => format!("the document ends inside of {}", Invalid::quote(name)),
                None if self.state == State::Text => "there is no root element".to_owned(),
                None => "the document ends in the middle of a tag".to_owned(),
            };
            return Err(Invalid::new(codes::INCOMPLETE, offset, detail));
        }
        let properties = self
            .collector
            .map_or(Ok(Vec::new()), |c| c.finish(offset))?;
        if let Some(recorder) = &self.recorder {
            recorder.finish(properties.len(), offset)?;
        }
        Ok(Scanned {
            message_type: self.message_type,
            expected: self.chosen,
            properties,
        })
    }

    /// Text up to the next markup or reference. Returns how much was used, as all of these do.
    fn plain(&mut self, rest: &str, at: u64) -> Result<usize, Invalid> {
        let skipped = skip::blocks_without(rest.as_bytes(), |b| b == b'<' || b == b'&');
        let end = rest.as_bytes()[skipped..]
            .iter()
            .position(|b| matches!(b, b'<' | b'&'))
            .map_or(rest.len(), |end| skipped + end);
        self.characters(&rest[..end], at, true)?;
        let Some(&next) = rest.as_bytes().get(end) else {
            return Ok(end);
        };
        self.token_start = at + end as u64;
        self.pending.clear();
        self.brackets = 0;
        self.after_return = false;
        if next == b'<' {
            self.run = 0;
            self.pending.push('<');
            self.state = State::Markup;
        } else if self.stage == Stage::Root {
            self.state = State::Reference;
        } else {
            return Err(self.outside());
        }
        Ok(end + 1)
    }

    /// Checks a run of character data and gives it to the collector.
    fn characters(&mut self, run: &str, at: u64, plain: bool) -> Result<(), Invalid> {
        if run.is_empty() {
            return Ok(());
        }
        let room = self.limits.text_bytes.saturating_sub(self.run);
        let over = run.len() as u64 > room;
        let checked = if over {
            &run.as_bytes()[..room as usize]
        } else {
            run.as_bytes()
        };
        let mut done = 0;
        while done < checked.len() {
            if self.stage == Stage::Root {
                let ordinary = skip::blocks_without(&checked[done..], names::extraordinary);
                if ordinary > 0 {
                    self.brackets = 0;
                    done += ordinary;
                }
            }
            // One block byte by byte before blocks are tried again: text full of brackets must not pay
            // for a block with every byte.
            let stop = checked.len().min(done + skip::BLOCK);
            for i in done..stop {
                self.character(&run.as_bytes()[i..], at + i as u64, plain)?;
            }
            done = stop;
        }
        if over {
            let detail = "a run of text is longer than the limit";
            return Err(Invalid::new(codes::TOO_LONG, at + room, detail));
        }
        self.run += run.len() as u64;
        if self.stage == Stage::Start {
            self.stage = Stage::Prolog;
        }
        self.collect(run)
    }

    /// Checks the character that `rest` begins with; of one with several bytes, each of them.
    fn character(&mut self, rest: &[u8], at: u64, plain: bool) -> Result<(), Invalid> {
        match rest[0] {
            b' ' | b'\t' | b'\n' | b'\r' => self.brackets = 0,
            _ if self.stage != Stage::Root => {
                self.token_start = at;
                return Err(self.outside());
            }
            b']' => self.brackets = (self.brackets + 1).min(2),
            b'>' if plain && self.brackets == 2 => {
                let detail = "`]]>` in text has to be written `]]&gt;`";
                return Err(Invalid::new(codes::XML_SYNTAX, at, detail));
            }
            _ if names::forbidden(rest) => return Err(forbidden(at)),
            _ => self.brackets = 0,
        }
        Ok(())
    }

    /// Gives text to the collector with line ends as XML wants them: one line feed each.
    fn collect(&mut self, run: &str) -> Result<(), Invalid> {
        let Some(collector) = self.collector.as_mut().filter(|c| c.collecting()) else {
            self.after_return = run.ends_with('\r');
            return Ok(());
        };
        let mut rest = if self.after_return {
            run.strip_prefix('\n').unwrap_or(run)
        } else {
            run
        };
        self.after_return = run.ends_with('\r');
        while let Some((line, after)) = rest.split_once('\r') {
            collector.text(line)?;
            collector.text("\n")?;
            rest = after.strip_prefix('\n').unwrap_or(after);
        }
        collector.text(rest)
    }

    fn reference(&mut self, rest: &str, at: u64) -> Result<usize, Invalid> {
        /// Longer than every reference that is defined; leading zeros included.
        const LONGEST: usize = 32;
        let end = rest
            .find(|c: char| !names::in_reference(c))
            .unwrap_or(rest.len());
        if self.pending.len() + end > LONGEST {
            return Err(self.fault(codes::ENTITY, "an entity reference is too long"));
        }
        self.pending.push_str(&rest[..end]);
        match rest.as_bytes().get(end) {
            None => Ok(end),
            Some(b';') => {
                let c = names::resolve(&self.pending).map_err(|(code, d)| self.fault(code, d))?;
                self.state = State::Text;
                self.run += 1;
                if let Some(collector) = &mut self.collector {
                    collector.text(c.encode_utf8(&mut [0; 4]))?;
                }
                Ok(end + 1)
            }
            Some(_) => {
                let detail = "`&` has to be written `&amp;`, and a reference ends with `;`";
                Err(Invalid::new(codes::XML_SYNTAX, at + end as u64, detail))
            }
        }
    }

    fn markup(&mut self, rest: &str) -> Result<usize, Invalid> {
        let Some(c) = rest.chars().next() else {
            return Ok(0);
        };
        self.pending.push(c);
        self.state = match self.pending.as_str() {
            "<?" => State::Instruction,
            "<!--" => State::Comment { dashes: 0 },
            "<![CDATA[" if self.stage == Stage::Root => State::CData { brackets: 0 },
            "<![CDATA[" => return Err(self.outside()),
            "<!DOCTYPE" => {
                return Err(self.fault(codes::DTD, "document type declarations are not read"));
            }
            begun
                if ["<!--", "<![CDATA[", "<!DOCTYPE"]
                    .iter()
                    .any(|m| m.starts_with(begun)) =>
            {
                State::Markup
            }
            _ if self.pending.len() == 1 + c.len_utf8() && (c == '/' || names::starts_name(c)) => {
                State::Tag { quote: None }
            }
            _ => return Err(self.fault(codes::XML_SYNTAX, "`<` has to be written `&lt;` in text")),
        };
        if self.stage == Stage::Start && !matches!(self.state, State::Markup | State::Instruction) {
            self.stage = Stage::Prolog;
        }
        Ok(c.len_utf8())
    }

    fn tag(&mut self, rest: &str, mut quote: Option<u8>) -> Result<usize, Invalid> {
        let mut end = None;
        for (i, byte) in rest.bytes().enumerate() {
            match (byte, quote) {
                (b'<', _) | (b'>', None) => {
                    end = Some((i, byte));
                    break;
                }
                (b'"' | b'\'', None) => quote = Some(byte),
                (_, Some(open)) if byte == open => quote = None,
                _ => {}
            }
        }
        let used = end.map_or(rest.len(), |(i, _)| i + 1);
        self.hold(&rest[..used])?;
        match end {
            Some((_, b'<')) => Err(self.fault(codes::XML_SYNTAX, "a tag has a `<` inside")),
            Some(_) => {
                self.state = State::Text;
                let tag = std::mem::take(&mut self.pending);
                let done = self.whole_tag(&tag);
                // Given back for its capacity.
                self.pending = tag;
                done.map(|()| used)
            }
            None => {
                self.state = State::Tag { quote };
                Ok(used)
            }
        }
    }

    fn instruction(&mut self, rest: &str) -> Result<usize, Invalid> {
        let mut before = self.pending.as_bytes()[self.pending.len() - 1];
        let mut end = None;
        for (i, byte) in rest.bytes().enumerate() {
            if byte == b'>' && before == b'?' {
                end = Some(i + 1);
                break;
            }
            before = byte;
        }
        let used = end.unwrap_or(rest.len());
        self.hold(&rest[..used])?;
        if end.is_some() {
            self.state = State::Text;
            let declared =
                tag::instruction(&self.pending, self.stage == Stage::Start, self.encoding);
            declared.map_err(|(code, detail)| self.fault(code, detail))?;
            if self.stage == Stage::Start {
                self.stage = Stage::Prolog;
            }
        }
        Ok(used)
    }

    fn comment(&mut self, rest: &str, mut dashes: u8, at: u64) -> Result<usize, Invalid> {
        for (i, byte) in rest.bytes().enumerate() {
            match byte {
                b'>' if dashes == 2 => {
                    self.state = State::Text;
                    return Ok(i + 1);
                }
                _ if dashes == 2 => {
                    return Err(self.fault(codes::XML_SYNTAX, "a comment has `--` inside"));
                }
                b'-' => dashes += 1,
                _ if names::forbidden(&rest.as_bytes()[i..]) => {
                    return Err(forbidden(at + i as u64));
                }
                _ => dashes = 0,
            }
        }
        self.state = State::Comment { dashes };
        Ok(rest.len())
    }

    fn cdata(&mut self, rest: &str, mut brackets: u8, at: u64) -> Result<usize, Invalid> {
        let used = match rest.as_bytes()[0] {
            b']' if brackets < 2 => {
                brackets += 1;
                1
            }
            b']' => {
                self.characters("]", at, false)?;
                1
            }
            b'>' if brackets == 2 => {
                self.state = State::Text;
                return Ok(1);
            }
            _ => {
                self.characters(&"]]"[..usize::from(brackets)], at, false)?;
                brackets = 0;
                let end = rest.find(']').unwrap_or(rest.len());
                self.characters(&rest[..end], at, false)?;
                end
            }
        };
        self.state = State::CData { brackets };
        Ok(used)
    }

    /// Adds to the token at hand.
    fn hold(&mut self, more: &str) -> Result<(), Invalid> {
        if self.pending.len() + more.len() > self.limits.token_bytes {
            return Err(self.fault(codes::TOO_LONG, "a tag is longer than the limit"));
        }
        self.pending.push_str(more);
        Ok(())
    }

    fn whole_tag(&mut self, tag: &str) -> Result<(), Invalid> {
        let inner = &tag[1..tag.len() - 1];
        if let Some(name) = inner.strip_prefix('/') {
            return self.end(names::trim_end(name));
        }
        let tag = StartTag::parse(inner, &self.limits).map_err(|(code, d)| self.fault(code, d))?;
        self.start(&tag, inner)?;
        if tag.empty {
            self.end(tag.name)
        } else {
            Ok(())
        }
    }

    fn start(&mut self, tag: &StartTag<'_>, raw: &str) -> Result<(), Invalid> {
        let root = match self.stage {
            Stage::Epilog => return Err(self.outside()),
            Stage::Root => false,
            Stage::Start | Stage::Prolog => true,
        };
        self.stage = Stage::Root;
        let at = self.token_start;
        let invalid = |(code, detail): (Code, String)| Invalid::new(code, at, detail);
        self.scope.enter(tag, &self.limits).map_err(invalid)?;
        let (namespace, local) = self.scope.element(tag.name).map_err(invalid)?;
        let attributes = self.scope.attributes(tag).map_err(invalid)?;
        if root {
            let (chosen, message_type, collector) = choose(&self.expected, namespace, local, at)?;
            self.chosen = chosen;
            self.message_type = Some(message_type);
            self.collector = collector;
        }
        if let Some(collector) = &mut self.collector {
            collector.start(namespace, local, &attributes, at)?;
        }
        let recorder = self.recorder.as_mut();
        if let Some(recorder) = recorder
            && recorder.enter(namespace, local)
        {
            let found = self.collector.as_ref().map(Collector::found);
            let count = found.map_or(0, Found::count);
            let found = || found.map_or(Ok(Vec::new()), |found| found.so_far(at));
            recorder.begin(raw, tag, &self.scope, at, (count, found))?;
        }
        Ok(())
    }

    fn end(&mut self, name: &str) -> Result<(), Invalid> {
        match self.scope.innermost() {
            None => return Err(self.outside()),
            Some(open) if open != name => {
                let (name, open) = (Invalid::quote(name), Invalid::quote(open));
                let detail = format!("the end tag {name} closes {open}");
                return Err(self.fault(codes::XML_SYNTAX, detail));
            }
            Some(_) => {}
        }
        if let Some(collector) = &mut self.collector {
            collector.end()?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.leave();
        }
        if self.scope.leave() == 0 {
            self.stage = Stage::Epilog;
        }
        Ok(())
    }

    /// Something that only the root element may hold, before or after it.
    fn outside(&self) -> Invalid {
        match self.stage {
            Stage::Epilog => self.fault(codes::TRAILING, "there is content after the root element"),
            _ => self.fault(
                codes::XML_SYNTAX,
                "there is content before the root element",
            ),
        }
    }

    fn fault(&self, code: Code, detail: impl Into<String>) -> Invalid {
        Invalid::new(code, self.token_start, detail)
    }
}

/// Which expected type a document with this root element is of, what its type is called, and who collects its properties.
fn choose<'a>(
    expected: &[Numbered<'a>],
    namespace: &str,
    local: &str,
    at: u64,
) -> Result<(Option<usize>, Text, Option<Collector<'a>>), Invalid> {
    let name = if namespace.is_empty() {
        local.to_owned()
    } else {
        format!("{namespace}#{local}")
    };
    let is = |wanted: &str| wanted.strip_prefix('#').unwrap_or(wanted) == name;
    let exact = expected
        .iter()
        .find(|(_, (wanted, _))| wanted.is_some_and(is));
    let fitting = exact.or_else(|| expected.iter().find(|(_, (wanted, _))| wanted.is_none()));
    if fitting.is_none() && !expected.is_empty() {
        let detail = format!(
            "a message of type {} is not expected",
            Invalid::quote(&name)
        );
        return Err(Invalid::new(codes::UNEXPECTED_TYPE, at, detail));
    }
    let rules = fitting
        .map(|(_, (_, promotions))| promotions.rules())
        .filter(|rules| !rules.is_empty());
    // Names are limited to far less than a text; a caller's own limits may say otherwise.
    let text = Text::new(name).map_err(|e| Invalid::new(codes::TOO_LONG, at, e.to_string()))?;
    Ok((fitting.map(|(no, _)| *no), text, rules.map(Collector::new)))
}

fn forbidden(at: u64) -> Invalid {
    Invalid::new(codes::CHARACTER, at, "a character that XML forbids")
}

#[cfg(test)]
mod tests;
