//! Targets of requests: what stands behind `/_api/`, quoted for OData and encoded for HTTP.
//!
//! Paths go as `decodedurl`, which alone is safe for `#` and `%` in names. A slash inside of a literal stays one:
//! load balancers are known to refuse or to rewrite `%2F`.

use std::fmt::Write as _;

use reqwest::Url;

/// A site: where its API is, and where it lies on its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// `https://host/sites/team`, as it was given, without a slash at the end.
    address: String,
    /// `/sites/team`, decoded; empty for the root site.
    path: String,
}

impl Site {
    /// Reads the address of a site.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(site: &str) -> Result<Self, String> {
        let url = Url::parse(site).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("a site is https://HOST/sites/NAME".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the address holds a user name or a password; use `auth`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the address of a site has no `?` and no `#`".to_owned());
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.split('/').any(|part| part.starts_with('_')) {
            return Err("the address of the site itself is wanted, without `/_api`".to_owned());
        }
        Ok(Self {
            address: format!("{}{path}", url.origin().ascii_serialization()),
            path: decode(&path),
        })
    }

    /// The address of the call `target`.
    pub(crate) fn api(&self, target: &str) -> String {
        format!("{}/_api/{target}", self.address)
    }

    /// The address itself, for people.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The host alone, which is the resource that tokens are for.
    pub(crate) fn origin(&self) -> &str {
        let path = self.address.len() - self.encoded_path_len();
        &self.address[..path]
    }

    /// The path on the server of what lies in the site.
    pub(crate) fn below(&self, parts: &[&str]) -> String {
        let mut path = self.path.clone();
        for part in parts.iter().flat_map(|part| part.split('/')) {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }

    fn encoded_path_len(&self) -> usize {
        let behind_scheme = self.address.find("://").map_or(0, |at| at + 3);
        let rest = &self.address[behind_scheme..];
        rest.find('/').map_or(0, |at| rest.len() - at)
    }
}

/// `text` as a literal of OData in a request target, quotes included.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", encode(&text.replace('\'', "''")))
}

/// The document at a path.
pub(crate) fn file_at(path: &str) -> String {
    format!(
        "web/GetFileByServerRelativePath(decodedurl={})",
        literal(path)
    )
}

/// The document with an id, wherever it lies.
pub(crate) fn file(id: &str) -> String {
    format!("web/GetFileById({})", literal(id))
}

/// The folder at a path.
pub(crate) fn folder_at(path: &str) -> String {
    format!(
        "web/GetFolderByServerRelativePath(decodedurl={})",
        literal(path)
    )
}

/// The library whose root folder is at a path.
pub(crate) fn list_at(path: &str) -> String {
    format!("web/GetListUsingPath(DecodedUrl={})", literal(path))
}

/// A document in a folder under a name; `over`: replaced if it is there.
pub(crate) fn add(folder: &str, name: &str, over: bool) -> String {
    format!(
        "{}/Files/AddUsingPath(decodedurl={},Overwrite={over})",
        folder_at(folder),
        literal(name)
    )
}

/// A folder in a folder; one that is there is left as it is.
pub(crate) fn add_folder(folder: &str, name: &str) -> String {
    format!(
        "{}/Folders/AddUsingPath(DecodedUrl={})",
        folder_at(folder),
        literal(name)
    )
}

/// A document that is to have another path.
pub(crate) fn move_to(id: &str, path: &str, over: bool) -> String {
    format!(
        "{}/MoveToUsingPath(DecodedUrl={},moveOperations={})",
        file(id),
        literal(path),
        u8::from(over)
    )
}

/// Percent-encoding of all but what a literal may hold as it is.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/' | b'\'')
        {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        let byte = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = match byte {
            Some(byte) => {
                out.push(byte);
                &after[2..]
            }
            None => {
                out.push(b'%');
                after
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_all_that_is_special_are_safe() {
        for (name, want) in [
            ("po 1.xml", "'po%201.xml'"),
            ("O'Brien #1 50%.xml", "'O''Brien%20%231%2050%25.xml'"),
            ("a+b&c=d?e.xml", "'a%2Bb%26c%3Dd%3Fe.xml'"),
            ("/sites/team/Ä (1)", "'/sites/team/%C3%84%20%281%29'"),
        ] {
            assert_eq!(literal(name), want);
        }
        // The library that sends must not undo it.
        let site = Site::parse("https://a.example/sites/team").unwrap();
        let url = site.api(&file_at("/sites/team/Docs/O'Brien #1 50%.xml"));
        assert_eq!(Url::parse(&url).unwrap().as_str(), url);
    }

    #[test]
    fn a_site_knows_where_it_lies() {
        let site = Site::parse("https://a.example:8443/sites/my%20team/").unwrap();
        assert_eq!(
            site.below(&["Shared Documents", "", "In/2026"]),
            "/sites/my team/Shared Documents/In/2026"
        );
        assert_eq!(site.origin(), "https://a.example:8443");
        assert_eq!(
            site.api("contextinfo"),
            "https://a.example:8443/sites/my%20team/_api/contextinfo"
        );
        let root = Site::parse("http://a.example").unwrap();
        assert_eq!(
            (root.below(&["Docs"]), root.origin()),
            ("/Docs".to_owned(), "http://a.example")
        );
        for wrong in [
            "",
            "sites/team",
            "ftp://a/sites/team",
            "https://u:p@a/sites/team",
            "https://a/sites/team/_api",
            "https://a/sites/team?x=1",
        ] {
            assert!(Site::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn calls_have_the_form_that_farms_read() {
        assert_eq!(
            move_to(
                "56b8e3c8-8e8a-4600-b9e1-a63d27391799",
                "/s/Docs/a.xml",
                false
            ),
            "web/GetFileById('56b8e3c8-8e8a-4600-b9e1-a63d27391799')\
             /MoveToUsingPath(DecodedUrl='/s/Docs/a.xml',moveOperations=0)"
        );
        assert_eq!(
            add("/s/Docs", "a.xml", true),
            "web/GetFolderByServerRelativePath(decodedurl='/s/Docs')\
             /Files/AddUsingPath(decodedurl='a.xml',Overwrite=true)"
        );
    }
}
