//! What `quayside dev` adds: a partner that shows what arrives, reload on save, and a call that works.
//!
//! Everything for people goes to standard error; standard output has the one line for programs.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use quayside_engine::plan::{Location, ReceivePort, SendPort};
use quayside_model::MessageId;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

mod partner;
mod sample;

use crate::{cli::output::complain, config::Loaded, wiring};

/// How `dev` differs from `run`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DevOptions {
    /// Where the built-in partner listens.
    pub(crate) partner: SocketAddr,
}

/// How often saved files are looked for. A person does not notice the wait, and polling works on every
/// file system and with every editor.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Files, and when each was last saved.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Vec<PathBuf>,
    seen: Vec<Option<(SystemTime, u64)>>,
}

/// Watches `files`, as they are now.
pub(crate) fn watch(files: &[PathBuf]) -> Watch {
    let mut watch = Watch {
        files: files.to_vec(),
        seen: Vec::new(),
    };
    watch.seen = watch.look();
    watch
}

impl Watch {
    /// Waits until a file has been saved.
    pub(crate) async fn changed(&mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.look();
            // An editor that writes aside and renames leaves a moment without the file.
            if now != self.seen && now.iter().all(Option::is_some) {
                self.seen = now;
                return;
            }
        }
    }

    fn look(&self) -> Vec<Option<(SystemTime, u64)>> {
        let look = |path: &PathBuf| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        self.files.iter().map(look).collect()
    }
}

/// Starts the built-in partner. If its address is taken, somebody else plays the partner.
pub(crate) async fn start_partner(
    options: &DevOptions,
    tasks: &mut JoinSet<&'static str>,
    over: CancellationToken,
) {
    match crate::lifecycle::bind(options.partner).await {
        Ok(listener) => drop(tasks.spawn(partner::serve(listener, over))),
        Err(failure) => complain(&format!(
            "{failure}   The built-in partner does not run; ports that send to {} reach whoever is there.\n",
            options.partner
        )),
    }
}

/// Tells the person what can be done now.
pub(crate) fn explain(loaded: &Loaded, http: SocketAddr) {
    let mut text =
        String::from("\nQuayside runs. It reads the configuration again when you save it.\n");
    for port in &loaded.plan.receive {
        for location in &port.locations {
            text.push_str(&way_in(loaded, port, location, http));
        }
    }
    for port in &loaded.plan.send {
        text.push_str(&way_out(port));
    }
    text.push('\n');
    complain(&text);
}

fn way_in(loaded: &Loaded, port: &ReceivePort, location: &Location, http: SocketAddr) -> String {
    let sample = sample::find_or_make(loaded, port);
    let Some(sample) = sample else {
        return format!(
            "\nInto {}: no sample message can be made for it.\n",
            location.name
        );
    };
    let file = shell_word(&shown(&sample));
    match location.adapter.as_str() {
        "http" => {
            let path = location.block["path"]
                .as_str()
                .unwrap_or("/")
                .replace('*', "x");
            let key = MessageId::new(wiring::clock().now(), &*wiring::entropy());
            let kind = content_type(&sample);
            format!(
                "\nInto {}:\n  curl -i -H 'Content-Type: {kind}' -H 'Idempotency-Key: \"{key}\"' \
                 --data-binary @{file} {}\n",
                location.name,
                shell_word(&format!("http://{http}{path}")),
            )
        }
        _ => match location.block["folder"].as_str() {
            Some(folder) => {
                let folder = shell_word(&shown(Path::new(folder)));
                format!("\nInto {}:\n  cp {file} {folder}/\n", location.name)
            }
            None => String::new(),
        },
    }
}

fn way_out(port: &SendPort) -> String {
    let block = &port.primary.block;
    let target = block["folder"]
        .as_str()
        .map(|folder| shown(Path::new(folder)));
    let target = target.or_else(|| block["url"].as_str().map(str::to_owned));
    target.map_or_else(String::new, |target| {
        format!("\nOut of {}: look at {target}\n", port.name)
    })
}

/// A path below the current folder without that folder.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// `text` as one word of a shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn content_type(sample: &Path) -> &'static str {
    match sample.extension().and_then(|extension| extension.to_str()) {
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

/// Writes a file of the data folder.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create(path)?.write_all(text.as_bytes())
}
