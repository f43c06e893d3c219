//! `docs/errors.md`, made from the codes of all crates.

use std::fmt::Write as _;

use crate::remedies::ALL;

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
    use super::*;

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
