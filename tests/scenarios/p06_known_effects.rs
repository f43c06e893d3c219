//! P6: the effects outside are known: the same key on every attempt, and one file in a folder.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use quayside_harness::{Load, LoadPlan, OnBreak, pass_through, wait_for};
use quayside_tests::{Site, Store, judge};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_get_lost_are_asked_for_again_under_the_same_key() {
    for store in [Store::Sqlite, Store::Postgres] {
        for kind in ["reset-after", "truncate", "reset-before", "status-early"] {
            let site = Site::start(store).await;
            site.partner
                .fault(&json!({ "kind": kind, "share": 0.3 }))
                .await;
            let load = Load::start(LoadPlan::new(&site.servers(), "/in/orders", 8));
            load.wait_accepted(200, Duration::from_secs(60)).await;
            let report = load.finish().await;
            site.partner.heal().await;
            site.gateway().drained(Duration::from_secs(60)).await;
            let verdict = judge(&report, &site.partner.log().await);
            assert!(verdict.exactly_once(), "{store:?} {kind}: {verdict}");
            let acted = matches!(kind, "reset-after" | "truncate");
            assert!(
                !acted || verdict.repeats > 0,
                "{store:?} {kind} had no effect: {verdict}"
            );
        }
    }
}

/// The names in a folder, without those of unfinished files.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    names.filter(|n| !n.starts_with('.')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gets_each_document_once_and_whole_across_kills() {
    for store in [Store::Sqlite, Store::Postgres] {
        let archive = "[send.archive]\nhost = \"edge\"\nfilter = \"CustomerId != ''\"\n\
             retry = { attempts = 1000, first = \"50ms\", factor = 1.5, max = \"1s\" }\n\
             [send.archive.primary.file]\nfolder = \"archive\"\ncreate = true\n\
             file_name = \"{OrderId}-{msg.id}.xml\"\n";
        let app = |partner| {
            // The business id without its mark: a name must not hold a colon.
            pass_through(partner, "", archive)
        };
        let mut site = Site::new(store, 1, &app, &[]).await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 8);
        plan.on_break = OnBreak::Repeat;
        let load = Load::start(plan);
        for _ in 0..5 {
            load.wait_accepted(60, Duration::from_secs(60)).await;
            site.gateways[0].kill9();
            site.restart(0).await;
        }
        let report = load.finish().await;
        site.gateway().drained(Duration::from_secs(60)).await;
        let folder = site.nodes[0].data_dir().join("archive");
        let accepted = report.accepted().len();
        let names = names(&folder);
        let ids: BTreeSet<_> = names
            .iter()
            .filter_map(|n| order_of(&folder.join(n)))
            .collect();
        assert_eq!(names.len(), ids.len(), "{store:?}: two files of one order");
        for answer in report.accepted() {
            assert!(
                ids.contains(&answer.id),
                "{store:?}: {} of {accepted} is missing",
                answer.id
            );
        }
        wait_for(
            "left-over files to be gone",
            Duration::from_secs(10),
            async || {
                let all = fs::read_dir(&folder)
                    .expect("the archive")
                    .flatten()
                    .count();
                if all == names.len() {
                    Ok(())
                } else {
                    Err(format!("{all} of {}", names.len()))
                }
            },
        )
        .await;
    }
}

/// The business id in a whole document; `None` if it is cut off.
fn order_of(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, rest) = text.strip_suffix("</Order>")?.split_once("bid:")?;
    Some(rest.split('<').next()?.to_owned())
}
