//! `node.toml`: what differs per machine. Every section may be left out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use quayside_adapter_api::{ByteSize, SecretRef, Span, config::parse};
use quayside_adapter_http::{ListenerOptions, TlsOptions};
use quayside_lease::Timings;
use quayside_model::Name;
use quayside_store::maintain::Retention;

use super::{
    codes,
    log::{self, LogConfig},
    outside,
    report::{Report, SourceId},
    section::{Section, is_name},
    spans::Node,
    transport::put_back,
};

/// Everything of a node's file, defaults put in.
#[derive(Debug, Clone)]
pub(crate) struct NodeConfig {
    /// The name of the node.
    pub(crate) name: Name,
    /// Where the embedded store lies, and what relative folders are relative to.
    pub(crate) data_dir: PathBuf,
    /// Where the agent of the node keeps its sockets.
    pub(crate) run_dir: PathBuf,
    /// The store.
    pub(crate) store: StoreConfig,
    /// The listener of the HTTP receive locations.
    pub(crate) http: Listen,
    /// The listeners of hosts that do not use that one.
    pub(crate) http_of_hosts: BTreeMap<String, Listen>,
    /// How long a stopping process goes on serving after it has told load balancers to go elsewhere.
    pub(crate) drain: Duration,
    /// The admin listener.
    pub(crate) admin: AdminConfig,
    /// Where secrets lie.
    pub(crate) secrets: PathBuf,
    /// How to log.
    pub(crate) log: LogConfig,
    /// The timings of the session.
    pub(crate) timings: Timings,
    /// How often the agent of the node looks at the store.
    pub(crate) poll: Duration,
    /// Whether a failover of the store may lose what it has acknowledged.
    pub(crate) allow_loss: bool,
    /// How long ended things are kept.
    pub(crate) retention: Retention,
    /// How maps are run that have processes of their own.
    pub(crate) maps: quayside_engine::outside::Settings,
}

/// Which store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoreConfig {
    /// Of PostgreSQL; `None`: the embedded store.
    pub(crate) url: Option<String>,
    /// Its password.
    pub(crate) password: Option<SecretRef>,
    /// The authorities that its certificate may come from, PEM; `None`: those of the system.
    pub(crate) ca: Option<PathBuf>,
}

/// A listener.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// Where.
    pub(crate) address: SocketAddr,
    /// With TLS, if it is set.
    pub(crate) tls: Option<TlsOptions>,
    /// The limits of a listener of HTTP locations; where it listens and TLS stand above.
    pub(crate) limits: ListenerOptions,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub(crate) struct AdminConfig {
    /// Where.
    pub(crate) listen: Listen,
    /// The token that each call has to bear.
    pub(crate) token: Option<SecretRef>,
}

/// What a node is when its file does not say.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// The name of the node.
    pub(crate) name: String,
    /// The data folder.
    pub(crate) data_dir: PathBuf,
    /// The folder of systemd's credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// The address of the HTTP listener.
    pub(crate) http: SocketAddr,
    /// The address of the admin listener.
    pub(crate) admin: SocketAddr,
}

impl Defaults {
    /// For this machine and this environment.
    pub(crate) fn of_this_machine(data_dir: PathBuf) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = hostname
            .trim()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned();
        Self {
            name: if is_name(&name) {
                name
            } else {
                "node".to_owned()
            },
            data_dir,
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            http: DEFAULT_HTTP,
            admin: DEFAULT_ADMIN,
        }
    }
}

/// The addresses that hold where nothing says otherwise.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(LOOPBACK, 8080);
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(LOOPBACK, 9470);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads a node's file; an empty one for a node without.
pub(crate) fn read(
    report: &Report,
    source: SourceId,
    root: &Node,
    defaults: &Defaults,
) -> NodeConfig {
    let file = Section::new(report, source, String::new(), root);
    let (name, data_dir) = node(&file, defaults);
    let (timings, poll) = session(&file);
    let config = NodeConfig {
        store: store(&file),
        http: http(&file, defaults),
        http_of_hosts: http_of_hosts(&file),
        drain: drain(&file),
        admin: admin(&file, defaults),
        secrets: secrets(&file, defaults, &data_dir),
        log: log::read(&file),
        timings,
        poll,
        allow_loss: allow_loss(&file),
        retention: retention(&file),
        maps: outside::read(&file, &data_dir),
        run_dir: run_dir(&file, &data_dir),
        name,
        data_dir,
    };
    // The sections are read by several functions, so their unknown keys are reported here, once.
    for (key, known) in SECTIONS {
        if let Some(section) = file.section(key) {
            section.know(known);
            section.finish();
        }
    }
    clashes(&file, &config);
    file.finish();
    config
}

/// The sections and their keys.
const SECTIONS: [(&str, &[&str]); 9] = [
    ("node", &["name", "data_dir", "run_dir"]),
    ("store", &["url", "password", "ca"]),
    (
        "http",
        &[
            "listen",
            "tls",
            "host",
            "drain",
            "header_timeout",
            "max_header",
            "max_connections",
            "max_requests",
            "max_streams",
        ],
    ),
    ("admin", &["listen", "tls", "token"]),
    ("secrets", &["folder"]),
    ("log", &["format", "level"]),
    ("session", &["profile"]),
    ("cluster", &["allow_loss"]),
    ("maps", &outside::KEYS),
];

fn node(file: &Section<'_>, defaults: &Defaults) -> (Name, PathBuf) {
    let section = file.section("node");
    let name = section.as_ref().and_then(|section| section.text("name"));
    if let (Some(name), Some(section)) = (name, &section)
        && !is_name(name)
    {
        section.error(codes::BAD_NAME, "name", format!("`{name}` is not a name"));
    }
    let name = Name::new(name.unwrap_or(&defaults.name));
    let data_dir = section
        .as_ref()
        .and_then(|section| section.text("data_dir"));
    let data_dir = data_dir.map_or_else(|| defaults.data_dir.clone(), PathBuf::from);
    // Only an empty path cannot be made absolute.
    let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
    (
        name.unwrap_or_else(|_| Name::new("node").expect("`node` is a name")),
        data_dir,
    )
}

fn run_dir(file: &Section<'_>, data_dir: &Path) -> PathBuf {
    let section = file.section("node");
    let run_dir = section.as_ref().and_then(|section| section.text("run_dir"));
    let run_dir = run_dir.map_or_else(|| data_dir.join("run"), PathBuf::from);
    // As with the data folder.
    std::path::absolute(&run_dir).unwrap_or(run_dir)
}

fn store(file: &Section<'_>) -> StoreConfig {
    let Some(section) = file.section("store") else {
        return StoreConfig::default();
    };
    let url = section.text("url");
    if let Some(url) = url
        && !url.starts_with("postgres://")
        && !url.starts_with("postgresql://")
    {
        let message =
            "`store.url` must begin with postgres://; leave it out for the embedded store";
        section.error(codes::WRONG_VALUE, "url", message);
    }
    StoreConfig {
        url: url.map(str::to_owned),
        password: secret(&section, "password"),
        ca: section.text("ca").map(PathBuf::from),
    }
}

/// `{ secret = "NAME" }` under `key`. A literal text is reported by the check for literal secrets.
fn secret(section: &Section<'_>, key: &str) -> Option<SecretRef> {
    let node = section.get(key).filter(|node| node.text().is_none())?;
    let reference = serde_json::from_value(node.to_json());
    if reference.is_err() {
        let message = format!("`{}` must be {{ secret = \"NAME\" }}", section.name_of(key));
        section.error(codes::WRONG_VALUE, key, message);
    }
    reference.ok()
}

fn listen(section: &Section<'_>, default: SocketAddr) -> Listen {
    let text = section.text("listen");
    let address = text.map(|text| text.replacen("localhost:", "127.0.0.1:", 1).parse());
    let address = match address {
        None => default,
        Some(Ok(address)) => address,
        Some(Err(_)) => {
            let message = format!(
                "`{}` must be ADDRESS:PORT, such as 0.0.0.0:8080",
                section.name_of("listen")
            );
            section.error(codes::WRONG_VALUE, "listen", message);
            default
        }
    };
    Listen {
        address,
        tls: tls(section),
        limits: no_limits(),
    }
}

/// The adapter's own limits.
fn no_limits() -> ListenerOptions {
    ListenerOptions::plain("")
}

/// The limits of a listener of HTTP locations.
fn limits(section: &Section<'_>) -> ListenerOptions {
    let own = no_limits();
    let header_timeout = section.parsed::<Span>("header_timeout");
    if header_timeout.is_some_and(|span| span.duration().is_zero()) {
        let message = format!("`{}` must not be zero", section.name_of("header_timeout"));
        section.error(codes::LIMIT, "header_timeout", message);
    }
    let max_header = section.parsed::<ByteSize>("max_header");
    if max_header.is_some_and(|size| !MAX_HEADER.contains(&size)) {
        let message = format!(
            "`{}` must be from 8 KiB to 1 MiB",
            section.name_of("max_header")
        );
        section.error(codes::LIMIT, "max_header", message);
    }
    let number = |key: &str, own: usize| {
        let number = section.integer(key, 1..=1_000_000);
        number.map_or(own, |number| number as usize)
    };
    ListenerOptions {
        header_timeout: header_timeout.unwrap_or(own.header_timeout),
        max_header: max_header.unwrap_or(own.max_header),
        max_connections: number("max_connections", own.max_connections),
        max_requests: number("max_requests", own.max_requests),
        max_streams: section
            .integer("max_streams", 1..=65_536)
            .unwrap_or(own.max_streams),
        ..own
    }
}

/// What an adapter can work with.
const MAX_HEADER: RangeInclusive<ByteSize> = ByteSize::kib(8)..=ByteSize::mib(1);

/// `tls = { certificate, key, client_ca, require_client_certificate }`: paths of files, or secrets.
fn tls(section: &Section<'_>) -> Option<TlsOptions> {
    let node = section.get("tls")?;
    let faults = match parse::<TlsOptions>(&node.to_json()) {
        Ok(tls) => return Some(tls),
        Err(faults) => faults,
    };
    faults
        .into_iter()
        .for_each(|fault| put_back(section, &["tls"], fault));
    None
}

fn http(file: &Section<'_>, defaults: &Defaults) -> Listen {
    let section = file.section("http");
    section.map_or(
        Listen {
            address: defaults.http,
            tls: None,
            limits: no_limits(),
        },
        |section| Listen {
            limits: limits(&section),
            ..listen(&section, defaults.http)
        },
    )
}

/// Two looks of a load balancer that looks every second.
const DRAIN: Duration = Duration::from_secs(2);

fn drain(file: &Section<'_>) -> Duration {
    let section = file.section("http");
    section
        .and_then(|section| section.parsed::<Span>("drain"))
        .map_or(DRAIN, Span::duration)
}

fn http_of_hosts(file: &Section<'_>) -> BTreeMap<String, Listen> {
    let hosts = file
        .section("http")
        .map(|http| http.named("host"))
        .unwrap_or_default();
    let host = |(name, section): (&str, Section<'_>)| {
        section.required_text("listen");
        let listen = Listen {
            limits: limits(&section),
            ..listen(&section, SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        section.finish();
        (name.to_owned(), listen)
    };
    hosts.into_iter().map(host).collect()
}

fn admin(file: &Section<'_>, defaults: &Defaults) -> AdminConfig {
    let Some(section) = file.section("admin") else {
        return AdminConfig {
            listen: Listen {
                address: defaults.admin,
                tls: None,
                limits: no_limits(),
            },
            token: None,
        };
    };
    let config = AdminConfig {
        listen: listen(&section, defaults.admin),
        token: secret(&section, "token"),
    };
    let protected = config.listen.tls.is_some() && config.token.is_some();
    if !config.listen.address.ip().is_loopback() && !protected {
        let message = format!(
            "the admin listener {} can be reached from other machines, but has not both `tls` and `token`",
            config.listen.address
        );
        section.error(codes::NOT_LOOPBACK, "listen", message);
    }
    config
}

fn secrets(file: &Section<'_>, defaults: &Defaults, data_dir: &Path) -> PathBuf {
    let folder = file
        .section("secrets")
        .and_then(|section| section.text("folder"));
    match (folder, &defaults.credentials) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(credentials)) => credentials.clone(),
        (None, None) => data_dir.join("secrets"),
    }
}

/// The timings of a profile, and how often an agent looks at the store.
fn session(file: &Section<'_>) -> (Timings, Duration) {
    const LAN: (Timings, Duration) = (Timings::LAN, Duration::from_millis(250));
    let profiles = [
        ("lan", LAN),
        ("fast", (Timings::FAST, Duration::from_millis(100))),
        ("cloud", (Timings::CLOUD, Duration::from_millis(500))),
        ("wan", (Timings::WAN, Duration::from_secs(1))),
    ];
    let section = file.section("session");
    section
        .and_then(|section| section.choice("profile", &profiles))
        .unwrap_or(LAN)
}

fn allow_loss(file: &Section<'_>) -> bool {
    let section = file.section("cluster");
    section
        .and_then(|section| section.boolean("allow_loss"))
        .unwrap_or(false)
}

fn retention(file: &Section<'_>) -> Retention {
    let default = Retention::default();
    let Some(section) = file.section("retention") else {
        return default;
    };
    let span = |key: &str| section.parsed::<Span>(key).map(Span::duration);
    let retention = Retention {
        metadata: span("metadata").unwrap_or(default.metadata),
        bodies: span("bodies").unwrap_or(default.bodies),
    };
    if retention.bodies > retention.metadata {
        let message = "`retention.bodies` is longer than `retention.metadata`";
        section.error(codes::WRONG_VALUE, "bodies", message);
    }
    section.finish();
    retention
}

/// Refuses two listeners on one address. Port 0 is another port each time.
fn clashes(file: &Section<'_>, config: &NodeConfig) {
    let mut taken = vec![("admin.listen".to_owned(), config.admin.listen.address)];
    let hosts = config.http_of_hosts.iter();
    let hosts = hosts.map(|(name, listen)| (format!("http.host.{name}.listen"), listen.address));
    let http = std::iter::once(("http.listen".to_owned(), config.http.address));
    for (name, address) in http.chain(hosts) {
        let clash = taken
            .iter()
            .find(|(_, other)| address.port() != 0 && overlap(*other, address));
        if let Some((other, _)) = clash {
            let path: Vec<String> = name.split('.').map(str::to_owned).collect();
            let at = file.node.nearest(&path).key_at;
            let message = format!("`{name}` and `{other}` both listen on {address}");
            file.report.error(codes::CLASH, file.source, at, message);
        }
        taken.push((name, address));
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || any)
}
