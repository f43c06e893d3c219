//! `[maps]` of a node's file: how the maps are run that have processes of their own, on this machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use quayside_adapter_api::{ByteSize, Span};
use quayside_engine::{
    outside::{Command, FILE, Language, NAME, PARAMS, Settings, VALUE},
    plan::MapWay,
};
use quayside_model::Severity;

use super::{app::App, codes, report::Report, section::Section};
use crate::map_worker;

/// The keys of the section.
pub(super) const KEYS: [&str; 7] = [
    "xslt",
    "xslt_param",
    "timeout",
    "memory",
    "max_output",
    "processes",
    "spares",
];

/// What the command for XSLT calls its file.
const STYLESHEET: &str = "{stylesheet}";
/// Below this no program starts.
const LEAST_MEMORY: ByteSize = ByteSize::mib(16);
/// What a message may be in memory while it is mapped.
const MOST_OUTPUT: ByteSize = ByteSize::mib(64);
/// The longest time for one document.
const LONGEST: Duration = Duration::from_secs(600);

/// Reads the section of `file`.
pub(super) fn read(file: &Section<'_>, data_dir: &Path) -> Settings {
    let words = ["/proc/self/exe", map_worker::VERB, "jq", PARAMS, FILE];
    let jq = Command {
        param: [map_worker::PARAM, NAME, VALUE].map(str::to_owned).to_vec(),
        ..Command::plain(&words)
    };
    let own = Settings::in_folder(data_dir.join("maps"), jq);
    let Some(section) = file.section("maps") else {
        return own;
    };
    let timeout = section.parsed::<Span>("timeout").map(Span::duration);
    if timeout.is_some_and(|span| span.is_zero() || span > LONGEST) {
        limit(&section, "timeout", "from 1ms to 10m");
    }
    let memory = section.parsed::<ByteSize>("memory");
    if memory.is_some_and(|size| size < LEAST_MEMORY) {
        limit(&section, "memory", "16 MiB at least");
    }
    let max_output = section.parsed::<ByteSize>("max_output");
    if max_output.is_some_and(|size| size > MOST_OUTPUT) {
        limit(&section, "max_output", "64 MiB at most");
    }
    let number = |key: &str, least: u32, own: usize| {
        let number = section.integer(key, least..=256);
        number.map_or(own, |number| number as usize)
    };
    Settings {
        xslt: command(&section).unwrap_or(own.xslt),
        timeout: timeout.unwrap_or(own.timeout),
        memory: memory.map_or(own.memory, ByteSize::bytes),
        max_output: max_output.map_or(own.max_output, |size| {
            usize::try_from(size.bytes()).unwrap_or(usize::MAX)
        }),
        processes: number("processes", 1, own.processes),
        spares: number("spares", 0, own.spares),
        ..own
    }
}

fn limit(section: &Section<'_>, key: &str, limits: &str) {
    let message = format!("`{}` must be {limits}", section.name_of(key));
    section.error(codes::LIMIT, key, message);
}

/// `xslt` and `xslt_param`. `None`: that of every machine.
fn command(section: &Section<'_>) -> Option<Command> {
    let texts = |key: &str| -> Vec<String> {
        let texts = section.texts(key).into_iter();
        texts.map(|(text, _)| text.to_owned()).collect()
    };
    let (words, param) = (texts("xslt"), texts("xslt_param"));
    if words.is_empty() && param.is_empty() {
        if section.get("xslt").is_some() {
            limit(section, "xslt", "a command with its arguments");
        }
        return None;
    }
    let own = Command::xsltproc();
    let words = if words.is_empty() { own.words } else { words };
    let wrong = |key: &str, lacks: &str| {
        let message = format!("`{}` has no `{lacks}`", section.name_of(key));
        section.error(codes::WRONG_VALUE, key, message);
    };
    if !words
        .iter()
        .any(|word| word.contains(STYLESHEET) || word.contains(FILE))
    {
        wrong("xslt", STYLESHEET);
    }
    let takes = words.iter().any(|word| word == PARAMS);
    let param = if param.is_empty() && takes {
        own.param
    } else {
        param
    };
    for place in [NAME, VALUE] {
        if takes && !param.iter().any(|word| word.contains(place)) {
            wrong("xslt_param", place);
        }
    }
    Some(Command {
        words: words
            .iter()
            .map(|word| word.replace(STYLESHEET, FILE))
            .collect(),
        param,
    })
}

/// Warns of maps whose program is not on this machine; those that run them may be others.
pub(super) fn check_machine(report: &Report, settings: &Settings, apps: &[App]) {
    let Some(program) = settings.xslt.words.first() else {
        return;
    };
    if is_there(program) {
        return;
    }
    for app in apps {
        let is_xslt = |map: &&std::sync::Arc<quayside_engine::plan::MapPlan>| matches!(&map.way, MapWay::Outside(program) if program.language == Language::Xslt);
        let Some(map) = app.maps.iter().find(is_xslt) else {
            continue;
        };
        let message = format!(
            "`{program}`, which runs `{}` and every other stylesheet, is not on this machine",
            map.name
        );
        let (place, severity) = (Some(app.at), Severity::Warning);
        report.add(codes::MAP_PROGRAM, severity, place, message, None);
    }
}

/// Whether the program can be found as the system finds it.
fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::is_there;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        assert!(is_there("sh") && is_there("/bin/sh"));
        assert!(!is_there("no-such-program") && !is_there("/no/such/program"));
    }
}
