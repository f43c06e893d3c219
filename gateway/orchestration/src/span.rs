//! Durations as a definition writes them: `10s`, `24h`, `1h30m`, as everywhere in the configuration.

use std::time::Duration;

/// The units in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `text`. Each unit stands once and the longest first.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() || last == u64::MAX {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == &after[..end])?;
        if *millis >= last {
            return None;
        }
        last = *millis;
        total = total.checked_add(number.checked_mul(*millis)?)?;
        rest = &after[end..];
    }
    Some(Duration::from_millis(total))
}

/// Writes `duration` in the same form.
pub(crate) fn text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS {
        if rest >= millis {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_configuration() {
        for (written, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            let duration = parse(written).expect(written);
            assert_eq!(duration, Duration::from_millis(millis));
            assert_eq!(text(duration), written);
        }
        for wrong in [
            "",
            "10",
            "s",
            "30m1h",
            "1h1h",
            "1.5h",
            "10 s",
            "99999999999999999999d",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
