//! What kind of content a body is.

/// What kind of content a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// XML.
    Xml,
    /// JSON.
    Json,
    /// Anything else: passed untouched.
    Opaque,
}

impl Kind {
    /// The kind that `content_type` says, or the one that the first bytes look like if it says none:
    /// when it is missing or one of those that tools send without being asked.
    #[must_use]
    pub fn sniff(content_type: Option<&str>, first_bytes: &[u8]) -> Self {
        let media = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let media = media.trim().to_ascii_lowercase();
        match media.as_str() {
            ""
            | "application/octet-stream"
            | "application/x-www-form-urlencoded"
            | "binary/octet-stream"
            | "text/plain" => Self::look(first_bytes),
            "application/xml" | "text/xml" => Self::Xml,
            "application/json" | "text/json" => Self::Json,
            other if other.ends_with("+xml") => Self::Xml,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::Opaque,
        }
    }

    fn look(bytes: &[u8]) -> Self {
        if bytes.starts_with(&[0xfe, 0xff]) || bytes.starts_with(&[0xff, 0xfe]) {
            return Self::Xml;
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'<') => Self::Xml,
            Some(b'{' | b'[') => Self::Json,
            _ => Self::Opaque,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides_if_it_says_anything() {
        for (content_type, first, kind) in [
            (Some("text/XML; charset=utf-8"), "{", Kind::Xml),
            (Some("application/cloudevents+json"), "<", Kind::Json),
            (Some("application/soap+xml"), "", Kind::Xml),
            (Some("image/png"), "<", Kind::Opaque),
            (Some("application/x-www-form-urlencoded"), "<a/>", Kind::Xml),
            (None, "\u{feff} \n{", Kind::Json),
            (None, "ISA*00*", Kind::Opaque),
            (None, "", Kind::Opaque),
        ] {
            assert_eq!(
                Kind::sniff(content_type, first.as_bytes()),
                kind,
                "{content_type:?} {first}"
            );
        }
        assert_eq!(Kind::sniff(None, b"\xff\xfe<\0"), Kind::Xml);
    }
}
