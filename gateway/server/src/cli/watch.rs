//! `--watch`: the same question again and again, until the operator has seen enough.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    codes,
    output::{self, Output, complain},
};
use crate::{
    admin::second,
    exit::{Exit, Failure},
    wiring,
};

/// How often to look.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Watch {
    /// Look again every so many seconds, 2 if no number is given, until Ctrl-C
    #[arg(
        short = 'W',
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
}

/// A result, for programs and in words.
pub(super) type Seen = (Value, String);

impl Watch {
    /// Prints what `look` sees, once or again and again. On a terminal each look takes the place of the one
    /// before, elsewhere it comes below it. Only the first look that fails ends it: a node that is started
    /// again is what one may be waiting for.
    pub(super) async fn show(
        self,
        output: Output,
        look: impl AsyncFn() -> Result<Seen, Failure>,
    ) -> Result<Exit, Failure> {
        let Some(seconds) = self.watch else {
            let (value, text) = look().await?;
            return output.text(&value, &text);
        };
        let interrupted = signal(SignalKind::interrupt());
        let mut interrupted =
            interrupted.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
        let terminal = std::io::stdout().is_terminal();
        let mut seen = Ok(look().await?);
        loop {
            let frame = match &seen {
                Ok((value, text)) => output.form(value, text)?,
                Err(failure) if terminal => format!("{failure}"),
                Err(failure) => {
                    complain(&format!("{failure}"));
                    String::new()
                }
            };
            if !output::put(framed(&frame, seconds, terminal).as_bytes())? {
                return Ok(Exit::Ok);
            }
            let next = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                look().await
            };
            seen = tokio::select! {
                _ = interrupted.recv() => return Ok(Exit::Ok),
                seen = next => seen,
            };
        }
    }
}

/// On a terminal from its upper left corner, under a line that says how old it is.
fn framed(frame: &str, seconds: u64, terminal: bool) -> String {
    if !terminal {
        return frame.to_owned();
    }
    let now = second(wiring::clock().now());
    format!("\u{1b}[H\u{1b}[JEvery {seconds} s, now {now}; Ctrl-C ends it.\n\n{frame}")
}
