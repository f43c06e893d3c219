//! A program of jq as the engine runs it, with what of its library belongs into a map.

use std::collections::BTreeSet;

use jaq_core::{
    Compiler, Filter,
    compile::Undefined,
    data::JustLut,
    load::{self, Arena, Error, File, Loader, lex, parse},
    native::Fun,
};
use jaq_json::Val;

use super::shown;

type Data = JustLut<Val>;

/// What of jq a map has not, and why: it reaches outside of the document. In a process of a map there is nothing for it either.
pub(super) const OUTSIDE: [(&str, &str); 14] = [
    ("env", "is the environment of a process"),
    ("input", "reads other documents"),
    ("inputs", "reads other documents"),
    ("input_filename", "names a file"),
    ("input_line_number", "tells where in a file it is"),
    ("get_search_list", "names folders of the machine"),
    ("debug", "writes to a log"),
    ("debug_empty", "writes to a log"),
    ("stderr", "writes to a log"),
    ("stderr_empty", "writes to a log"),
    ("halt", "ends the process"),
    ("halt_error", "ends the process"),
    ("localtime", "goes by the time zone of the machine"),
    ("strflocaltime", "goes by the time zone of the machine"),
];

/// Something that is wrong with a program.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// The byte of its text.
    pub(super) at: usize,
    pub(super) what: Wrong,
}

/// What is wrong.
#[derive(Debug, Clone)]
pub(super) enum Wrong {
    /// It is no jq; why, for a person.
    Form(String),
    /// It names another file.
    Import,
    /// There is no such function with this number of arguments.
    Function(String, usize),
    /// There is no such variable; with its `$`.
    Variable(String),
    /// There is no such label.
    Label(String),
}

fn is_inside(name: &str) -> bool {
    !OUTSIDE.iter().any(|(outside, _)| *outside == name)
}

fn definitions() -> impl Iterator<Item = parse::Def<&'static str>> {
    let all = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    all.filter(|one| is_inside(one.name))
}

fn functions() -> impl Iterator<Item = Fun<Data>> {
    let all = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    all.filter(|(name, ..)| is_inside(name))
}

/// The functions that there are, with the numbers of their arguments.
pub(super) fn names() -> BTreeSet<(&'static str, usize)> {
    let defined = definitions().map(|one| (one.name, one.args.len()));
    let native = functions().map(|(name, args, _)| (name, args.len()));
    defined.chain(native).collect()
}

/// Compiles a program that has the variables `names`, each with its `$`.
///
/// # Errors
/// What is wrong with it, in no order.
pub(super) fn compile(text: &str, names: &[String]) -> Result<Filter<Data>, Vec<Trouble>> {
    let arena = Arena::default();
    let file = File {
        code: text,
        path: (),
    };
    let loader = Loader::new(definitions());
    let modules = loader
        .load(&arena, file)
        .map_err(|errors| loading(text, errors))?;
    load::import(&modules, |_| Err(String::new())).map_err(|errors| loading(text, errors))?;
    Compiler::default()
        .with_funs(functions())
        .with_global_vars(names.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| {
            let all = errors.into_iter().flat_map(|(_, errors)| errors);
            all.map(|(name, undefined)| Trouble {
                at: offset(text, name),
                what: match undefined {
                    Undefined::Var => Wrong::Variable(name.to_owned()),
                    Undefined::Label => Wrong::Label(name.to_owned()),
                    Undefined::Filter(count) => Wrong::Function(name.to_owned(), count),
                    Undefined::Mod => Wrong::Import,
                    other => Wrong::Form(format!("there is no {} `{name}`", other.as_str())),
                },
            })
            .collect()
        })
}

/// Where `part`, which was taken out of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    let at = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    if at <= text.len() { at } else { 0 }
}

fn loading(text: &str, errors: load::Errors<&str, ()>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut add = |part: &str, what| {
        let at = offset(text, part);
        troubles.push(Trouble { at, what });
    };
    for (_, error) in errors {
        match error {
            Error::Io(all) => {
                for (path, _) in all {
                    add(path, Wrong::Import);
                }
            }
            Error::Lex(all) => {
                for (wanted, found) in all {
                    add(found, Wrong::Form(lexed(&wanted, found)));
                }
            }
            Error::Parse(all) => {
                for (wanted, found) in all {
                    add(found, Wrong::Form(parsed(wanted.as_str(), found)));
                }
            }
        }
    }
    troubles
}

fn lexed(wanted: &lex::Expect<&str>, found: &str) -> String {
    let (what, begin) = match wanted {
        lex::Expect::Delim(open) => return format!("`{open}` is not closed"),
        lex::Expect::Digit => ("a digit", found),
        lex::Expect::Ident => ("a name", found),
        lex::Expect::Escape => ("one of `\"\\/bfnrtu(` after the backslash", found),
        lex::Expect::Unicode => ("four hexadecimal digits", found),
        _ => ("something else", found),
    };
    // The rest of the file is what was found.
    let begin: String = begin.chars().take(1).collect();
    wants(what, &begin)
}

fn parsed(wanted: &str, found: &str) -> String {
    let what = match wanted {
        "" | "nothing" => "the end".to_owned(),
        "term" | "variable" | "pattern" | "key" | "identifier" | "argument" | "string" => {
            format!("a {wanted}")
        }
        "else or end" => "`else` or `end`".to_owned(),
        other if other.contains(' ') => other.to_owned(),
        word => format!("`{word}`"),
    };
    wants(&what, found)
}

fn wants(what: &str, found: &str) -> String {
    if found.is_empty() {
        return format!("{what} is wanted, and it ends here");
    }
    let word: String = found.chars().take(20).collect();
    format!("{what} is wanted, and here is `{}`", shown(&word))
}
