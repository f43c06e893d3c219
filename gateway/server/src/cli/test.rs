//! `quayside test`.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{Show, codes, output};
use crate::{
    cases::{self, Case, Failure as Wrong, File},
    config::{self, Defaults, Inputs, Purpose, Report},
    exit::{Exit, Failure},
    wiring,
};

/// Which cases.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// The folder of an application, or of several; the cases stand in tests/*.test.toml beside app.toml
    dir: PathBuf,
    /// The file of the environment, whose variables are put in
    #[arg(long, value_name = "FILE")]
    group: Option<PathBuf>,
    /// Only the cases whose names hold this
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    #[command(flatten)]
    show: Show,
}

/// A case that was run.
struct Ran<'a> {
    file: &'a File,
    case: &'a Case,
    wrong: Vec<Wrong>,
}

/// Runs the cases in virtual time. Ends with 1 if one fails, with 10 if the configuration or a case has errors, with 3 if
/// there is none.
pub(super) fn test(args: &TestArgs) -> Result<Exit, Failure> {
    let (report, adapters) = (Report::default(), wiring::adapters_for_checking());
    let loaded = load(&args.dir, args.group.as_ref(), &report);
    let files = match &loaded {
        Some(loaded) => cases::load(&loaded.folders, &loaded.plan, &report),
        None => Vec::new(),
    };
    let (Some(loaded), 0) = (loaded, report.errors()) else {
        output::complain(&report.to_string());
        return Ok(Exit::BadConfig);
    };
    let wanted = |case: &&Case| {
        let name = args.case.as_deref();
        name.is_none_or(|name| case.name.contains(name))
    };
    let mut all = Vec::new();
    for file in &files {
        for case in file.cases.iter().filter(wanted) {
            let wrong = cases::run(file, case, &loaded.plan, &adapters);
            all.push(Ran { file, case, wrong });
        }
    }
    if all.is_empty() {
        let message = match &args.case {
            Some(name) => format!("no case in {} has `{name}` in its name", args.dir.display()),
            None => format!("{} has no test case", args.dir.display()),
        };
        return Err(Failure::new(codes::NO_CASE, message).exiting(Exit::NotFound));
    }
    let failed = all.iter().filter(|ran| !ran.wrong.is_empty()).count();
    let value = json!({
        "ok": failed == 0,
        "passed": all.len() - failed,
        "failed": failed,
        "cases": all.iter().map(|ran| told(ran, &report)).collect::<Vec<_>>(),
    });
    args.show.output().text(&value, &in_words(&all, &report))?;
    Ok(if failed == 0 { Exit::Ok } else { Exit::Failed })
}

/// Reads the configuration for nobody in particular.
pub(super) fn load(
    dir: &std::path::Path,
    group: Option<&PathBuf>,
    report: &Report,
) -> Option<config::Loaded> {
    let inputs = Inputs {
        dir: dir.to_owned(),
        group: group.cloned(),
        node: None,
        hosts: Vec::new(),
        defaults: Defaults::of_this_machine(PathBuf::from(config::DATA_DIR)),
        purpose: Purpose::CheckAnyNode,
    };
    config::load(&inputs, &wiring::adapters_for_checking(), report)
}

fn told(ran: &Ran<'_>, report: &Report) -> Value {
    let (file, line, _) = report.place(ran.file.source, ran.case.at);
    let failures = ran.wrong.iter().map(|wrong| {
        let (file, line, column) = report.place(ran.file.source, wrong.at);
        json!({
            "code": codes::CASE_FAILED.code,
            "file": file, "line": line, "column": column,
            "message": wrong.message,
            "details": wrong.details,
        })
    });
    json!({
        "name": ran.case.name,
        "application": ran.file.app,
        "file": file, "line": line,
        "ok": ran.wrong.is_empty(),
        "failures": failures.collect::<Vec<_>>(),
    })
}

fn in_words(all: &[Ran<'_>], report: &Report) -> String {
    let mut text = String::new();
    for ran in all {
        let word = if ran.wrong.is_empty() {
            "passed"
        } else {
            "FAILED"
        };
        line(
            &mut text,
            &format!("{word}  {}: {}", ran.file.app, ran.case.name),
        );
        for wrong in &ran.wrong {
            let (file, at, column) = report.place(ran.file.source, wrong.at);
            let code = codes::CASE_FAILED;
            line(
                &mut text,
                &format!("error[{code}] {}", output::printable(&wrong.message)),
            );
            line(&mut text, &format!("  --> {file}:{at}:{column}"));
            for detail in &wrong.details {
                line(&mut text, &format!("      {}", output::printable(detail)));
            }
        }
    }
    let failed = all.iter().filter(|ran| !ran.wrong.is_empty()).count();
    let passed = all.len() - failed;
    line(&mut text, &format!("{passed} passed, {failed} failed."));
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("writing to a string cannot fail");
}
