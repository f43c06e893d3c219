//! What is told of a configuration that cannot work.

use super::*;

#[test]
fn every_fault_of_a_configuration_is_told_at_its_key() {
    for (spec, places) in [
        (json!({"format": "xml"}), vec!["path"]),
        (json!({"format": "xml", "path": "/a"}), vec!["path"]),
        (
            json!({"format": "xml", "path": "/a/b/@c", "tag": "x", "columns": [{"name": "a"}]}),
            vec!["columns", "tag", "path"],
        ),
        (json!({"format": "xml", "path": "/a/x:b"}), vec!["path"]),
        (
            json!({"format": "xml", "path": "/a/b", "header": {"A": {"xpath": "//c"}, "B": {"jsonpath": "$.a"}}}),
            vec!["header.A.xpath", "header.B"],
        ),
        (
            json!({"format": "xml", "path": "/a/b", "header": {"B": {"jsonpath": "$.a"}, "C": {"xpath": "/a/b/c"}}}),
            vec!["header.B", "header.C.xpath"],
        ),
        (
            json!({"format": "json", "path": "$.a[*]", "namespaces": {"a": "b"}}),
            vec!["namespaces", "path"],
        ),
        (
            json!({"format": "json", "path": "$", "header": {"A": {"jsonpath": "$.a"}}}),
            vec!["header.A.jsonpath"],
        ),
        (
            json!({"format": "csv", "delimiter": "ab", "quote": "\n"}),
            vec!["delimiter", "quote", "columns"],
        ),
        (
            json!({"format": "csv", "names": true, "quote": ","}),
            vec!["quote"],
        ),
        (
            json!({"format": "csv", "columns": [{"name": ""}, {"name": "b", "width": 3}, {"name": "b", "scale": 2}]}),
            vec!["columns.0.name", "columns.1", "columns.2.name", "columns.2"],
        ),
        (
            json!({"format": "fixed", "columns": [{"name": "a b", "width": 3}, {"name": "b", "from": 3, "width": 0}], "record": {"as": "xml"}}),
            vec!["record.root", "columns.1.from", "columns.1.width"],
        ),
        (
            json!({"format": "fixed", "columns": [{"name": "a b", "width": 3}], "record": {"as": "xml", "root": "1"}}),
            vec!["record.root", "columns.0.name"],
        ),
        (
            json!({"format": "csv", "names": true, "record": {"root": "a"}, "tag_at": 0}),
            vec!["record.root", "tag_at", "tag_at"],
        ),
        (
            json!({"format": "csv", "names": true, "tag": "D", "head": {"tag": "D", "promote": ["x"]}, "trailer": {"count": "n"}}),
            vec!["head.promote", "trailer.count", "head.tag"],
        ),
        (
            json!({"format": "csv", "names": true, "head": {"columns": [{"name": "a.b"}], "promote": ["a.b"]},
                "trailer": {"tag": "", "columns": [{"name": "n"}], "count": "n"}}),
            vec!["head.promote", "trailer.count", "trailer.tag"],
        ),
        (
            json!({"format": "fixed", "columns": [{"name": "a", "width": usize::MAX}, {"name": "b", "width": 1}]}),
            vec!["columns.0", "columns.1"],
        ),
        (
            json!({"format": "fixed", "columns": [{"name": "a", "width": 1, "pad": "0", "value": "x"}],
                "trailer": {"columns": [{"name": "n", "width": 1, "count": "lines"}]}}),
            vec![
                "columns.0.value",
                "columns.0.pad",
                "trailer.columns.0.count",
            ],
        ),
        (
            json!({"format": "json", "path": "$", "max_records": 0, "max_record_bytes": 0, "max_total_bytes": 0}),
            vec!["max_records", "max_record_bytes", "max_total_bytes"],
        ),
    ] {
        let compiled: SplitSpec = serde_json::from_value(spec.clone()).expect("a spec");
        let faults = compiled.compile().expect_err("faults");
        let told: Vec<_> = faults.iter().map(|fault| fault.path.join(".")).collect();
        assert_eq!(told, places, "{spec}");
    }
}
