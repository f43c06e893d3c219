//! `docs/errors.md`, made from the codes of all crates.

use std::fmt::Write as _;

use quayside_model::Code;

/// The crates and their codes.
pub(super) const ALL: &[(&str, &[Code])] = &[
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
    ("The command line and the process", super::codes::ALL),
    ("The engine", quayside_engine::codes::ALL),
    ("The agent", quayside_lease::codes::ALL),
];

/// The page.
pub(super) fn errors_page() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
         Every failure carries one of these codes: in logs, in answers of the API and of HTTP receive\n\
         locations, in suspended deliveries and in the output of `quayside check`. A code never changes\n\
         its meaning. This page is printed by `quayside docs`.\n",
    );
    for (part, codes) in ALL {
        write!(
            page,
            "\n## {part}\n\n| Code | Meaning | What to do |\n|---|---|---|\n"
        )
        .expect("writing to a string cannot fail");
        for code in *codes {
            let cell = |text: &str| text.replace('|', "\\|");
            writeln!(
                page,
                "| {} | {} | {} |",
                code.code,
                cell(code.meaning),
                cell(code.remedy)
            )
            .expect("writing to a string cannot fail");
        }
    }
    page
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
    fn the_page_in_the_repository_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let page = std::fs::read_to_string(path).expect("docs/errors.md is there");
        assert_eq!(
            page,
            errors_page(),
            "write it again: quayside docs > docs/errors.md"
        );
    }
}
