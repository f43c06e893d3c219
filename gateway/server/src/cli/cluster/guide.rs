//! `docs/high-availability.md` shows what the program says: each of its samples is printed by the code that prints
//! `quayside cluster status`.

use std::fmt::Write as _;

use super::{
    super::{Format, output::Output},
    render,
};
use crate::admin::cluster_samples;

const PLAIN: Output = Output {
    format: Format::Table,
    color: false,
};

fn page(name: &str) -> String {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn guide() -> String {
    page("high-availability.md")
}

/// Whether the guide shows what the program `said`.
pub(super) fn shows(said: &str) -> bool {
    guide().contains(&format!("```text\n{said}```\n"))
}

/// The first block of text of each section, by its heading.
fn samples(guide: &str) -> Vec<(&str, &str)> {
    let sections = guide.split("\n### ").skip(1);
    sections
        .filter_map(|section| {
            let (heading, rest) = section.split_once('\n')?;
            let (_, block) = rest.split_once("```text\n")?;
            let (sample, _) = block.split_once("```")?;
            Some((heading, sample))
        })
        .collect()
}

#[test]
fn every_sample_of_the_guide_is_what_the_program_says() {
    let guide = guide();
    let shown = samples(&guide);
    let mut wrong = String::new();
    for (name, answer) in cluster_samples::all() {
        let heading = name.replace('-', " ");
        let said = render::status(&answer, PLAIN, None);
        let sample = shown.iter().find(|(shown, _)| *shown == heading);
        if sample.map(|(_, sample)| *sample) != Some(&said) {
            write!(wrong, "\n### {heading}\n\n```text\n{said}```\n").expect("a string takes it");
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/high-availability.md shows something else than:\n{wrong}"
    );
}

#[test]
fn the_guide_shows_nothing_that_the_program_never_says() {
    let known: Vec<String> = cluster_samples::all()
        .iter()
        .map(|(name, _)| name.replace('-', " "))
        .collect();
    let guide = guide();
    let unknown: Vec<&str> = samples(&guide)
        .iter()
        .map(|(heading, _)| *heading)
        .filter(|heading| !known.iter().any(|name| name == heading))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_guide_of_nodes_without_agents_shows_what_the_program_says() {
    let said = render::status(&cluster_samples::without_agents(), PLAIN, None);
    let sample = format!("```text\n{said}```\n");
    assert!(
        page("operations.md").contains(&sample),
        "docs/operations.md shows something else than:\n{sample}"
    );
}
