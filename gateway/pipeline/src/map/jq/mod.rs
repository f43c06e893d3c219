//! jq: what can be said of a program before it runs, and the program itself, for the process that runs it.
//!
//! The engine knows no limits of time, memory or depth. So [`run`] belongs into a process of its own, which is ended when it goes
//! beyond its limits; only [`check`] is for the gateway.

mod compile;
mod write;

use std::{io, panic::resume_unwind, thread};

use jaq_core::{Ctx, Vars, data::JustLut};
use jaq_json::{Val, read};

use self::compile::{Trouble, Wrong, compile};
use super::{
    defect::{Defect, Defects, Place, place_of, shown},
    limits,
};
use crate::codes;

/// The largest program, in bytes. It is read and compiled by calls within calls.
const PROGRAM_BYTES: usize = 16 * 1024;
/// How much stack each byte of a program has: none that was tried needed more, nested as deep as it goes.
const STACK_EACH: usize = 4 * 1024;
/// How much stack there is whatever the program is, for what it calls while it runs.
const STACK_LEAST: usize = 16 * 1024 * 1024;
/// How much of a value an error repeats, in characters.
const TOLD: usize = 400;

/// Looks at a program, which has variables of the names `params`.
///
/// # Errors
/// Everything that is wrong with it, each with its place, in the order of the file.
pub fn check(text: &str, params: &[String]) -> Result<(), Vec<Defect>> {
    let mut defects = Defects::default();
    let start = Place { line: 1, column: 1 };
    if text.len() > PROGRAM_BYTES {
        let message = format!("it is larger than {PROGRAM_BYTES} bytes");
        defects.add(start, codes::MAP_TOO_LARGE, message);
        return Err(defects.finish());
    }
    let names: Vec<String> = params.iter().map(|name| format!("${name}")).collect();
    let compiled = apart(text.len(), || compile(text, &names).map(drop));
    match compiled {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(troubles)) => {
            for trouble in troubles {
                tell(&mut defects, text, params, trouble);
            }
        }
        Err(error) => {
            let message = format!("it cannot be compiled: {error}");
            defects.add(start, codes::JQ, message);
        }
    }
    Err(defects.finish())
}

/// Runs a program with these variables on the document that `read` gives, which is asked for when the program is ready. Those of
/// its variables that are not given are `null`. Writes the one document that it makes.
///
/// # Errors
/// Why there is none, for a person. What was written then is no document.
pub fn run(
    text: &str,
    params: &[(String, String)],
    read: impl FnOnce() -> io::Result<Vec<u8>> + Send,
    out: impl io::Write + Send,
) -> Result<(), String> {
    if text.len() > PROGRAM_BYTES {
        return Err(format!("it is larger than {PROGRAM_BYTES} bytes"));
    }
    let made = apart(text.len(), || make(text, params, read, out));
    made.map_err(|error| format!("no thread for it: {error}"))?
}

/// On a thread with as much stack as a program of this length may need.
///
/// # Errors
/// There is no memory for it.
fn apart<T: Send>(length: usize, does: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("jq".to_owned())
            .stack_size(STACK_LEAST.max(length * STACK_EACH))
            .spawn_scoped(scope, does)?;
        Ok(thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn make(
    text: &str,
    params: &[(String, String)],
    read: impl FnOnce() -> io::Result<Vec<u8>>,
    mut out: impl io::Write,
) -> Result<(), String> {
    let mut names: Vec<String> = params.iter().map(|(name, _)| format!("${name}")).collect();
    let given = params.iter().map(|(_, value)| Val::from(value.clone()));
    let mut values: Vec<Val> = given.collect();
    let filter = match compile(text, &names) {
        Ok(filter) => filter,
        Err(troubles) => {
            // What was declared and is not given; what was not declared, the check has told.
            let missing = |one: &Trouble| match &one.what {
                Wrong::Variable(name) => Some(name.clone()),
                _ => None,
            };
            for name in troubles.iter().filter_map(missing) {
                if !names.contains(&name) {
                    names.push(name);
                    values.push(Val::Null);
                }
            }
            let compiled = compile(text, &names);
            compiled.map_err(|troubles| first_of(text, &troubles))?
        }
    };
    let document = read().map_err(|error| format!("no document: {error}"))?;
    if document.len() > limits::INPUT_BYTES {
        return Err(format!(
            "it is given more than {} bytes",
            limits::INPUT_BYTES
        ));
    }
    let input = read::parse_single(&document).map_err(|error| format!("no JSON: {error}"))?;
    drop(document);
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new(values));
    let mut made = filter.id.run((context, input)).map(|one| match one {
        Ok(value) => Ok(value),
        Err(exception) => Err(match exception.get_err() {
            Ok(error) => shorter(&reason(error)),
            Err(_) => "it ends itself".to_owned(),
        }),
    });
    let value = made.next().ok_or("it makes no document")??;
    if let Some(second) = made.next() {
        second?;
        return Err("it makes several documents; put them into a list by `[...]`".to_owned());
    }
    write::value(&mut out, &value)?;
    out.flush().map_err(|error| error.to_string())
}

/// What an error says: a text without its quotes.
fn reason(error: jaq_json::Error) -> String {
    match error.into_val() {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        other => other.to_string(),
    }
}

/// An error as it is told: it may repeat a whole document.
fn shorter(text: &str) -> String {
    let mut short: String = text.chars().take(TOLD).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The first trouble, for who has no check.
fn first_of(text: &str, troubles: &[Trouble]) -> String {
    let mut defects = Defects::default();
    for trouble in troubles {
        tell(&mut defects, text, &[], trouble.clone());
    }
    let first = defects.finish().into_iter().next();
    first.map_or_else(String::new, |defect| defect.to_string())
}

fn tell(defects: &mut Defects, text: &str, params: &[String], trouble: Trouble) {
    let at = place_of(text, trouble.at);
    match trouble.what {
        Wrong::Form(message) => defects.add(at, codes::JQ, message),
        Wrong::Import => {
            let message = "it imports another file";
            defects.add(at, codes::JQ_REACH, message);
        }
        Wrong::Label(name) => {
            let message = format!("there is no `label {}` around it", shown(&name));
            defects.add(at, codes::JQ_NAME, message);
        }
        Wrong::Variable(name) if name == "$ENV" => {
            let message = "`$ENV` is the environment of a process";
            defects.add(at, codes::JQ_REACH, message);
        }
        Wrong::Variable(name) => {
            let bare = name.trim_start_matches('$');
            let message = format!("there is no variable `{}`", shown(&name));
            if params.is_empty() {
                let help = format!(
                    "Bind it by `as`, or declare it in app.toml: `params = [\"{}\"]` in `[map.NAME]`.",
                    shown(bare)
                );
                defects.help(at, codes::JQ_NAME, message, help);
            } else {
                let known = params.iter().map(String::as_str);
                defects.unknown(at, codes::JQ_NAME, message, bare, known);
            }
        }
        Wrong::Function(name, count) => function(defects, at, &name, count),
    }
}

fn function(defects: &mut Defects, at: Place, name: &str, count: usize) {
    if let Some((_, why)) = compile::OUTSIDE.iter().find(|(out, _)| *out == name) {
        let message = format!("`{name}` {why}");
        defects.add(at, codes::JQ_REACH, message);
        return;
    }
    let known = compile::names();
    let takes: Vec<String> = known
        .iter()
        .filter(|(known, _)| *known == name)
        .map(|(_, count)| count.to_string())
        .collect();
    if takes.is_empty() {
        let message = format!("there is no function `{}`", shown(name));
        let known = known.iter().map(|(name, _)| *name);
        defects.unknown(at, codes::JQ_NAME, message, name, known);
    } else {
        let message = format!("`{name}` is given {count} arguments");
        let help = format!("It takes {}.", takes.join(" or "));
        defects.help(at, codes::JQ_NAME, message, help);
    }
}

#[cfg(test)]
mod tests;
