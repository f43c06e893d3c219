//! `[log]` of a node's file: how the node logs.

use tracing_subscriber::EnvFilter;

use super::{
    codes,
    section::{Section, list, suggestion},
};

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// One JSON object per line instead of text.
    pub(crate) json: bool,
    /// The directives of the filter, such as `info` or `info,quayside_engine=debug`.
    pub(crate) level: String,
}

/// How much is logged, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The parts of this program and of its agent that log, by the names that stand before their lines.
const PARTS: [&str; 11] = [
    "quayside",
    "quayside_adapter_amqp",
    "quayside_adapter_api",
    "quayside_adapter_file",
    "quayside_adapter_http",
    "quayside_agent",
    "quayside_engine",
    "quayside_lease",
    "quayside_store",
    "quayside_store_postgres",
    "quayside_store_sqlite",
];

/// Reads the section of `file`.
pub(super) fn read(file: &Section<'_>) -> LogConfig {
    let section = file.section("log");
    let section = section.as_ref();
    let json = section.and_then(|s| s.choice("format", &[("text", false), ("json", true)]));
    let level = section.and_then(|s| s.text("level")).unwrap_or("info");
    if let Some(section) = section
        && let Some(wrong) = wrong(level)
    {
        let message = format!("`{}`: {wrong}", section.name_of("level"));
        section.error(codes::WRONG_VALUE, "level", message);
    }
    LogConfig {
        json: json.unwrap_or(false),
        level: level.to_owned(),
    }
}

/// What is wrong with the directives. The parser of the filter takes a mistyped level for the name of a
/// part, which would silence everything else.
fn wrong(level: &str) -> Option<String> {
    // The fields of a span may hold anything, commas too: these are left to the parser.
    if !level.contains('[') {
        if level.contains(char::is_whitespace) {
            return Some("it holds a space: write `info,quayside_engine=debug`".to_owned());
        }
        let wrong = level.split(',').find_map(wrong_directive);
        if wrong.is_some() {
            return wrong;
        }
    }
    let error = EnvFilter::try_new(level).err()?;
    Some(error.to_string())
}

fn wrong_directive(directive: &str) -> Option<String> {
    let (part, level) = match directive.split_once('=') {
        Some((part, level)) => (Some(part), level),
        None => (None, directive),
    };
    if let Some(part) = part {
        let root = part.split("::").next().unwrap_or_default();
        if root.starts_with("quayside") && !PARTS.contains(&root) {
            let near = suggestion(root, &PARTS);
            return Some(format!("no part is called `{root}`{near}"));
        }
    }
    let lower = level.to_ascii_lowercase();
    if LEVELS.contains(&lower.as_str()) {
        return None;
    }
    if part.is_none() && PARTS.contains(&level.split("::").next().unwrap_or_default()) {
        return Some(format!(
            "`{level}` has no level: write `info,{level}=debug`"
        ));
    }
    Some(match lower.as_str() {
        "" => format!("a level is missing: it is one of {}", list(&LEVELS)),
        _ => format!("`{level}` is no level{}", suggestion(&lower, &LEVELS)),
    })
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn a_mistyped_level_is_no_part_of_the_program() {
        for (level, said) in [
            ("info", ""),
            ("WARN", ""),
            ("off", ""),
            ("info,quayside_engine=debug,hyper=warn", ""),
            (
                "info, hyper=warn",
                "it holds a space: write `info,quayside_engine=debug`",
            ),
            ("info,quayside::lifecycle=trace", ""),
            ("info,[send{port=a}]=debug", ""),
            ("inof", "`inof` is no level — did you mean `info`?"),
            (
                "info,quayside_engine=debgu",
                "`debgu` is no level — did you mean `debug`?",
            ),
            (
                "info,quayside_engin=debug",
                "no part is called `quayside_engin` — did you mean `quayside_engine`?",
            ),
            (
                "quayside_engine",
                "`quayside_engine` has no level: write `info,quayside_engine=debug`",
            ),
            (
                "",
                "a level is missing: it is one of `off`, `error`, `warn`, `info`, `debug` and `trace`",
            ),
            (
                "loud",
                "`loud` is no level — known are `off`, `error`, `warn`, `info`, `debug` and `trace`",
            ),
        ] {
            assert_eq!(wrong(level).unwrap_or_default(), said, "{level}");
        }
    }
}
