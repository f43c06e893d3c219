//! Ids of messages: 20 bytes, the id of a machine and a number there, written `GUID\NUMBER`.

use quayside_adapter_api::model::{DeliveryId, MessageId, hash16};

use super::spelling::guid;

/// The id of the message of a delivery: the same for every attempt on every node. MSMQ counts from 1.
pub(crate) fn of_delivery(delivery: DeliveryId) -> String {
    format!("{}\\{}", delivery.message, u32::from(delivery.no) + 1)
}

/// The id of what `original` gives rise to, such as its acknowledgment: the same however often it is sent.
pub(crate) fn derived(original: &str, what: &str) -> String {
    let id = hash16(&[b"msmq", original.as_bytes(), what.as_bytes()]);
    format!("{}\\1", MessageId::from_bytes(id))
}

/// `text` in the one spelling of 20 bytes: `GUID\NUMBER`, or 40 hexadecimal digits for what is no id of a
/// message. `None` if it is neither.
pub(crate) fn normal(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(text.to_ascii_lowercase());
    }
    let (machine, number) = text.split_once('\\')?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| digits)?;
    Some(format!("{}\\{number}", guid(machine).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_bytes_have_one_spelling() {
        let id = r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\17";
        for text in [
            id,
            r"{9F0C1A2B-0001-4AAA-8BBB-0123456789AB}\0017",
            r" 9f0c1a2b-0001-4aaa-8bbb-0123456789AB\17 ",
        ] {
            assert_eq!(normal(text).as_deref(), Some(id), "{text}");
        }
        let hex = "00112233445566778899AABBCCDDEEFF00112233";
        assert_eq!(normal(hex), Some(hex.to_lowercase()));
        for text in [
            "",
            "id-1",
            "9f0c1a2b-0001-4aaa-8bbb-0123456789ab",
            r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\+1",
            r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\4294967296",
            &hex[1..],
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
    }

    #[test]
    fn ids_are_stable_and_apart() {
        let one = derived("a", "ack-2");
        assert_eq!(one, derived("a", "ack-2"));
        assert_ne!(one, derived("a", "ack-16384"));
        assert_ne!(one, derived("b", "ack-2"));
        assert_eq!(normal(&one), Some(one));
    }
}
