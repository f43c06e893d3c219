//! `[party.NAME]`: the partners that send, and by what they are known.

use std::{collections::BTreeMap, sync::Arc};

use quayside_engine::plan::{Parties, Party};
use quayside_model::Text;

use super::{codes, section::Section};

/// How many hexadecimal digits a SHA-256 has.
const DIGITS: usize = 64;

/// Reads all parties of an application, without those that have a fault.
pub(crate) fn read(app: &Section<'_>) -> Vec<Party> {
    let mut taken: BTreeMap<(&str, String), String> = BTreeMap::new();
    let mut parties = Vec::new();
    for (name, section) in app.named("party") {
        let mut is_whole = true;
        let mut known = |key: &'static str, plain: fn(&str) -> String| {
            let mut all = Vec::new();
            for (text, node) in section.texts(key) {
                let text = plain(text);
                let other = taken.get(&(key, text.clone()));
                let why = match other {
                    _ if text.is_empty() => Some("is empty".to_owned()),
                    Some(other) => Some(format!("is that of the party `{other}` already")),
                    None => None,
                };
                if let Some(why) = why {
                    let message = format!("`{}`: `{text}` {why}", section.name_of(key));
                    section
                        .report
                        .error(codes::WRONG_VALUE, section.source, node.key_at, message);
                    is_whole = false;
                    continue;
                }
                all.push(Text::lossy(&text));
                taken.insert((key, text), name.to_owned());
            }
            all
        };
        let certificates = known("certificates", certificate);
        let clients = known("clients", str::to_owned);
        if is_whole && certificates.is_empty() && clients.is_empty() {
            let message = format!(
                "nobody is {}: give it `certificates` or `clients`",
                section.path
            );
            section.error(codes::NOTHING_TO_DO, "certificates", message);
        }
        section.finish();
        parties.push(Party {
            name: Text::lossy(name),
            certificates,
            clients,
        });
    }
    parties
}

/// A thumbprint as the properties have it, however it is written; a subject stays as it is.
fn certificate(text: &str) -> String {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let is_thumbprint = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match is_thumbprint {
        true => digits.to_ascii_lowercase(),
        false => text.to_owned(),
    }
}

/// `party` of a pipeline.
pub(crate) fn of_port(pipeline: &Section<'_>, known: &[Party]) -> Option<Arc<Parties>> {
    let words = [("optional", false), ("required", true)];
    let required = pipeline.choice("party", &words)?;
    if known.is_empty() {
        let message = format!(
            "`{}` finds nobody: the application has no party; add [party.NAME]",
            pipeline.name_of("party")
        );
        pipeline.error(codes::NOTHING_TO_DO, "party", message);
    }
    Some(Arc::new(Parties {
        required,
        known: known.to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use quayside_engine::plan::Plan;

    use crate::{
        config::{Defaults, Inputs, Purpose, Report, load},
        wiring,
    };

    /// The plan of an application with these parties and this pipeline, and what is told of it.
    fn read(parties: &str, party: &str) -> (Option<Plan>, String) {
        let app = format!(
            "[app]\nname = \"a\"\n{parties}\n[receive.r]\npipeline = {{ {party} }}\n\
             location.in.http = {{ path = \"/in\" }}\n[send.out]\nfilter = \"msg.party == 'acme'\"\n\
             primary.file = {{ folder = \"out\", file_name = \"{{msg.id}}\" }}\n"
        );
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("app.toml"), app).expect("written");
        let inputs = Inputs {
            dir: dir.path().to_owned(),
            group: None,
            node: None,
            hosts: Vec::new(),
            purpose: Purpose::CheckAnyNode,
            defaults: Defaults {
                credentials: None,
                ..Defaults::of_this_machine(dir.path().join("data"))
            },
        };
        let report = Report::default();
        let loaded = load(&inputs, &wiring::adapters_for_checking(), &report);
        (loaded.map(|loaded| loaded.plan), report.to_string())
    }

    #[test]
    fn parties_are_in_the_plan_of_the_ports_that_look_for_them() {
        let thumbprint = "AB:".repeat(31) + "AB";
        let parties =
            format!("[party.acme]\ncertificates = [\"{thumbprint}\", \"CN=x\"]\nclients = \"x\"");
        let (plan, told) = read(&parties, "party = \"required\"");
        let plan = plan.unwrap_or_else(|| panic!("{told}"));
        assert!(!told.contains("QS"), "{told}");
        let party = plan.receive[0].pipeline.party.as_ref().expect("parties");
        assert!(party.required);
        let acme = &party.known[0];
        assert_eq!(&*acme.name, "acme");
        assert_eq!(*acme.certificates[0], *"ab".repeat(32));
        assert_eq!((&*acme.certificates[1], &*acme.clients[0]), ("CN=x", "x"));
    }

    #[test]
    fn faults_of_parties_are_told_where_they_stand() {
        let acme = "[party.acme]\nclients = \"x\"\n";
        for (parties, party, code, word) in [
            (
                format!("{acme}[party.b]\nclients = [\"x\"]"),
                "party = \"optional\"",
                "QS0603",
                "`acme` already",
            ),
            (
                "[party.acme]".to_owned(),
                "party = \"optional\"",
                "QS0629",
                "nobody is",
            ),
            (String::new(), "party = \"optional\"", "QS0629", "no party"),
            (acme.to_owned(), "party = \"maybe\"", "QS0603", "optional"),
        ] {
            let (plan, told) = read(&parties, party);
            assert!(plan.is_none(), "{parties}: {told}");
            assert!(told.contains(code) && told.contains(word), "{told}");
            assert!(told.contains("app.toml:"), "{told}");
        }
    }
}
