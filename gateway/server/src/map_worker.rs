//! `quayside map-worker`: makes one document of another by a map, and ends. It is how the gateway runs jq, in a process of its own
//! within limits that the operating system keeps; no verb for people.
//!
//! The program is read and compiled before the document is asked for, so that a process can be started ahead.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufWriter, Read as _, Write as _},
    process::ExitCode,
};

use quayside_pipeline::map::jq;

/// The verb.
pub(crate) const VERB: &str = "map-worker";
/// How a parameter is given: its name and its value follow.
pub(crate) const PARAM: &str = "--arg";

/// Does what `args`, behind the verb, say.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    match work(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // If nobody reads it, nobody is to be told.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn work(args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let args = args.map(|arg| arg.into_string().map_err(|_| "an argument is no text"));
    let mut args = args.collect::<Result<Vec<_>, _>>()?.into_iter();
    if args.next().as_deref() != Some("jq") {
        return Err("only `jq` is known".to_owned());
    }
    let (mut params, mut file) = (Vec::new(), None);
    while let Some(arg) = args.next() {
        if arg == PARAM {
            let pair = args.next().zip(args.next());
            params.push(pair.ok_or("a parameter has a name and a value")?);
        } else {
            file = Some(arg);
        }
    }
    let file = file.ok_or("there is no file")?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let read = || {
        let mut document = Vec::new();
        io::stdin().lock().read_to_end(&mut document)?;
        Ok(document)
    };
    jq::run(&text, &params, read, BufWriter::new(io::stdout()))
}
