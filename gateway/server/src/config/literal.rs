//! Secrets do not stand in a configuration: what looks like one is refused.

use super::{
    codes,
    report::{Report, SourceId},
    spans::Node,
};

/// Keys whose value is a secret, whichever adapter they belong to.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret_key",
    "client_secret",
    "token",
    "bearer",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "authorization",
];

/// Parameters of a URL whose value is a secret.
const SECRET_PARAMETERS: [&str; 7] = [
    "password",
    "token",
    "access_token",
    "api_key",
    "apikey",
    "sig",
    "client_secret",
];

/// Reports every literal secret and every password in a URL below `node`. The messages do not repeat
/// the value.
pub(crate) fn check(report: &Report, source: SourceId, root: &Node) {
    root.texts(&mut Vec::new(), &mut |path, node| {
        let text = node.text().unwrap_or_default();
        if is_secret_place(path) {
            let message = format!("`{}` holds a secret as text", path.join("."));
            report.error(codes::LITERAL_SECRET, source, node.key_at, message);
        } else if has_credentials(text) {
            let message = format!("the URL in `{}` holds a password or token", path.join("."));
            report.error(codes::URL_CREDENTIALS, source, node.key_at, message);
        }
    });
}

/// Whether [`check`] refuses the text under this key.
pub(crate) fn is_refused(key: &str, text: &str) -> bool {
    is_secret_key(key) || has_credentials(text)
}

/// Whether `message` repeats a text below `node` that [`check`] refuses; `path` leads to the node.
pub(crate) fn is_repeated(path: &[&str], node: &Node, message: &str) -> bool {
    let mut repeated = false;
    node.texts(&mut path.to_vec(), &mut |path, node| {
        let text = node.text().unwrap_or_default();
        if text.is_empty() || !(is_secret_place(path) || has_credentials(text)) {
            return;
        }
        let quoted = format!("{text:?}");
        repeated |= message.contains(text) || message.contains(quoted.trim_matches('"'));
    });
    repeated
}

/// Whether a text at `path` is a secret: under a key for secrets, however deep, or as a password of one
/// who may come in, which stands under the name of that one. `{ secret = "NAME" }` names a secret, it is none; `{ var = "NAME" }` was put in before.
fn is_secret_place(path: &[&str]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let known_by_name = path.contains(&"location")
        && path
            .windows(3)
            .any(|keys| matches!(keys, ["http", "auth", "basic"]));
    is_secret_key(last)
        || *last != "secret" && (known_by_name || parents.iter().any(|key| is_secret_key(key)))
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_KEYS.contains(&key.as_str())
}

/// Whether `text` is a URL with a password in front of its host or a secret among its parameters.
fn has_credentials(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    if !scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user_info = authority.rsplit_once('@').map(|(user_info, _)| user_info);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    user_info.is_some_and(|user_info| user_info.contains(':'))
        || query.split(['&', '#']).any(is_secret)
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter
        .split_once('=')
        .map(|(name, _)| name.to_ascii_lowercase());
    name.is_some_and(|name| SECRET_PARAMETERS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_below_a_key_for_secrets_is_one() {
        let location = ["receive", "r", "location", "l", "http", "auth"];
        let library = ["receive", "r", "location", "l", "sharepoint", "auth"];
        let port = ["send", "s", "primary", "http", "auth"];
        for (path, below, wanted) in [
            (&location[..], &["bearer", "c"][..], true),
            (&location, &["bearer", "c", "secret"], false),
            (&location, &["bearer", "c", "secret", "x"], true),
            (&location, &["basic", "user"], true),
            (&location, &["basic", "user", "secret"], false),
            (&library, &["basic", "user"], false),
            (&library, &["basic", "password"], true),
            (&port, &["basic", "user"], false),
            (&port, &["basic", "password"], true),
            (&port, &["basic", "password", "value"], true),
            (&port, &["bearer", "secret"], false),
        ] {
            let path = [path, below].concat();
            assert_eq!(is_secret_place(&path), wanted, "{path:?}");
        }
    }

    #[test]
    fn passwords_in_urls_are_seen() {
        for (text, wanted) in [
            ("postgres://quayside@db/quayside", false),
            ("postgres://quayside:hunter2@db/quayside", true),
            ("postgres://db/quayside?user=a&password=b", true),
            ("https://host:8080/a@b:c", false),
            ("https://host/a?sig=abc", true),
            ("urn:orders#Order", false),
            ("a password://x:y@z", false),
        ] {
            assert_eq!(has_credentials(text), wanted, "{text}");
        }
    }
}
