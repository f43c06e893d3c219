//! What the broker says when a queue is there with other arguments: pure.

use super::arguments::Argument;

/// One argument that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name; `durable` and `auto_delete` are no arguments but differ alike.
    pub argument: String,
    /// What there is; `None`: it is not set.
    pub there: Option<Argument>,
    /// What is wanted; `None`: it is not to be set.
    pub wanted: Option<Argument>,
}

/// Reads `PRECONDITION_FAILED - inequivalent arg 'A' for queue 'Q' in vhost 'V': received X but current is
/// Y`: the argument, and what there is. `None` if the broker says something else.
pub(crate) fn read(text: &str) -> Option<(String, Option<Argument>)> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once("' for queue '")?;
    // From the end: names and values are free text.
    let (_, values) = rest.rsplit_once("': received ")?;
    let (received, current) = values.split_once(" but current is ")?;
    let current = value(current, received)?;
    Some((argument.to_owned(), current))
}

/// `none`, `'V'` or `the value 'V' of type 'T'`. Without a type it is of that of the `other` value.
fn value(text: &str, other: &str) -> Option<Option<Argument>> {
    if text == "none" {
        return Some(None);
    }
    let (quoted, kind) = match text.strip_prefix("the value ") {
        None => (text, None),
        Some(rest) => {
            let (quoted, kind) = rest.rsplit_once(" of type ")?;
            (quoted, Some(kind.trim_matches('\'')))
        }
    };
    let bare = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let text = || Argument::Text(bare.to_owned());
    let flag = || bare.parse().map(Argument::Flag);
    let number = || bare.parse().map(Argument::Number);
    let argument = match kind {
        Some("longstr" | "shortstr" | "binary") => text(),
        Some("bool" | "boolean") => flag().ok()?,
        Some(_) => number().ok()?,
        // The two have one type.
        None if is_number(other) => number().unwrap_or_else(|_| text()),
        None if is_flag(other) => flag().unwrap_or_else(|_| text()),
        None => text(),
    };
    Some(Some(argument))
}

fn is_number(quoted: &str) -> bool {
    quoted.trim_matches('\'').parse::<i64>().is_ok()
}

fn is_flag(quoted: &str) -> bool {
    matches!(quoted.trim_matches('\''), "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_brokers_words_is_read() {
        let text = |text: &str| Some(Argument::Text(text.to_owned()));
        for (argument, values, there) in [
            (
                "x-queue-type",
                "received none but current is the value 'quorum' of type 'longstr'",
                text("quorum"),
            ),
            (
                "x-max-length",
                "received the value '5' of type 'signedint' but current is none",
                None,
            ),
            (
                "x-delivery-limit",
                "received '6' but current is '5'",
                Some(Argument::Number(5)),
            ),
            (
                "x-delivery-limit",
                "received none but current is the value '-1' of type 'long'",
                Some(Argument::Number(-1)),
            ),
            (
                "x-single-active-consumer",
                "received 'false' but current is 'true'",
                Some(Argument::Flag(true)),
            ),
            (
                "durable",
                "received 'true' but current is 'false'",
                Some(Argument::Flag(false)),
            ),
            (
                "x-dead-letter-exchange",
                "received 'amq.direct' but current is ''",
                text(""),
            ),
            (
                "x-dead-letter-routing-key",
                "received none but current is the value 'it's of type 'x'' of type 'longstr'",
                text("it's of type 'x'"),
            ),
        ] {
            let said = format!(
                "PRECONDITION_FAILED - inequivalent arg '{argument}' for queue 'it's: received' in vhost \
                 '/': {values}"
            );
            assert_eq!(read(&said), Some((argument.to_owned(), there)), "{said}");
        }
        assert_eq!(
            read("PRECONDITION_FAILED - invalid arg 'x' for queue"),
            None
        );
    }
}
