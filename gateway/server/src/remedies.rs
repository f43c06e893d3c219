//! The codes of all crates, and what to do about each.

use quayside_model::Code;

/// The crates and their codes.
pub(crate) const ALL: &[(&str, &[Code])] = &[
    ("The store", quayside_store::codes::ALL),
    ("Content", quayside_pipeline::codes::ALL),
    ("Blocks of adapters", quayside_adapter_api::config::ALL),
    ("The HTTP adapter", quayside_adapter_http::ALL),
    ("The file adapter", quayside_adapter_file::codes::ALL),
    ("The AMQP adapter", quayside_adapter_amqp::codes::ALL),
    (
        "The SharePoint adapter",
        quayside_adapter_sharepoint::codes::ALL,
    ),
    ("The configuration", crate::config::codes::ALL),
    ("The command line and the process", crate::cli::codes::ALL),
    ("The engine", quayside_engine::codes::ALL),
    ("The agent", quayside_lease::codes::ALL),
    ("Orchestrations", quayside_orchestration::codes::ALL),
];

/// What to do about the failure with `code`; `None`: it is a code of another version.
pub(crate) fn remedy(code: &str) -> Option<&'static str> {
    let mut codes = ALL.iter().flat_map(|(_, codes)| *codes);
    codes.find(|it| it.code == code).map(|it| it.remedy)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_used_once() {
        let mut seen = BTreeSet::new();
        for code in ALL.iter().flat_map(|(_, codes)| *codes) {
            assert!(seen.insert(code.code), "{} twice", code.code);
            let digits = code.code.strip_prefix("QS").expect("begins with QS");
            assert!(
                digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()),
                "{}",
                code.code
            );
        }
    }

    #[test]
    fn a_code_has_its_remedy() {
        let known = remedy(quayside_adapter_sharepoint::codes::BAD_COLUMN.code);
        assert!(known.is_some_and(|remedy| remedy.contains("resume the message")));
        assert_eq!(remedy("QS9999"), None);
    }
}
