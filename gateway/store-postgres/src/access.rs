//! What a connection needs beside its address: the authorities that the server's certificate may come
//! from, and the password. Both are read from files.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use quayside_store::{StoreError, StoreErrorKind};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::Password;

/// Where Debian and its relatives keep the authorities that the machine trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Parts of an address that ask for TLS.
const TLS_MODES: [&str; 3] = [
    "sslmode=require",
    "sslmode=verify-ca",
    "sslmode=verify-full",
];
/// The longest password file.
const PASSWORD_MAX: u64 = 64 * 1024;

/// TLS towards the database at `url`, where that asks for it, trusting the authorities of the PEM file `ca`,
/// or else those of the machine. The name of the server is always verified: `sslmode=require` is no weaker
/// here than `verify-full`.
///
/// # Errors
/// `Config` if the file cannot be read or holds no certificate that can be used.
pub fn client_tls(url: &str, ca: Option<&Path>) -> Result<Option<ClientConfig>, StoreError> {
    if !TLS_MODES.iter().any(|mode| url.contains(mode)) {
        return Ok(None);
    }
    let path = ca.unwrap_or(Path::new(SYSTEM_CA));
    trusting(path).map(Some).map_err(|cause| {
        let cause = format!("store.ca: {}: {cause}", path.display());
        StoreError::new(StoreErrorKind::Config, "prepare for TLS", cause)
    })
}

fn trusting(path: &Path) -> Result<ClientConfig, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    // A bundle of a system may hold an old root that rustls does not take; the others still count.
    let (usable, _) = roots.add_parsable_certificates(chain);
    if usable == 0 {
        return Err("it holds no usable certificate in PEM".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The password that stands in the file at `path`, read again at each connect, without the line end that
/// editors add. A file that others may read gives none.
pub fn password_file(path: impl Into<PathBuf>) -> Password {
    let path = path.into();
    Arc::new(move || {
        let mut text = String::from_utf8(private_file(&path, PASSWORD_MAX)?)
            .map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
        Ok(text)
    })
}

/// The content of the file at `path`, of at most `max` bytes, if only its owner may read it. For secrets of
/// all kinds.
///
/// # Errors
/// Why there is none; never with the content.
pub fn private_file(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let at = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(at)?;
    // Of the open file, not of its path: what is checked is what is read.
    let meta = file.metadata().map_err(at)?;
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(format!(
            "{} has mode {mode:04o}: others may read it",
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > max {
        let kib = max / 1024;
        return Err(format!("{} is longer than {kib} KiB", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn put(path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).expect("written");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn a_password_is_read_at_each_use_and_only_from_a_private_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        let password = password_file(&path);
        let missing = password().expect_err("it is not there");
        assert!(missing.contains("No such file"), "{missing}");
        put(&path, b"hunter2\n", 0o600);
        assert_eq!(password().as_deref(), Ok("hunter2"));
        put(&path, b" hunter 3\r\n", 0o400);
        assert_eq!(password().as_deref(), Ok(" hunter 3"));
        for mode in [0o640, 0o604, 0o660] {
            put(&path, b"hunter4", mode);
            let error = password().expect_err("others may read it");
            assert!(error.ends_with("others may read it"), "{error}");
            assert!(!error.contains("hunter4"), "{error}");
        }
        put(&path, &[0xff, 0xfe], 0o600);
        assert!(
            password()
                .expect_err("no text")
                .ends_with("is not UTF-8 text")
        );
        put(&path, &vec![b'a'; 64 * 1024], 0o600);
        assert_eq!(password().map(|text| text.len()), Ok(64 * 1024));
        put(&path, &vec![b'a'; 64 * 1024 + 1], 0o600);
        let long = password().expect_err("too long");
        assert!(long.ends_with("is longer than 64 KiB"), "{long}");
    }

    #[test]
    fn a_database_is_trusted_by_certificates_that_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        let tls = |url: &str| {
            client_tls(url, Some(&ca))
                .map(|config| config.is_some())
                .map_err(|error| (error.kind, error.source.to_string()))
        };
        let url = |mode: &str| format!("postgres://u@db.example/q?sslmode={mode}");
        assert_eq!(tls(&url("disable")), Ok(false));
        assert_eq!(tls("postgres://u@db.example/q"), Ok(false));
        for (content, cause) in [
            (None, "No such file"),
            (Some("nothing\n"), "no usable certificate"),
            (
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "no usable certificate",
            ),
        ] {
            if let Some(content) = content {
                put(&ca, content.as_bytes(), 0o644);
            }
            let (kind, said) = tls(&url("require")).expect_err("it cannot be trusted");
            assert_eq!(kind, StoreErrorKind::Config);
            assert!(
                said.starts_with("store.ca: ") && said.contains("ca.pem") && said.contains(cause),
                "{said}"
            );
        }
        let pair = rcgen::generate_simple_self_signed(["db.example".to_owned()]);
        let pem = pair.expect("a certificate").cert.pem();
        let old = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        put(&ca, format!("{old}{pem}").as_bytes(), 0o644);
        for mode in ["require", "verify-ca", "verify-full"] {
            assert_eq!(tls(&url(mode)), Ok(true), "{mode}");
        }
    }
}
