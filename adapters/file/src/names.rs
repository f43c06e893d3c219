//! Names of files: patterns, what a message may choose, the next free one.

/// How many names are tried when the wanted one is taken.
pub(crate) const MAX_NUMBERED: u32 = 1_000;

/// The longest name of a file, in bytes: the limit of Linux file systems.
pub(crate) const MAX_NAME: usize = 255;

/// Whether `name` fits `pattern`, where `*` stands for any characters and `?` for one.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // On a mismatch only the last star can help, by one character more: so the work stays below
    // length times length, whatever the pattern.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// The folders and the file name of `name`, if a message may choose it: nothing that leads out of the
/// folder, hides from readers or upsets a terminal.
///
/// # Errors
/// What is wrong with it, for a person.
pub(crate) fn confine(name: &str, subfolders: bool) -> Result<(Vec<&str>, &str), String> {
    let mut pieces: Vec<&str> = name.split('/').collect();
    if pieces.len() > 1 && !subfolders {
        return Err(format!(
            "`{name}` names a sub folder, and `subfolders` is off"
        ));
    }
    for piece in &pieces {
        if piece.is_empty() {
            return Err(format!("`{name}` has an empty part"));
        }
        if piece.starts_with('.') {
            return Err(format!("`{name}` has a part that begins with a dot"));
        }
        if piece.chars().any(char::is_control) {
            return Err(format!("`{}` has a control character", name.escape_debug()));
        }
        if piece.len() > MAX_NAME {
            return Err(format!("`{name}` has a part longer than {MAX_NAME} bytes"));
        }
    }
    let file = pieces.pop().unwrap_or_default();
    Ok((pieces, file))
}

/// `name` for the number 1, `name-2.ext` and so on for the others.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    if number <= 1 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{number}.{extension}"),
        _ => format!("{name}-{number}"),
    }
}

/// The media type that the end of `name` stands for.
pub(crate) fn content_type(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match extension.as_str() {
        "xml" => "application/xml",
        "json" => "application/json",
        "csv" => "text/csv",
        "txt" => "text/plain",
        "edi" | "edifact" => "application/edifact",
        "x12" => "application/edi-x12",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*", "a.xml", true),
            ("*.xml", "a.xml", true),
            ("*.xml", "a.xml.tmp", false),
            ("*.xml", "a.XML", false),
            ("order-??.xml", "order-01.xml", true),
            ("order-??.xml", "order-1.xml", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ä?", "äö", true),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        let hostile = "a*".repeat(100) + "b";
        assert!(!matches(&hostile, &"a".repeat(MAX_NAME)));
    }

    #[test]
    fn a_message_stays_in_its_folder() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            ".hidden",
            "a/.hidden",
            "a\0b",
            "a\nb",
            "a\u{7f}b",
            &"x".repeat(256),
        ] {
            assert!(confine(bad, true).is_err(), "{bad:?}");
        }
        assert_eq!(confine("a b-1.xml", false), Ok((vec![], "a b-1.xml")));
        assert_eq!(
            confine("2026/11/a.xml", true),
            Ok((vec!["2026", "11"], "a.xml"))
        );
        assert!(confine("2026/a.xml", false).is_err());
    }

    #[test]
    fn numbers_come_before_the_extension() {
        for (name, number, expected) in [
            ("a.xml", 1, "a.xml"),
            ("a.xml", 2, "a-2.xml"),
            ("a.tar.gz", 3, "a.tar-3.gz"),
            ("a", 2, "a-2"),
            (".a", 2, ".a-2"),
        ] {
            assert_eq!(numbered(name, number), expected);
        }
    }

    #[test]
    fn the_end_of_a_name_tells_the_type() {
        assert_eq!(content_type("a.XML"), Some("application/xml"));
        assert_eq!(content_type("a.json"), Some("application/json"));
        assert_eq!(content_type("a"), None);
        assert_eq!(content_type("a.bin"), None);
    }
}
