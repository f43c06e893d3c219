//! What `quayside dev` adds: a partner that shows what arrives, reload on save, and a call that works.
//!
//! Everything for people goes to standard error; standard output has the one line for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use quayside_engine::plan::{Location, ReceivePort, SendPort};
use quayside_model::MessageId;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

mod partner;
mod sample;

use crate::{
    cli::output::complain,
    config::{Loaded, orchestration},
    wiring,
};

/// How `dev` differs from `run`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DevOptions {
    /// Where the built-in partner listens.
    pub(crate) partner: SocketAddr,
}

/// How often saved files are looked for. A person does not notice the wait, and polling works on every
/// file system and with every editor.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// The file of an application.
const APP_FILE: &str = "app.toml";

/// Files, and when each was last saved.
#[derive(Debug)]
pub(crate) struct Watch {
    files: BTreeSet<PathBuf>,
    seen: Look,
}

/// Each file, and when it was last saved, and how long it is; `None`: it is not there.
type Look = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// Watches `files`, as they are now, and whatever orchestrations lie beside them then.
pub(crate) fn watch(files: &[PathBuf]) -> Watch {
    let mut watch = Watch {
        files: files.iter().cloned().collect(),
        seen: Look::new(),
    };
    watch.seen = watch.look();
    watch
}

impl Watch {
    /// Waits until a file has been saved, removed or added.
    pub(crate) async fn changed(&mut self) {
        let mut before = self.seen.clone();
        loop {
            sleep(LOOK_EVERY).await;
            let now = self.look();
            // An editor that writes aside and renames leaves a moment without the file: one that is gone for two looks
            // was removed.
            let is_whole = now.values().all(Option::is_some) || now == before;
            if now != self.seen && is_whole {
                self.seen = now;
                return;
            }
            before = now;
        }
    }

    fn look(&self) -> Look {
        let look = |path: PathBuf| {
            let meta = fs::metadata(&path).ok();
            let state = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            (path, state)
        };
        // An orchestration belongs to its application by its name, as soon as it is there.
        let apps = self.files.iter().filter(|file| file.ends_with(APP_FILE));
        let folders = apps.filter_map(|file| file.parent());
        let beside = folders.flat_map(|folder| orchestration::files(folder).into_values());
        let all: BTreeSet<PathBuf> = self.files.iter().cloned().chain(beside).collect();
        all.into_iter().map(look).collect()
    }
}

/// Starts the built-in partner and says where it listens. If its address is taken, somebody else plays
/// the partner: `None`.
pub(crate) async fn start_partner(
    options: &DevOptions,
    tasks: &mut JoinSet<&'static str>,
    over: CancellationToken,
) -> Option<SocketAddr> {
    match crate::lifecycle::bind(options.partner).await {
        Ok(listener) => {
            let address = listener.local_addr().unwrap_or(options.partner);
            tasks.spawn(partner::serve(listener, over));
            Some(address)
        }
        Err(failure) => {
            complain(&format!(
                "warning[{}] {}: the built-in partner does not run\n   help: Stop the program that has \
                 the address, or choose another with `--partner-listen`.\n",
                failure.code, failure.message
            ));
            None
        }
    }
}

/// Tells the person what can be done now.
pub(crate) fn explain(
    loaded: &Loaded,
    http: SocketAddr,
    admin: SocketAddr,
    partner: Option<SocketAddr>,
) {
    let mut text =
        String::from("\nQuayside runs. It reads the configuration again when you save it.\n");
    for port in &loaded.plan.receive {
        for location in &port.locations {
            text.push_str(&way_in(loaded, port, location, http));
        }
    }
    let mut shown = false;
    for port in &loaded.plan.send {
        let here = partner.filter(|partner| sends_to(port, *partner));
        shown |= here.is_some();
        text.push_str(&way_out(port, here.is_some()));
    }
    if let (false, Some(partner)) = (shown, partner) {
        text.push_str(&format!(
            "\nThe built-in partner listens on http://{partner}, but no send port sends to it: give one \
             that address in its `url`, or start with the address of one as `--partner-listen`.\n"
        ));
    }
    text.push_str(&format!(
        "\nWhat became of it:\n  quayside messages list{}\n",
        admin_flag(admin)
    ));
    text.push('\n');
    complain(&text);
}

/// How other verbs find this process, where they do not by themselves.
fn admin_flag(admin: SocketAddr) -> String {
    match admin.port() {
        DEFAULT_ADMIN_PORT => String::new(),
        _ => format!(" --admin http://{admin}"),
    }
}

const DEFAULT_ADMIN_PORT: u16 = 9470;

/// Whether the port sends to this address of this machine.
fn sends_to(port: &SendPort, partner: SocketAddr) -> bool {
    let url = port.primary.block["url"].as_str();
    url.is_some_and(|url| is_at(url, partner))
}

fn is_at(url: &str, partner: SocketAddr) -> bool {
    let authority = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split(['/', '?']).next());
    let Some((host, number)) = authority.and_then(|authority| authority.rsplit_once(':')) else {
        return false;
    };
    let host = host.trim_matches(['[', ']']);
    let same_host = match host.parse::<IpAddr>() {
        Ok(host) if partner.ip().is_unspecified() => host.is_loopback(),
        Ok(host) => host == partner.ip(),
        Err(_) => host == "localhost",
    };
    same_host && number.parse() == Ok(partner.port())
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
        "sharepoint" => format!(
            "\nInto {name}: documents in {}, or\n  quayside send {name} {file}\n",
            library(&location.block),
            name = location.name,
        ),
        _ => match location.block["folder"].as_str() {
            Some(folder) => {
                let folder = shell_word(&shown(Path::new(folder)));
                format!("\nInto {}:\n  cp {file} {folder}/\n", location.name)
            }
            None => match location.block["queue"].as_str() {
                Some(queue) => format!(
                    "\nInto {name}: what is put into the queue `{queue}` at {}, or\n  \
                     quayside send {name} {file}\n",
                    broker(&location.block),
                    name = location.name,
                ),
                None => String::new(),
            },
        },
    }
}

fn way_out(port: &SendPort, to_partner: bool) -> String {
    let block = &port.primary.block;
    let name = &port.name;
    if port.primary.adapter == "sharepoint" {
        return format!("\nOut of {name}: documents in {}\n", library(block));
    }
    if let Some(folder) = block["folder"].as_str() {
        return format!("\nOut of {name}: files in {}\n", shown(Path::new(folder)));
    }
    if let Some(queue) = block["queue"].as_str() {
        return format!(
            "\nOut of {name}: the queue `{queue}` at {}\n",
            broker(block)
        );
    }
    match block["url"].as_str() {
        Some(url) if to_partner => {
            format!("\nOut of {name}: {url}, where the built-in partner shows it here\n")
        }
        Some(url) => format!("\nOut of {name}: {url}, which is not the built-in partner\n"),
        None => String::new(),
    }
}

/// Which library of which site, and which folder of it.
fn library(block: &serde_json::Value) -> String {
    let text = |key: &str| block[key].as_str().unwrap_or_default();
    let folder = match text("folder") {
        "" => String::new(),
        folder => format!("/{folder}"),
    };
    format!("`{}{folder}` of {}", text("library"), text("site"))
}

/// Where the broker of a queue is, or the brokers.
fn broker(block: &serde_json::Value) -> String {
    match &block["url"] {
        serde_json::Value::Array(all) => {
            let urls: Vec<&str> = all.iter().filter_map(serde_json::Value::as_str).collect();
            urls.join(", ")
        }
        url => url.as_str().unwrap_or_default().to_owned(),
    }
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
pub(crate) fn shell_word(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partner_is_known_by_its_address() {
        for (url, partner, same) in [
            ("http://127.0.0.1:9471/orders", "127.0.0.1:9471", true),
            ("http://localhost:9471", "127.0.0.1:9471", true),
            ("http://127.0.0.1:9471?a=b", "0.0.0.0:9471", true),
            ("http://[::1]:9471/orders", "[::1]:9471", true),
            ("http://127.0.0.1:9471/orders", "127.0.0.1:9999", false),
            ("http://127.0.0.1/orders", "127.0.0.1:9471", false),
            ("https://127.0.0.1:9471/orders", "127.0.0.1:9471", false),
            ("http://erp.example:9471/orders", "127.0.0.1:9471", false),
        ] {
            let partner = partner.parse().expect("an address");
            assert_eq!(is_at(url, partner), same, "{url} {partner}");
        }
    }

    #[test]
    fn a_library_is_told_with_its_folder() {
        let block = serde_json::json!({ "site": "http://sp/sites/t", "library": "Orders" });
        assert_eq!(library(&block), "`Orders` of http://sp/sites/t");
        let block = serde_json::json!({ "site": "http://sp", "library": "Orders", "folder": "In" });
        assert_eq!(library(&block), "`Orders/In` of http://sp");
    }
}
