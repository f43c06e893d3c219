//! A gateway that runs for a test, and the command line against it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use quayside_model::{Clock as _, SystemClock};
use serde_json::Value;

pub(crate) const APP: &str = r#"
[app]
name = "orders"
[message.order]
type = "urn:orders#Order"
namespaces = { o = "urn:orders" }
promote.OrderId = { xpath = "/o:Order/o:Id", required = true }
[receive.orders]
message = "order"
location.web.http = { path = "/in/orders" }
[send.archive]
filter = "msg.type == 'urn:orders#Order'"
primary.file = { folder = "archive", create = true, file_name = "{OrderId}-{msg.id}.xml" }
"#;
pub(crate) const ORDER: &str = "<Order xmlns=\"urn:orders\"><Id>7</Id></Order>";
/// Far longer than anything takes; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `quayside dev`, ended with the test.
pub(crate) struct Dev {
    pub(crate) process: Child,
    pub(crate) admin: String,
    pub(crate) dir: PathBuf,
    _folder: tempfile::TempDir,
}

impl Dev {
    /// `quayside dev` with the application [`APP`].
    pub(crate) fn start() -> Self {
        Self::with(APP)
    }

    /// `quayside dev` with this application.
    pub(crate) fn with(app: &str) -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"), app)
    }

    /// The same in a folder that has further files already.
    pub(crate) fn in_folder(folder: tempfile::TempDir, app: &str) -> Self {
        let listen = |flag| [flag, "127.0.0.1:0"];
        let args = [
            &["dev", ".", "--data-dir", "data"][..],
            &listen("--http-listen"),
            &listen("--admin-listen"),
            &listen("--partner-listen"),
        ];
        Self::run_in(folder, app, &args.concat(), "http")
    }

    /// The program with `args` in `folder`; its admin API speaks `scheme`.
    pub(crate) fn run_in(
        folder: tempfile::TempDir,
        app: &str,
        args: &[&str],
        scheme: &str,
    ) -> Self {
        let dir = folder.path().to_owned();
        std::fs::write(dir.join("app.toml"), app).expect("written");
        std::fs::write(dir.join("order.xml"), ORDER).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_quayside"))
            .args(args)
            .current_dir(&dir)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("log")).expect("a log"))
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let admin = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("admin="));
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        let admin = admin.unwrap_or_else(|| panic!("not ready: {line}\n{log}"));
        Self {
            process,
            admin: format!("{scheme}://{admin}"),
            dir,
            _folder: folder,
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        quayside(&self.dir, &self.admin, args)
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until `look` gives something.
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let begun = SystemClock.monotonic();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(
                SystemClock.monotonic().since(begun) < PATIENCE,
                "no {what}:\n{}",
                log()
            );
            // Between two looks at the condition, to leave the processor to what is waited for.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn port(&self) -> Value {
        let ports = self.json(&["ports", "list"]);
        let ports = ports["ports"].as_array().expect("ports").clone();
        ports
            .into_iter()
            .find(|port| port["name"] == "orders.archive")
            .expect("the port")
    }
}

/// An answer of the admin API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Dev {
    /// Calls the admin API over plain HTTP, without what the command line makes of it.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let host = self.admin.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(host).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.expect("a status"),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn quayside(dir: &Path, admin: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env("QUAYSIDE_ADMIN", admin)
        .env("QUAYSIDE_OPERATOR", "tester")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program runs")
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}
