//! The command line against an admin listener that speaks TLS and wants a token and a certificate.

use std::{fs, path::Path, process::Command};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use crate::dev::{APP, Dev, text};

const NODE: &str = r#"
[node]
name = "node-a"
data_dir = "data"
[http]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
token = { secret = "token" }
tls = { certificate = "node.pem", key = "node.key", client_ca = "ca.pem", require_client_certificate = true }
[secrets]
folder = "secrets"
"#;

/// An authority, a certificate for the node, and one for the operator with its key in the same file.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    fs::write(dir.join("ca.pem"), authority.pem()).expect("written");
    let issue = |name: &str, usage| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("signed");
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = issue("node", ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(dir.join("node.pem"), certificate).expect("written");
    fs::write(dir.join("node.key"), key).expect("written");
    let (certificate, key) = issue("operator", ExtendedKeyUsagePurpose::ClientAuth);
    fs::write(dir.join("operator.pem"), certificate + &key).expect("written");
}

fn secret(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir(dir.join("secrets")).expect("made");
    let file = dir.join("secrets/token");
    fs::write(&file, "open-sesame").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("closed");
}

#[test]
fn the_command_line_speaks_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    certificates(dir);
    secret(dir);
    fs::write(dir.join("node.toml"), NODE).expect("written");
    let node = Dev::run_in(folder, APP, &["run", ".", "--node", "node.toml"], "https");
    let list = |settings: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quayside"))
            .args(["ports", "list"])
            .current_dir(&node.dir)
            .env("QUAYSIDE_ADMIN", &node.admin)
            .envs(settings.iter().copied())
            .output()
            .expect("the program runs");
        (output.status.code(), text(&output))
    };
    let ca = ("QUAYSIDE_ADMIN_CA", "ca.pem");
    let identity = ("QUAYSIDE_ADMIN_IDENTITY", "operator.pem");
    let token = ("QUAYSIDE_TOKEN", "open-sesame");
    let (code, said) = list(&[ca, identity, token]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("orders.archive"), "{said}");

    let (code, said) = list(&[ca, identity]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("error[QS0703] a token is needed"),
        "{said}"
    );
    let (code, said) = list(&[ca, identity, ("QUAYSIDE_TOKEN", "open-sesam")]);
    assert_eq!(code, Some(1), "{said}");
    let wrong = "error[QS0703] the token is not the one of this node";
    assert!(said.starts_with(wrong), "{said}");
    // Of an authority that the machine does not know.
    let (code, said) = list(&[identity, token]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("--admin-ca FILE"), "{said}");
    // Without a certificate of one's own.
    let (code, said) = list(&[ca, token]);
    assert_eq!(code, Some(4), "{said}");
    let plain = node.admin.replacen("https", "http", 1);
    let (code, said) = list(&[ca, identity, token, ("QUAYSIDE_ADMIN", &plain)]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("https://"), "{said}");
    let (code, said) = list(&[("QUAYSIDE_ADMIN_CA", "none.pem")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("error[QS0707] none.pem"), "{said}");
}
