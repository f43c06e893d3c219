//! Random definitions under crashes at every step.
//!
//! `orderly` definitions have one right course, which [`oracle`] tells without the machine: the instance has
//! to take it whatever is thrown away and made again. `wild` ones also race time against messages and
//! branches against each other; there the run with crashes has to be the run without, id by id. Named
//! invariants hold in every run (see [`world`]). A failure prints its seed; `SEED=n` runs one, `SEEDS=n`
//! that many.

mod oracle;
mod plan;
mod world;

use std::{collections::BTreeMap, env};

use self::{
    plan::{Plan, Style},
    world::{Crashes, World},
};
use crate::support::compile;

const SEEDS: u64 = 1500;

fn seeds(offset: u64) -> std::ops::Range<u64> {
    let number = |key: &str| env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => offset..offset + number("SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn orderly_definitions_take_the_one_right_course() {
    let (mut effects, mut crashes, mut ends) = (0, 0, BTreeMap::new());
    for seed in seeds(0) {
        let plan = Plan::new(seed, Style::Orderly);
        let text = plan.yaml();
        let definition = compile(&text).unwrap_or_else(|defects| {
            panic!(
                "seed {seed}: {}\n{text}",
                defects
                    .iter()
                    .map(|d| d.to_string() + "\n")
                    .collect::<String>()
            )
        });
        let right = oracle::course(&plan);
        for run in 0..3 {
            let mut world = World::new(
                definition.clone(),
                seed * 7 + run,
                Style::Orderly,
                Crashes::Everywhere,
            );
            world.run(&format!("seed {seed} run {run}\n{text}"));
            let mut course = world.course();
            let mut right = right.clone();
            if plan.has_branches() {
                // What is done side by side has no one order, and so no one place to be kept at.
                course.retain(|word| word != "|");
                right.retain(|word| word != "|");
                course.sort();
                right.sort();
            }
            assert_eq!(course, right, "seed {seed} run {run}\n{text}");
            effects += course.len();
            crashes += world.crashes;
            *ends.entry(world.end()).or_insert(0) += 1;
        }
    }
    println!("orderly: {effects} effects as foretold, {crashes} crashes, ends {ends:?}");
}

#[test]
fn wild_definitions_come_to_the_same_with_crashes() {
    let (mut effects, mut crashes, mut commits, mut longest) = (0, 0, 0, 0);
    let mut ends = BTreeMap::new();
    for seed in seeds(1_000_000) {
        let plan = Plan::new(seed, Style::Wild);
        let text = plan.yaml();
        let definition = compile(&text).unwrap_or_else(|defects| {
            panic!(
                "seed {seed}: {}\n{text}",
                defects
                    .iter()
                    .map(|d| d.to_string() + "\n")
                    .collect::<String>()
            )
        });
        let mut calm = World::new(definition.clone(), seed, Style::Wild, Crashes::None);
        calm.run(&format!("seed {seed} calm\n{text}"));
        let mut crashed = World::new(definition, seed, Style::Wild, Crashes::Everywhere);
        crashed.run(&format!("seed {seed} crashed\n{text}"));
        assert_eq!(calm.effects(), crashed.effects(), "seed {seed}\n{text}");
        assert_eq!(calm.state(), crashed.state(), "seed {seed}\n{text}");
        effects += crashed.effects().len();
        crashes += crashed.crashes;
        commits += crashed.commits();
        longest = longest.max(crashed.longest);
        *ends.entry(crashed.end()).or_insert(0) += 1;
    }
    println!(
        "wild: {effects} effects in {commits} commits, {crashes} crashes, longest state {longest} bytes, ends {ends:?}"
    );
}
