//! What most scenarios share: an application, an order and its marks for the partner.

use std::{fs, net::SocketAddr, path::Path};

use bytes::Bytes;
use tempfile::TempDir;

/// An application's folder.
#[derive(Debug)]
pub struct App(TempDir);

impl App {
    /// An application with this `app.toml`.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::write(dir.path().join("app.toml"), toml).expect("writing app.toml");
        Self(dir)
    }

    /// The application `t` of most scenarios: orders come in at `/in/orders` and go to `partner`.
    /// `send` is added to the send port, `more` to the end.
    #[must_use]
    pub fn pass_through(partner: SocketAddr, send: &str, more: &str) -> Self {
        Self::new(&pass_through(partner, send, more))
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes it again.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn rewrite(&self, toml: &str) {
        fs::write(self.path().join("app.toml"), toml).expect("writing app.toml");
    }
}

/// The text of [`App::pass_through`].
#[must_use]
pub fn pass_through(partner: SocketAddr, send: &str, more: &str) -> String {
    format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id" }}
CustomerId = {{ xpath = "/o:Order/o:Customer/@id", required = true }}

[receive.orders]
host = "edge"
message = "order"
dedupe = {{ key = "http.header.idempotency-key", window = "24h" }}
[receive.orders.location.web.http]
path = "/in/orders"

[send.out]
host = "edge"
filter = "msg.type == 'urn:orders#Order'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
{send}
[send.out.primary.http]
url = "http://{partner}/orders"

{more}
"#
    )
}

/// An order of about `size` bytes with a business id and an order key that the partner finds in it.
#[must_use]
pub fn order_xml(id: &str, key: &str, size: usize) -> Bytes {
    let head = format!(
        "<?xml version=\"1.0\"?><Order xmlns=\"urn:orders\"><Id>bid:{id}</Id>\
         <Customer id=\"okey:{key}\"/><Total>12.50</Total><Note>"
    );
    let tail = "</Note></Order>";
    let note = size.saturating_sub(head.len() + tail.len());
    let mut text = String::with_capacity(head.len() + note + tail.len());
    text.push_str(&head);
    text.push_str(&"x".repeat(note));
    text.push_str(tail);
    Bytes::from(text)
}

/// A parcel of about `size` bytes as producers put it into queues: its business id, its order key and its number there.
#[must_use]
pub fn parcel_json(id: &str, key: &str, no: u64, size: usize) -> Bytes {
    let head = format!("{{\"id\": \"{id}\", \"key\": \"{key}\", \"seq\": {no}, \"pad\": \"");
    let pad = size.saturating_sub(head.len() + 2);
    Bytes::from(format!("{head}{}\"}}", "x".repeat(pad)))
}
