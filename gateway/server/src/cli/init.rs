//! `quayside init`: a small application that passes `check` and runs.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{codes, output};
use crate::{
    config::is_name,
    exit::{Exit, Failure},
};

/// Where.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder to make; its last part becomes the name of the application
    dir: PathBuf,
}

/// The application: one way in, two ways out.
const APP: &str = r#"[app]
name = "{NAME}"

[message.order]
type = "urn:orders#Order"                       # namespace#root
namespaces = { o = "urn:orders" }
promote.OrderId = { xpath = "/o:Order/o:Id", required = true }

[receive.orders]
message = "order"
dedupe = { key = "http.header.idempotency-key", window = "24h" }
[receive.orders.location.web.http]
path = "/in/orders"

[send.archive]
filter = "msg.type == 'urn:orders#Order'"
primary.file = { folder = "archive", create = true, file_name = "{OrderId}-{msg.id}.xml" }

[send.partner]
filter = "msg.type == 'urn:orders#Order'"
primary.http = { url = "http://127.0.0.1:9471/orders" }
"#;

/// A message that the application takes.
const SAMPLE: &str = "<Order xmlns=\"urn:orders\">\n  <Id>4711</Id>\n</Order>\n";

/// Makes the folder. Nothing that is there is changed.
pub(super) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let dir = &args.dir;
    let app = dir.join("app.toml");
    if app.exists() {
        return Err(Failure::new(
            codes::EXISTS,
            format!("{} is there already", app.display()),
        ));
    }
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let name = absolute
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("orders");
    let name = if is_name(name) { name } else { "orders" };
    let write = || {
        fs::create_dir_all(dir.join("samples"))?;
        fs::write(dir.join("samples/order.xml"), SAMPLE)?;
        fs::write(&app, APP.replace("{NAME}", name))
    };
    write().map_err(|error| Failure::new(codes::FILE, format!("{}: {error}", dir.display())))?;
    let dir = dir.display();
    output::print(&format!(
        "Made the application `{name}` in {dir}. Next: quayside dev {dir}\n"
    ))
}
