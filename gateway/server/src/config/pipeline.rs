//! `[receive.NAME.pipeline]` and `[send.NAME.pipeline]`: what is done to bodies on their way in and out.

use std::sync::Arc;

use quayside_adapter_api::config::parse;
use quayside_engine::plan::{Expects, Party, ReceivePipeline, SendPipeline};
use quayside_model::Fault;
use quayside_pipeline::{
    Kind, assemble::AssembleSpec, decode::DecodeSpec, encode::EncodeSpec, split::SplitSpec,
};
use serde::de::DeserializeOwned;

use super::{codes, party, section::Section, transport::put_back};

/// The pipelines that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    PassThrough,
    Xml,
    Json,
    FlatFile,
}

const NAMES: &[(&str, Named)] = &[
    ("pass-through", Named::PassThrough),
    ("xml", Named::Xml),
    ("json", Named::Json),
    ("flat-file", Named::FlatFile),
];

/// Reads the pipeline of a receive port, as a name or as a table, for an application with these parties. `None` after a
/// fault.
pub(crate) fn read(port: &Section<'_>, known: &[Party]) -> Option<ReceivePipeline> {
    let Some(node) = port.get("pipeline") else {
        return Some(ReceivePipeline::default());
    };
    if node.table().is_none() {
        let named = port.choice("pipeline", NAMES)?;
        let fits = fits(port, "pipeline", Some(named), None);
        return fits.then(|| pipeline(Some(named), None, None));
    }
    let section = port.section("pipeline")?;
    let named = section.get("kind").map(|_| section.choice("kind", NAMES));
    let decode = part::<DecodeSpec, _>(&section, "decode", DecodeSpec::compile);
    let split = part::<SplitSpec, _>(&section, "split", SplitSpec::compile);
    let party = party::of_port(&section, known);
    let read = match (named, decode, split) {
        (Some(None), ..) => None,
        (named, Some(decode), Some(split)) => {
            let (named, kind) = (named.flatten(), split.as_ref().map(|split| split.kind()));
            let fits = fits(&section, "kind", named, kind);
            fits.then(|| ReceivePipeline {
                party,
                ..pipeline(named, decode, split)
            })
        }
        _ => None,
    };
    section.finish();
    read
}

/// Reads what a send port does to its bodies. `None` after a fault.
pub(crate) fn read_send(port: &Section<'_>) -> Option<SendPipeline> {
    if port.get("pipeline").is_none() {
        return Some(SendPipeline::default());
    }
    let section = port.section("pipeline")?;
    let assemble = part::<AssembleSpec, _>(&section, "assemble", AssembleSpec::compile);
    let encode = part::<EncodeSpec, _>(&section, "encode", EncodeSpec::compile);
    section.finish();
    Some(SendPipeline {
        assemble: assemble?.map(Arc::new),
        encode: encode?.map(Arc::new),
    })
}

/// One part of the pipeline, if it is there. `None` after a fault.
fn part<S: DeserializeOwned, T>(
    section: &Section<'_>,
    key: &str,
    compile: impl Fn(&S) -> Result<T, Vec<Fault>>,
) -> Option<Option<T>> {
    let Some(node) = section.get(key) else {
        return Some(None);
    };
    let read = parse::<S>(&node.to_json()).and_then(|spec| compile(&spec));
    match read {
        Ok(read) => Some(Some(read)),
        Err(faults) => {
            for fault in faults {
                put_back(section, &[key], fault);
            }
            None
        }
    }
}

/// Whether a pipeline of this name can have this split: `Some` of what the bodies are that it splits.
fn fits(
    section: &Section<'_>,
    key: &str,
    named: Option<Named>,
    split: Option<Option<Kind>>,
) -> bool {
    let message = match (named, split) {
        (Some(Named::FlatFile), None) => {
            "a `flat-file` needs to know its lines: add a `split` with `format = \"csv\"` or `\"fixed\"`"
        }
        (Some(Named::PassThrough), Some(_)) => {
            "`pass-through` does not look into the body, so it cannot split it"
        }
        (Some(Named::Xml), Some(kind)) if kind != Some(Kind::Xml) => {
            "`xml` expects XML, and `split` something else"
        }
        (Some(Named::Json), Some(kind)) if kind != Some(Kind::Json) => {
            "`json` expects JSON, and `split` something else"
        }
        (Some(Named::FlatFile), Some(Some(_))) => {
            "a `flat-file` has lines, and `split` expects a document"
        }
        _ => return true,
    };
    section.error(codes::WRONG_VALUE, key, message);
    false
}

fn pipeline(
    named: Option<Named>,
    decode: Option<quayside_pipeline::decode::Decode>,
    split: Option<quayside_pipeline::split::Split>,
) -> ReceivePipeline {
    let expects = match (&split, named) {
        (Some(split), _) => {
            let is_xml = split.media_type() == "application/xml";
            Expects::Kind(if is_xml { Kind::Xml } else { Kind::Json })
        }
        (None, Some(Named::Xml)) => Expects::Kind(Kind::Xml),
        (None, Some(Named::Json)) => Expects::Kind(Kind::Json),
        (None, Some(Named::PassThrough)) => Expects::Anything,
        (None, Some(Named::FlatFile) | None) => Expects::Messages,
    };
    ReceivePipeline {
        decode: decode.map(Arc::new),
        split: split.map(Arc::new),
        expects,
        party: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{
        config::{Defaults, Inputs, Purpose, Report, load},
        wiring,
    };

    /// What is told of a port with these settings and this pipeline, which stands on line 6 from column 12 on.
    fn told(settings: &str, pipeline: &str) -> String {
        let app = format!(
            "[app]\nname = \"a\"\n[message.m]\n[receive.r]\n{settings}\npipeline = {pipeline}\n\
             location.in.http = {{ path = \"/in\" }}\n[send.out]\nfilter = \"true\"\n\
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
        load(&inputs, &wiring::adapters_for_checking(), &report);
        report.to_string()
    }

    /// As [`told`], of the pipeline of the send port.
    fn told_of_send(pipeline: &str) -> String {
        let settings = format!(
            "location.b.http = {{ path = \"/b\" }}\n[send.more]\nfilter = \"true\"\nprimary.file = {{ folder = \"more\", file_name = \"{{msg.id}}\" }}\npipeline = {pipeline}\n[receive.s]"
        );
        told(&settings, "\"pass-through\"")
    }

    #[test]
    fn what_a_send_port_assembles_is_told_where_it_stands() {
        let columns = r#"columns = [{ name = "Id", width = 4, align = "right", pad = "0" }]"#;
        let passes = told_of_send(&format!(
            "{{ assemble = {{ format = \"fixed\", {columns} }} }}"
        ));
        assert!(!passes.contains("QS"), "{passes}");
        for (pipeline, wanted) in [
            (r#"{ assembel = {} }"#.to_owned(), "QS0602"),
            (
                format!("{{ assemble = {{ format = \"xml\", {columns} }} }}"),
                "pipeline.assemble.format",
            ),
            (
                format!("{{ assemble = {{ format = \"csv\", {columns} }} }}"),
                "pipeline.assemble.columns.0.align",
            ),
            (
                format!("{{ assemble = {{ format = \"fixed\", tag = \"D\", {columns} }} }}"),
                "QS0283",
            ),
        ] {
            let told = told_of_send(&pipeline);
            assert!(told.contains(wanted), "{pipeline}: {told}");
            assert!(told.contains("app.toml:9:"), "{pipeline}: {told}");
        }
    }

    #[test]
    fn pipelines_that_go_together_pass() {
        let json = r#"{ format = "json", path = "$.items", header.Sender.jsonpath = "$.from" }"#;
        for pipeline in [
            r#""pass-through""#.to_owned(),
            r#""xml""#.to_owned(),
            r#"{ decode = { stages = ["gzip", { charset = "latin1" }] } }"#.to_owned(),
            r#"{ decode = { multipart = { body = { type = "text/xml" }, others = "drop" } } }"#
                .to_owned(),
            r#"{ decode = { multipart = { body = "first" } } }"#.to_owned(),
            format!("{{ kind = \"json\", split = {json} }}"),
            r#"{ kind = "flat-file", split = { format = "csv", names = true } }"#.to_owned(),
        ] {
            let told = told("", &pipeline);
            assert!(!told.contains("QS"), "{pipeline}: {told}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_where_it_stands() {
        let csv = r#"split = { format = "csv", names = true }"#;
        let with = |kind: &str| format!("{{ kind = \"{kind}\", {csv} }}");
        for (settings, pipeline, wanted) in [
            ("", "\"flat-file\"".to_owned(), "QS0603"),
            ("", "\"zip\"".to_owned(), "QS0603"),
            ("", "7".to_owned(), "QS0603"),
            ("", with("xml"), "QS0603"),
            ("", with("json"), "QS0603"),
            ("", with("pass-through"), "QS0603"),
            (
                "",
                "{ kind = \"flat-file\", split = { format = \"json\", path = \"$\" } }".to_owned(),
                "QS0603",
            ),
            ("", "{ splitt = {} }".to_owned(), "QS0602"),
            (
                "",
                "{ split = { format = \"csv\", name = true } }".to_owned(),
                "name",
            ),
            (
                "",
                "{ decode = { stages = [\"zip\"] } }".to_owned(),
                "pipeline.decode",
            ),
            (
                "",
                "{ decode = { multipart = { body = { number = 0 } } } }".to_owned(),
                "pipeline.decode.multipart.body",
            ),
            (
                "",
                "{ decode = { multipart = { others = \"keep\" } } }".to_owned(),
                "pipeline.decode.multipart.others",
            ),
            ("message = \"m\"", "\"pass-through\"".to_owned(), "QS0629"),
            ("answer_within = \"5s\"", format!("{{ {csv} }}"), "QS0613"),
        ] {
            let told = told(settings, &pipeline);
            assert!(told.contains(wanted), "{pipeline}: {told}");
            assert!(told.contains("app.toml:"), "{pipeline}: {told}");
        }
    }
}
