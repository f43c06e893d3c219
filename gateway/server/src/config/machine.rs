//! What a configuration names on this machine: secrets, certificates and keys. Files are read, nothing
//! else is touched.

use std::path::Path;

use quayside_adapter_api::{SecretRef, Secrets as _};
use quayside_adapter_http::TextOrSecret;
use quayside_model::Severity;

use super::{
    Purpose,
    app::App,
    codes,
    report::{Report, SourceId},
    spans::Node,
};
use crate::{
    secrets::FolderSecrets,
    tls::{self, PemFault},
};

/// A file of the configuration, as what is found in it is judged.
#[derive(Debug, Clone, Copy)]
struct Judge {
    source: SourceId,
    /// What is not there.
    missing: Severity,
    /// What is there and cannot be used.
    unusable: Severity,
}

/// Something that has to be on the machine.
enum Found<'a> {
    Secret(&'a str),
    Authorities(TextOrSecret),
    Identity {
        certificate: TextOrSecret,
        key: TextOrSecret,
    },
}

/// Checks everything that the node's file and the applications name. `folder` is where secrets lie.
///
/// A check for all nodes only warns of missing certificates: they may lie on another machine. A process
/// that runs only warns of what its ports lack, because one port must not keep the others from working.
pub(crate) fn check(
    report: &Report,
    purpose: Purpose,
    folder: &Path,
    node: (SourceId, &Node),
    apps: &[App],
) {
    let (missing, unusable) = match purpose {
        Purpose::CheckAnyNode => (Severity::Warning, Severity::Error),
        Purpose::CheckNode => (Severity::Error, Severity::Error),
        Purpose::Run | Purpose::Agent => (Severity::Warning, Severity::Warning),
    };
    let machine = Machine {
        report,
        secrets: FolderSecrets::new(folder),
        has_secrets: folder.is_dir(),
    };
    // Without its listeners and its store a node does not start at all.
    let own = Judge {
        source: node.0,
        missing: Severity::Error,
        unusable: Severity::Error,
    };
    let mut all = Vec::new();
    collect(node.1, true, &mut |at, found| all.push((own, at, found)));
    for app in apps {
        let judge = Judge {
            source: app.at.0,
            missing,
            unusable,
        };
        for part in ["receive", "send", "worker"] {
            if let Some(node) = app.root.table().and_then(|root| root.get(part)) {
                collect(node, true, &mut |at, found| all.push((judge, at, found)));
            }
        }
    }
    if !machine.has_secrets && purpose != Purpose::CheckAnyNode {
        machine.warn_of_no_folder(folder, &all);
    }
    for (judge, at, found) in &all {
        machine.check(*judge, *at, found, purpose);
    }
}

/// Everything below `node`. In `headers` and `auth` any key may stand, so that only secrets are looked
/// for there.
fn collect<'a>(node: &'a Node, certificates: bool, found: &mut dyn FnMut(usize, Found<'a>)) {
    if let Some(secret) = secret(node) {
        return found(node.key_at, Found::Secret(secret));
    }
    let Some(table) = node.table() else { return };
    if let (true, Some(certificate), Some(key)) =
        (certificates, table.get("certificate"), table.get("key"))
        && let (Some(chain), Some(private)) = (text_or_secret(certificate), text_or_secret(key))
    {
        let identity = Found::Identity {
            certificate: chain,
            key: private,
        };
        found(certificate.key_at, identity);
    }
    for (name, inner) in table {
        if certificates
            && matches!(name.as_str(), "ca" | "client_ca")
            && let Some(authorities) = text_or_secret(inner)
        {
            found(inner.key_at, Found::Authorities(authorities));
        }
        let free = matches!(name.as_str(), "headers" | "auth");
        collect(inner, certificates && !free, found);
    }
}

/// The name in `{ secret = "NAME" }`.
fn secret(node: &Node) -> Option<&str> {
    let table = node.table().filter(|table| table.len() == 1)?;
    table.get("secret")?.text()
}

fn text_or_secret(node: &Node) -> Option<TextOrSecret> {
    let named = |name: &str| {
        TextOrSecret::Secret(SecretRef {
            secret: name.to_owned(),
        })
    };
    let text = || Some(TextOrSecret::Text(node.text()?.to_owned()));
    secret(node).map(named).or_else(text)
}

struct Machine<'a> {
    report: &'a Report,
    secrets: FolderSecrets,
    has_secrets: bool,
}

impl Machine<'_> {
    fn check(&self, judge: Judge, at: usize, found: &Found<'_>, purpose: Purpose) {
        match found {
            Found::Secret(name) if self.has_secrets => {
                let reference = SecretRef {
                    secret: (*name).to_owned(),
                };
                if let Err(error) = self.secrets.resolve(&reference) {
                    // Where the folder is known it is of this machine, whichever nodes are meant.
                    let severity = match purpose {
                        Purpose::Run | Purpose::Agent => Severity::Warning,
                        _ => Severity::Error,
                    };
                    self.add(codes::SECRET_FILE, severity, judge, at, error.detail);
                }
            }
            Found::Secret(_) => {}
            Found::Authorities(authorities) => {
                self.pem(
                    judge,
                    at,
                    tls::check_authorities(authorities, &self.secrets),
                );
            }
            Found::Identity { certificate, key } => {
                self.pem(
                    judge,
                    at,
                    tls::check_identity(certificate, key, &self.secrets),
                );
            }
        }
    }

    fn pem(&self, judge: Judge, at: usize, result: Result<(), PemFault>) {
        let (severity, message) = match result {
            // What is wrong with the secret itself is told where it is looked at as a secret.
            Ok(()) | Err(PemFault::Secret(_)) => return,
            Err(PemFault::Missing(message)) => (judge.missing, message),
            Err(PemFault::Unusable(message)) => (judge.unusable, message),
        };
        self.add(codes::PEM_FILE, severity, judge, at, message);
    }

    fn warn_of_no_folder(&self, folder: &Path, all: &[(Judge, usize, Found<'_>)]) {
        let mut secrets = all
            .iter()
            .filter(|(_, _, found)| matches!(found, Found::Secret(_)));
        let Some((judge, at, _)) = secrets.next() else {
            return;
        };
        let message = match secrets.count() {
            0 => format!(
                "a secret is named, but there is no folder {} on this machine to look for it",
                folder.display()
            ),
            more => format!(
                "{} secrets are named, but there is no folder {} on this machine to look for them",
                more + 1,
                folder.display()
            ),
        };
        self.add(codes::SECRET_FILE, Severity::Warning, *judge, *at, message);
    }

    fn add(
        &self,
        code: quayside_model::Code,
        severity: Severity,
        judge: Judge,
        at: usize,
        message: String,
    ) {
        let place = Some((judge.source, at));
        self.report.add(code, severity, place, message, None);
    }
}
