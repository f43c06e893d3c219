//! From a configured split to one that works, or to everything that is wrong with it.

mod lines;

use quayside_model::{Fault, Name};

use super::{Batch, Format, SplitLimits, SplitSpec, flat::Flat};
use crate::{
    Kind, Promotions, codes,
    faults::Faults,
    jsonpath::{JsonPath, Step},
    xpath::{Target, XPath, XPathError},
};

/// A split that can be used.
#[derive(Debug)]
pub struct Split {
    pub(in crate::split) how: How,
    pub(in crate::split) limits: SplitLimits,
    batch: Batch,
}

#[derive(Debug)]
pub(in crate::split) enum How {
    Xml { path: XPath, header: Promotions },
    Json { path: Vec<Step>, header: Promotions },
    Flat(Flat),
}

impl Split {
    /// What a faulty record does to the others. To be done by the caller, who alone can take back what went before.
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// The media type of its records.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        match &self.how {
            How::Xml { .. } => "application/xml",
            How::Json { .. } => "application/json",
            How::Flat(flat) => flat.out.media_type(),
        }
    }

    /// What the bodies are that it splits; nothing for lines.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match &self.how {
            How::Xml { .. } => Some(Kind::Xml),
            How::Json { .. } => Some(Kind::Json),
            How::Flat(_) => None,
        }
    }

    /// The properties that every record carries, in the order of their names.
    #[must_use]
    pub fn properties(&self) -> Vec<Name> {
        match &self.how {
            How::Xml { header, .. } | How::Json { header, .. } => {
                header.properties().map(|(name, _)| name.clone()).collect()
            }
            How::Flat(flat) => {
                let promoted = flat.head.iter().flat_map(|head| &head.promote);
                promoted.map(|(name, _)| name.clone()).collect()
            }
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> SplitLimits {
        self.limits
    }
}

impl SplitSpec {
    /// Compiles the split.
    ///
    /// # Errors
    /// Every fault, at its key.
    pub fn compile(&self) -> Result<Split, Vec<Fault>> {
        let mut faults = Faults::new(codes::SPLIT);
        self.foreign_keys(&mut faults);
        let limits = self.limits(&mut faults);
        let how = match self.format {
            Format::Xml => self.xml(&mut faults),
            Format::Json => self.json(&mut faults),
            Format::Csv | Format::Fixed => self.flat(&limits, &mut faults).map(How::Flat),
        };
        match how {
            Some(how) if faults.all.is_empty() => Ok(Split {
                how,
                limits,
                batch: self.batch,
            }),
            _ => Err(faults.all),
        }
    }

    /// Tells of keys that mean nothing in the format: who set them meant something.
    fn foreign_keys(&self, faults: &mut Faults) {
        use Format::{Csv, Fixed, Json, Xml};
        let keys: [(&str, bool, &[Format]); 12] = [
            ("path", self.path.is_some(), &[Xml, Json]),
            ("namespaces", !self.namespaces.is_empty(), &[Xml]),
            ("header", !self.header.is_empty(), &[Xml, Json]),
            ("delimiter", self.delimiter.is_some(), &[Csv]),
            ("quote", self.quote.is_some(), &[Csv]),
            ("names", self.names, &[Csv]),
            ("columns", !self.columns.is_empty(), &[Csv, Fixed]),
            ("record", self.record.is_some(), &[Csv, Fixed]),
            ("tag", self.tag.is_some(), &[Csv, Fixed]),
            ("tag_at", self.tag_at.is_some(), &[Csv, Fixed]),
            ("head", self.head.is_some(), &[Csv, Fixed]),
            ("trailer", self.trailer.is_some(), &[Csv, Fixed]),
        ];
        for (key, given, formats) in keys {
            if given && !formats.contains(&self.format) {
                faults.at(
                    &[key],
                    format!("`{key}` means nothing for {}", in_words(self.format)),
                );
            }
        }
    }

    fn limits(&self, faults: &mut Faults) -> SplitLimits {
        /// A record is held in memory.
        const RECORD_MAX: usize = 64 * 1024 * 1024;
        let default = SplitLimits::default();
        let limits = SplitLimits {
            record_bytes: self.max_record_bytes.unwrap_or(default.record_bytes),
            records: self.max_records.unwrap_or(default.records),
            total_bytes: self.max_total_bytes.unwrap_or(default.total_bytes),
            ..default
        };
        if limits.records == 0 {
            faults.at(
                &["max_records"],
                "a body has to be allowed one record at least",
            );
        }
        if limits.record_bytes == 0 || limits.record_bytes > RECORD_MAX {
            faults.at(
                &["max_record_bytes"],
                format!("a record has 1 to {RECORD_MAX} bytes"),
            );
        }
        if limits.total_bytes == 0 {
            faults.at(
                &["max_total_bytes"],
                "a body has to be allowed one byte at least",
            );
        }
        limits
    }

    fn xml(&self, faults: &mut Faults) -> Option<How> {
        let header = self.promotions(faults);
        let text = self.path_text(faults)?;
        let path = match XPath::parse(text, &self.namespaces) {
            Ok(path) => path,
            Err(XPathError::Unsupported(detail)) => {
                let message = format!("`{text}`: {detail}");
                faults
                    .all
                    .push(Fault::error(codes::XPATH, &["path"], message));
                return None;
            }
            Err(XPathError::Prefix(prefix)) => {
                let message = format!("`{text}`: the prefix `{prefix}` is not declared");
                let fault = Fault::error(codes::UNKNOWN_PREFIX, &["path"], message);
                faults
                    .all
                    .push(fault.with_help("Declare it in `namespaces`."));
                return None;
            }
        };
        if path.target != Target::Content {
            faults.at(&["path"], format!("`{text}` is no element"));
        }
        if path.steps.len() < 2 {
            faults.at(
                &["path"],
                format!("`{text}` is the whole document: name the elements inside"),
            );
        }
        let header = header?;
        for rule in header.rules() {
            if rule.whole.is_some() {
                let message = "what stands around the records is read while the body comes in: write child steps from \
                               the root";
                faults.at(&["header", &rule.name, "xpath"], message);
                continue;
            }
            let inside = rule
                .xpath
                .as_ref()
                .is_some_and(|x| x.steps.starts_with(&path.steps));
            within_header(&rule.name, rule.xpath.is_some(), inside, "xpath", faults);
        }
        Some(How::Xml { path, header })
    }

    fn json(&self, faults: &mut Faults) -> Option<How> {
        let header = self.promotions(faults);
        let text = self.path_text(faults)?;
        let path = match text {
            "$" => Vec::new(),
            _ => match JsonPath::parse(text) {
                Ok(JsonPath(steps)) => steps,
                Err(detail) => {
                    let message = format!("`{text}`: {detail}");
                    faults
                        .all
                        .push(Fault::error(codes::JSONPATH, &["path"], message));
                    return None;
                }
            },
        };
        let header = header?;
        for rule in header.rules() {
            let inside = rule
                .jsonpath
                .as_ref()
                .is_some_and(|j| j.0.starts_with(&path));
            within_header(
                &rule.name,
                rule.jsonpath.is_some(),
                inside,
                "jsonpath",
                faults,
            );
        }
        Some(How::Json { path, header })
    }

    fn path_text(&self, faults: &mut Faults) -> Option<&str> {
        let path = self.path.as_deref();
        if path.is_none() {
            faults.at(
                &["path"],
                format!("{} needs the `path` of its records", in_words(self.format)),
            );
        }
        path
    }

    /// The promotions of `header`; none if they are faulty.
    fn promotions(&self, faults: &mut Faults) -> Option<Promotions> {
        match Promotions::compile(&self.namespaces, &self.header) {
            Ok(promotions) => Some(promotions),
            Err(found) => {
                faults.all.extend(found.into_iter().map(|mut fault| {
                    fault.path.insert(0, "header".to_owned());
                    fault
                }));
                None
            }
        }
    }
}

fn within_header(name: &str, given: bool, inside: bool, key: &str, faults: &mut Faults) {
    if !given {
        faults.at(
            &["header", name],
            format!("`{name}` has no `{key}`, by which it is found here"),
        );
    }
    if inside {
        let message = format!("`{name}` is in the records themselves: promote it from their type");
        faults.at(&["header", name, key], message);
    }
}

fn in_words(format: Format) -> &'static str {
    match format {
        Format::Xml => "XML",
        Format::Json => "JSON",
        Format::Csv => "CSV",
        Format::Fixed => "lines of fixed width",
    }
}
