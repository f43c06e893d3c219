//! What an XML declaration says of the encoding, when that changes.

/// Rewrites the declaration at the very start of a text that goes by.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// The encoding that it is to say; nothing: it says none, which is UTF-8.
    encoding: Option<&'static str>,
    /// The text so far, as long as it may be a declaration.
    begun: Option<Vec<u8>>,
}

impl Declaration {
    /// The declaration is to say `encoding`.
    pub(crate) fn new(encoding: Option<&'static str>) -> Self {
        Self {
            encoding,
            begun: Some(Vec::new()),
        }
    }

    /// Passes `text` on to `out`.
    pub(crate) fn pass(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let Some(begun) = &mut self.begun else {
            out.extend_from_slice(text);
            return;
        };
        begun.extend_from_slice(text);
        if let Some(rewritten) = rewritten(begun, self.encoding) {
            out.extend_from_slice(&rewritten);
            self.begun = None;
        }
    }

    /// The text ends.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.begun.take().unwrap_or_default());
    }
}

/// `text` with the encoding in its XML declaration; nothing if it is too short to tell whether it has one.
fn rewritten(text: &[u8], encoding: Option<&str>) -> Option<Vec<u8>> {
    /// No XML declaration is longer, but for spaces.
    const LONGEST: usize = 256;
    const BEGIN: &[u8] = b"<?xml";
    let begins = text.starts_with(&BEGIN[..text.len().min(BEGIN.len())]);
    // `<?xml-stylesheet` is none.
    let looks_like = begins && text.get(BEGIN.len()).is_none_or(u8::is_ascii_whitespace);
    let first = &text[..text.len().min(LONGEST)];
    let end = first.windows(2).position(|pair| pair == b"?>");
    match end {
        _ if !looks_like => Some(text.to_vec()),
        None if text.len() < LONGEST => None,
        None => Some(text.to_vec()),
        Some(end) => {
            let declaration = std::str::from_utf8(&text[..end]).ok();
            let place = declaration.and_then(|text| {
                let none = |end| end..end;
                said(text, "encoding").or_else(|| said(text, "version").map(|said| none(said.end)))
            });
            let Some(place) = place else {
                return Some(text.to_vec());
            };
            let written = encoding.map(|encoding| format!(" encoding=\"{encoding}\""));
            let written = written.unwrap_or_default();
            Some([&text[..place.start], written.as_bytes(), &text[place.end..]].concat())
        }
    }
}

/// Where `NAME="..."` is in a declaration, with the space before it.
fn said(declaration: &str, name: &str) -> Option<std::ops::Range<usize>> {
    let name = declaration.find(name)?;
    let value = declaration[name..].find(['"', '\''])? + name;
    let quote = char::from(declaration.as_bytes()[value]);
    let end = declaration[value + 1..].find(quote)? + value + 2;
    let start = declaration[..name].trim_end().len();
    (start < name).then_some(start..end)
}
