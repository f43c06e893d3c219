//! TLS on both sides: the gateway sends to itself, with certificates of an authority made here.

use std::{net::SocketAddr, path::PathBuf};

use quayside_adapter_api::{Adapter as _, ErrorKind};
use quayside_adapter_http::{ListenerOptions, TextOrSecret, TlsOptions, error};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    gateway::{Gateway, Verdict},
    send::{outbound, transport},
};

/// An authority with a certificate for the server and one for a client, as files.
struct Pki {
    folder: TempDir,
}

impl Pki {
    fn new() -> Self {
        let pki = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        pki.write("ca.pem", &authority.pem());
        pki.issue("server", ExtendedKeyUsagePurpose::ServerAuth, &authority);
        pki.issue("erp", ExtendedKeyUsagePurpose::ClientAuth, &authority);
        pki
    }

    fn issue(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        authority: &CertifiedIssuer<'_, KeyPair>,
    ) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, pem: &str) {
        std::fs::write(self.path(name), pem).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> TextOrSecret {
        TextOrSecret::Text(self.path(name).display().to_string())
    }

    /// A gateway that verifies clients of this authority, if they show a certificate.
    async fn gateway(&self) -> Gateway {
        let tls = TlsOptions {
            certificate: self.file("server.pem"),
            key: self.file("server.key"),
            client_ca: Some(self.file("ca.pem")),
            require_client_certificate: false,
        };
        Gateway::with(ListenerOptions {
            tls: Some(tls),
            ..ListenerOptions::plain("127.0.0.1:0")
        })
        .await
    }

    /// A send block that trusts the authority, and shows the certificate of `client`.
    fn block(&self, to: SocketAddr, client: Option<&str>) -> Value {
        let mut block = json!({ "url": format!("https://{to}/in"), "ca": self.path("ca.pem") });
        if let Some(client) = client {
            block["client_certificate"] = json!({
                "certificate": self.path(&format!("{client}.pem")),
                "key": self.path(&format!("{client}.key")),
            });
        }
        block
    }
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let pki = Pki::new();
    let mut gateway = pki.gateway().await;
    let block = json!({ "path": "/in", "client_certificate": true });
    gateway.location(block, |_| Verdict::Accept).await;
    let known = transport(pki.block(gateway.address, Some("erp")))
        .await
        .unwrap();
    known.send(outbound("<a/>")).await.expect("known");
    let unknown = transport(pki.block(gateway.address, None)).await.unwrap();
    let refused = unknown
        .send(outbound("<a/>"))
        .await
        .expect_err("no certificate");
    assert_eq!(refused.kind, ErrorKind::Rejected);
    assert!(
        refused.detail.contains(error::NO_CERTIFICATE.code),
        "{}",
        refused.detail
    );

    let seen = gateway.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    let client = seen[0].promoted("http.client").unwrap();
    assert!(client.contains("CN=erp"), "{client}");
    assert_eq!(seen[0].key.as_ref().unwrap().scope.as_str(), client);
    let thumbprint = seen[0]
        .context
        .value("http.client_certificate")
        .unwrap()
        .to_string();
    assert_eq!(thumbprint.len(), 64);
}

#[tokio::test]
async fn only_listed_subjects_get_in() {
    let pki = Pki::new();
    let mut gateway = pki.gateway().await;
    let block = json!({
        "path": "/in", "client_certificate": true, "client_subjects": ["CN=someone else"],
    });
    gateway.location(block, |_| Verdict::Accept).await;
    let sender = transport(pki.block(gateway.address, Some("erp")))
        .await
        .unwrap();
    let refused = sender.send(outbound("<a/>")).await.expect_err("not listed");
    assert!(
        refused.detail.contains(error::NO_CERTIFICATE.code),
        "{}",
        refused.detail
    );
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn strangers_do_not_get_through_the_handshake() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let mut gateway = pki.gateway().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;

    // A partner that the sender has no reason to trust gets no message.
    let distrusting = transport(stranger.block(gateway.address, None))
        .await
        .unwrap();
    let failed = distrusting
        .send(outbound("<a/>"))
        .await
        .expect_err("not trusted");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::NOT_REACHED, false),
        "{}",
        failed.detail
    );

    // A sender whose certificate comes from elsewhere is cut off.
    let mut block = pki.block(gateway.address, Some("erp"));
    block["client_certificate"] = json!({
        "certificate": stranger.path("erp.pem"), "key": stranger.path("erp.key"),
    });
    let failed = transport(block).await.unwrap().send(outbound("<a/>")).await;
    assert!(matches!(
        failed.expect_err("a stranger").kind,
        ErrorKind::Retry(_)
    ));
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn http_2_is_agreed_on() {
    let pki = Pki::new();
    let mut gateway = pki.gateway().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;
    let ca = std::fs::read(pki.path("ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("https://{}/in", gateway.address);
    let response = client.post(url).body("x").send().await.unwrap();
    assert_eq!(
        (response.version(), response.status().as_u16()),
        (reqwest::Version::HTTP_2, 202)
    );
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let pki = Pki::new();
    pki.write("empty.pem", "");
    for (certificate, key) in [
        ("missing.pem", "server.key"),
        ("empty.pem", "server.key"),
        ("server.pem", "erp.key"),
    ] {
        let tls = TlsOptions {
            certificate: pki.file(certificate),
            key: pki.file(key),
            client_ca: None,
            require_client_certificate: false,
        };
        let listener = ListenerOptions {
            tls: Some(tls),
            ..ListenerOptions::plain("127.0.0.1:0")
        };
        let adapter = quayside_adapter_http::HttpAdapter::new(quayside_adapter_http::HttpOptions {
            listeners: [("default".to_owned(), listener)].into(),
            readiness: std::sync::Arc::new(|| quayside_adapter_http::Readiness { ready: true }),
            secrets: std::sync::Arc::new(crate::gateway::Safe),
            workers: None,
        });
        let failed = adapter.bind().await.expect_err(certificate);
        assert_eq!(
            (failed.kind, failed.code),
            (ErrorKind::Config, error::BAD_TLS)
        );
        assert!(failed.detail.contains(certificate), "{}", failed.detail);
    }
    let plain = Gateway::start().await;
    let failed = plain
        .open(json!({ "path": "/in", "client_certificate": true }))
        .await
        .map(drop);
    assert_eq!(failed.expect_err("no authority").code, error::NO_LISTENER);
    assert_eq!(plain.adapter.name(), "http");
}
