//! Maps as an integration team writes them, wrong ones with the places of their faults, and hostile documents.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quayside_model::{Name, Text, Value};
use quayside_pipeline::{
    Kind, Limits, Scanner, codes,
    map::{Call, Given, Input, Map, MapError},
};

const APPROVAL: &str = include_str!("maps/approval.toml");
const BOOKING: &str = include_str!("maps/booking.toml");
const ORDER_TO_JSON: &str = include_str!("maps/order-to-json.toml");

const ORDER: &str = r#"<?xml version="1.0"?>
<o:Order xmlns:o="urn:orders" version="2">
  <o:Id>4711</o:Id>
  <o:Customer id="C-9"><o:Name>Bäcker &amp; Söhne</o:Name><o:Country>DE</o:Country></o:Customer>
  <o:Line no="1" kind="goods"><o:Sku>A-1</o:Sku><o:Quantity>3</o:Quantity><o:Price>19.99</o:Price><o:Unit>PCE</o:Unit></o:Line>
  <o:Line no="2" kind="service"><o:Sku>S-7</o:Sku><o:Quantity>0.50</o:Quantity><o:Price>1000</o:Price></o:Line>
  <o:Total>559.97</o:Total>
</o:Order>"#;

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn text(value: &str) -> Value {
    Value::Text(Text::new(value).expect("a text"))
}

fn compile(text: &str) -> Map {
    Map::compile("maps/test.toml", text).unwrap_or_else(|defects| {
        let lines: Vec<String> = defects.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"));
    })
}

/// Each fault as `LINE:COLUMN CODE message`.
fn faults(text: &str) -> Vec<String> {
    let defects = Map::compile("maps/test.toml", text).expect_err("faults");
    let line = |d: &quayside_pipeline::map::Defect| {
        format!("{} {} {}", d.place, d.fault.code, d.fault.message)
    };
    defects.iter().map(line).collect()
}

struct Sample<'a> {
    inputs: Vec<Input<'a>>,
    params: BTreeMap<Name, Given>,
    properties: BTreeMap<Name, Value>,
}

impl<'a> Sample<'a> {
    fn of(bodies: &[&'a str]) -> Self {
        let input = |body: &&'a str| Input {
            kind: Kind::sniff(None, body.as_bytes()),
            body: body.as_bytes(),
        };
        Self {
            inputs: bodies.iter().map(input).collect(),
            params: BTreeMap::new(),
            properties: BTreeMap::new(),
        }
    }

    fn param(mut self, key: &str, value: Value) -> Self {
        self.params.insert(name(key), Given::One(value));
        self
    }

    fn property(mut self, key: &str, value: Value) -> Self {
        self.properties.insert(name(key), value);
        self
    }

    fn apply(&self, map: &Map) -> Result<String, MapError> {
        let output = map.apply(&Call {
            inputs: &self.inputs,
            params: &self.params,
            properties: &self.properties,
        })?;
        Ok(String::from_utf8(output.body).expect("UTF-8"))
    }
}

/// What a map of one document without parameters makes.
fn map(map: &str, body: &str) -> Result<String, MapError> {
    Sample::of(&[body]).apply(&compile(map))
}

#[test]
fn an_order_becomes_a_request_for_approval() {
    let map = compile(APPROVAL);
    assert_eq!(map.sources().collect::<Vec<_>>(), [("order", Kind::Xml)]);
    let made = Sample::of(&[ORDER])
        .param("requester", text("ada"))
        .property("msg.id", text("m-1"))
        .apply(&map)
        .expect("a request");
    let wanted = r#"<?xml version="1.0" encoding="UTF-8"?><a:Request xmlns:a="urn:approvals" version="1">
<a:OrderId>4711</a:OrderId>
<a:Requester>ada</a:Requester>
<a:Customer country="Germany"><a:Name>Bäcker &amp; Söhne</a:Name></a:Customer>
<a:Lines count="2">
<a:Line no="1"><a:Sku>A-1</a:Sku><a:Quantity unit="piece">3</a:Quantity><a:Amount>59.97</a:Amount></a:Line>
<a:Line no="2"><a:Sku>S-7</a:Sku><a:Quantity unit="hour">0.50</a:Quantity><a:Amount>500</a:Amount></a:Line>
</a:Lines>
<a:Total>559.97</a:Total>
<a:Level>clerk</a:Level>
<a:Reference>m-1/4711</a:Reference>
</a:Request>"#;
    assert_eq!(made, wanted.replace('\n', ""));
    let again = Sample::of(&[ORDER])
        .param("requester", text("ada"))
        .param("limit", Value::Integer(500))
        .apply(&map)
        .expect("a request");
    assert!(
        again.contains("<a:Level>manager</a:Level></a:Request>"),
        "{again}"
    );
}

#[test]
fn json_and_a_second_document_become_xml() {
    let map = compile(BOOKING);
    let booking = r#"{"booking": {"no": 12345678901234567890, "rooms": [
        {"type": "DBL", "rate": 99.50, "guests": ["Ada", "Grace"]},
        {"type": "SGL", "rate": 70, "guests": []}],
        "contacts": [{"kind": "mail", "value": "a@x"}, {"kind": "phone", "value": "<1>"}], "note": null}}"#;
    let hotel = r#"<Hotel><Code>H1</Code></Hotel>"#;
    let made = Sample::of(&[booking, hotel]).apply(&map).expect("XML");
    let wanted = r#"<?xml version="1.0" encoding="UTF-8"?><Reservation xmlns="urn:hotel">
<Number>12345678901234567890</Number><Hotel>H1</Hotel>
<Room no="H1" rate="99.50"><Type>double</Type><Guest>Ada</Guest><Guest>Grace</Guest></Room>
<Room no="H1" rate="70"><Type>single</Type></Room>
<Phone>&lt;1&gt;</Phone><Note>none</Note></Reservation>"#;
    assert_eq!(made, wanted.replace('\n', ""));
}

#[test]
fn xml_becomes_json_with_types() {
    let map = compile(ORDER_TO_JSON);
    let made = Sample::of(&[ORDER]).param("tags", text("x")).apply(&map);
    let made = made.expect("JSON");
    let wanted = r#"{"id":"4711","customer":{"id":"C-9","name":"Bäcker & Söhne"},"total":559.97,"express":false,
"lines":[{"sku":"A-1","quantity":3,"unit":"PCE"},{"sku":"S-7","quantity":0.50}],"skus":["A-1","S-7"],"remarks":[],
"tags":["x"],"version":2,"source":"erp"}"#;
    assert_eq!(made, wanted.replace('\n', ""));
    let mut given = Sample::of(&[ORDER]);
    let both = vec![text("a\"\u{1}"), text("b\\")];
    given.params.insert(name("tags"), Given::Many(both));
    let made = given.apply(&map).expect("JSON");
    assert!(made.contains(r#""tags":["a\"\u0001","b\\"]"#), "{made}");
}

#[test]
fn what_biztalk_writes_is_followed_as_it_stands() {
    let made = map(
        r#"
source.o.format = "xml"
target.format = "json"
[to]
"$.id" = "/*[local-name()='Order' and namespace-uri()='urn:orders']/*[local-name()='Id' and namespace-uri()='urn:orders']"
"$.sum" = { xpath = "sum(/*/*[local-name()='Line']/*[local-name()='Price'])", type = "number" }
"$.services" = "count(/*/*[@kind='service'])"
"$.name" = "translate(normalize-space(//*[local-name()='Name']), 'äö', 'ao')"
"#,
        ORDER,
    );
    let wanted = r#"{"id":"4711","sum":1019.99,"services":1,"name":"Backer & Sohne"}"#;
    assert_eq!(made.as_deref(), Ok(wanted));
}

/// The blocks of the guide in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let guide = include_str!("../../../docs/maps.md");
    let parts = guide.split("```").skip(1).step_by(2);
    let blocks = parts.filter_map(|part| part.strip_prefix(language));
    blocks
        .filter_map(|block| block.strip_prefix('\n'))
        .collect()
}

#[test]
fn the_examples_of_the_guide_make_what_it_says() {
    // Others are of `app.toml` and `node.toml`.
    let mut maps = blocks("toml");
    maps.retain(|block| {
        !["[map", "[receive", "[send"]
            .iter()
            .any(|own| block.starts_with(own))
    });
    assert_eq!(maps.len(), 2);
    let order = r#"<Order xmlns="urn:orders"><Id>4711</Id><Customer><Name>Bäcker &amp; Söhne</Name><Country>DE</Country></Customer>
        <Line no="1"><Sku>A-1</Sku><Quantity>3</Quantity><Price>19.99</Price></Line><Total>59.97</Total></Order>"#;
    let made = Sample::of(&[order])
        .param("requester", text("ada"))
        .apply(&compile(maps[0]))
        .expect("XML");
    let wanted = blocks("xml")[0].replace('\n', "");
    assert!(made.ends_with(&wanted), "{made}");
    let order = r#"{"order": {"no": 4711, "contacts": [{"kind": "mail"}, {"kind": "phone", "value": "+49 30 1"}],
        "lines": [{"sku": "A-1", "quantity": "3"}]}}"#;
    let made = Sample::of(&[order])
        .param("tags", text("new"))
        .apply(&compile(maps[1]));
    assert_eq!(made.as_deref(), Ok(blocks("json")[0].trim_end()));
}

const HEAD: &str = "source.a.format = \"xml\"\ntarget.format = \"json\"\n[to]\n";

/// A map from XML to JSON.
fn to_json(fields: &str, body: &str) -> Result<String, MapError> {
    map(&format!("{HEAD}{fields}"), body)
}

#[test]
fn what_is_not_there_is_left_out_or_has_a_default_or_is_missed() {
    let fields = "\"$.x.y\" = \"/a/b\"\n\"$.z\" = { xpath = \"/a/c\", default = 0 }";
    assert_eq!(to_json(fields, "<a/>").as_deref(), Ok("{\"z\":0}"));
    assert_eq!(
        to_json(fields, "<a><b/><c>1</c></a>").as_deref(),
        Ok("{\"x\":{\"y\":\"\"},\"z\":\"1\"}")
    );
    let error = to_json("\"$.x\" = { xpath = \"/a/b\", required = true }", "<a/>");
    let error = error.expect_err("required");
    assert_eq!(error.code, codes::MAP_REQUIRED);
    assert_eq!(
        error.to_string(),
        "QS0252: `$.x`: there is no value (at 4:9 of the map)"
    );
    // An expression with a name that has no value has none either.
    let fields = "\"$.x\" = { cel = \"n + 1\", with = { n = \"/a/n\" }, default = \"none\" }";
    assert_eq!(to_json(fields, "<a/>").as_deref(), Ok("{\"x\":\"none\"}"));
    let fields = "\"$.x\" = { cel = \"has(property.P) ? property.P : 'nothing'\" }";
    assert_eq!(
        to_json(fields, "<a/>").as_deref(),
        Ok("{\"x\":\"nothing\"}")
    );
}

#[test]
fn values_that_do_not_fit_say_where_and_why() {
    for (field, body, code, detail) in [
        (
            "{ xpath = \"/a/b\", type = \"integer\" }",
            "<a><b>1.5</b></a>",
            codes::MAP_VALUE,
            "`$.x`: `1.5` is not a whole number",
        ),
        (
            "\"/a/b\"",
            "<a><b/><b/></a>",
            codes::MAP_REPEATED,
            "`$.x`: the path leads to more than one value",
        ),
        (
            "{ cel = \"n + 1\", with = { n = \"/a/b\" } }",
            "<a><b>1</b></a>",
            codes::MAP_EVALUATION,
            "`$.x`: `n + 1`: ",
        ),
        (
            "\"sum(/a/b)\"",
            "<a><b>x</b></a>",
            codes::MAP_VALUE,
            "`$.x`: the path comes to what is no number",
        ),
        (
            "{ cel = \"n / 0\", with = { n = { xpath = \"/a/b\", type = \"number\" } } }",
            "<a><b>1</b></a>",
            codes::MAP_EVALUATION,
            "`$.x`: `n / 0`: ",
        ),
    ] {
        let error = to_json(&format!("\"$.x\" = {field}"), body).expect_err(field);
        assert_eq!(error.code, code, "{error}");
        assert!(error.detail.starts_with(detail), "{error}");
        assert_eq!(error.place.map(|place| place.line), Some(4), "{error}");
    }
    let table = "[table.t]\nvalues = { a = \"A\" }\n";
    let text = format!(
        "{table}source.a.format = \"xml\"\ntarget.format = \"xml\"\n[to]\n\"/x\" = {{ xpath = \"/a\", table = \"t\" }}"
    );
    let text = text.replace("[table.t]\nvalues", "table.t.values");
    assert_eq!(
        map(&text, "<a>a</a>").as_deref(),
        Ok("<?xml version=\"1.0\" encoding=\"UTF-8\"?><x>A</x>")
    );
    let error = map(&text, "<a>b</a>").expect_err("not in the table");
    assert_eq!(error.code, codes::MAP_TABLE);
    assert_eq!(error.detail, "`/x`: `b` is not in the table `t`");
    let error = map(
        "source.a.format = \"json\"\ntarget.format = \"xml\"\n[to]\n\"/x\" = \"$.a\"",
        "{\"a\": \"\\u0001\"}",
    );
    assert_eq!(
        error.expect_err("a control character").code,
        codes::MAP_VALUE
    );
}

#[test]
fn numbers_in_expressions_never_depend_on_how_they_were_written() {
    for (expression, b, wanted) in [
        ("n * 2 + 1", "1.5", "4"),
        ("n * 2 + 1", "2", "5"),
        ("0.1 + 0.2", "0", "0.3"),
        ("n > 10 ? 1 : 2.5", "10.01", "1"),
        ("int(n) % 2", "7", "1"),
        ("size('abc') + n", "1", "4"),
        ("n in [1, 2] ? 1 : 0", "2.0", "1"),
        ("double(string(n)) + 1", "2", "3"),
    ] {
        let with = "n = { xpath = \"/a/b\", type = \"number\" }";
        let field = format!("\"$.x\" = {{ cel = \"{expression}\", with = {{ {with} }} }}");
        let made = to_json(&field, &format!("<a><b>{b}</b></a>"));
        assert_eq!(
            made.as_deref(),
            Ok(&*format!("{{\"x\":{wanted}}}")),
            "{expression}"
        );
    }
}

#[test]
fn inputs_and_parameters_are_those_of_the_map() {
    let map = compile(APPROVAL);
    let none = Sample::of(&[]).apply(&map).expect_err("no message");
    assert_eq!(none.code, codes::MAP_INPUTS);
    let json = Sample::of(&["{}"])
        .param("requester", text("x"))
        .apply(&map);
    assert_eq!(json.expect_err("JSON").detail, "`order` is not XML");
    let missing = Sample::of(&[ORDER]).apply(&map).expect_err("no requester");
    assert_eq!(missing.detail, "the parameter `requester` is missing");
    let given = Sample::of(&[ORDER]).param("requester", text("x"));
    let unknown = given.param("other", text("x")).apply(&map);
    assert_eq!(unknown.expect_err("unknown").code, codes::MAP_INPUTS);
    let given = Sample::of(&[ORDER]).param("requester", text("x"));
    let wrong = given.param("limit", text("much")).apply(&map);
    assert_eq!(
        wrong.expect_err("no number").detail,
        "the parameter `limit`: `much` is not a number"
    );
    let malformed = Sample::of(&["<o:Order>"]).param("requester", text("x"));
    let error = malformed.apply(&map).expect_err("malformed");
    assert_eq!(error.code, codes::UNDECLARED_PREFIX);
    assert!(error.detail.starts_with("`order`: "), "{error}");
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let found = faults(include_str!("maps/faulty.toml"));
    let wanted = include_str!("maps/faulty.txt");
    assert_eq!(found.join("\n"), wanted.trim_end());
}

#[test]
fn a_map_lacks_nothing_without_being_told() {
    assert_eq!(
        faults(""),
        [
            "1:1 QS0242 the map has no `[target]`",
            "1:1 QS0242 the map has no `[to]`"
        ]
    );
    let found = faults("[target\nformat = 1");
    assert!(found[0].starts_with("1:8 QS0240 "), "{found:?}");
    let defects = Map::compile("maps/a.jq", ".").expect_err("another language");
    assert_eq!(defects[0].fault.code, codes::MAP_LANGUAGE);
    let long = format!("about = '{}'", "x".repeat(2 * 1024 * 1024));
    assert!(faults(&long)[0].starts_with("1:1 QS0249 "));
    let mut nested = "\"@\" = \"@\"".to_owned();
    for _ in 0..9 {
        nested = format!("\"@.a\" = {{ repeat = \"@.a[*]\", to = {{ {nested} }} }}");
    }
    let nested = nested.replacen("@.a", "$.a", 1);
    let text = format!("source.a.format = \"json\"\ntarget.format = \"json\"\n[to]\n{nested}");
    let found = faults(&text);
    assert!(found[0].contains("QS0249"), "{found:?}");
}

/// What a map with one field of XML to JSON says of a document.
fn refused(field: &str, body: &[u8]) -> MapError {
    let map = compile(&format!("{HEAD}\"$.x\" = {field}"));
    let inputs = [Input {
        kind: Kind::Xml,
        body,
    }];
    let call = Call {
        inputs: &inputs,
        params: &BTreeMap::new(),
        properties: &BTreeMap::new(),
    };
    map.apply(&call).expect_err(field)
}

#[test]
fn hostile_documents_are_refused_before_they_are_in_memory() {
    let deep = "<a>".repeat(10_000) + &"</a>".repeat(10_000);
    let bomb = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><a>&b;</a>";
    let many = format!("<a>{}</a>", "<b/>".repeat(200_000));
    let attributes = format!("<a>{}</a>", "<b c='' d=''/>".repeat(70_000));
    let large = format!("<a>{}</a>", "x".repeat(4 * 1024 * 1024));
    let huge = vec![b'x'; 9 * 1024 * 1024];
    for (body, code) in [
        (deep.as_bytes(), codes::TOO_DEEP),
        (bomb.as_bytes(), codes::DTD),
        (b"<a>&b;</a>", codes::ENTITY),
        (many.as_bytes(), codes::MAP_INPUT_TOO_LARGE),
        (attributes.as_bytes(), codes::MAP_INPUT_TOO_LARGE),
        (large.as_bytes(), codes::MAP_INPUT_TOO_LARGE),
        (&huge, codes::MAP_INPUT_TOO_LARGE),
    ] {
        let error = refused("\"/a\"", body);
        assert_eq!(error.code, code, "{error}");
        assert!(error.detail.starts_with("`a`: "), "{error}");
    }
    let text = "source.a.format = \"json\"\ntarget.format = \"json\"\n[to]\n\"$.x\" = \"$.a\"";
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let many = format!("[{}0]", "0,".repeat(200_000));
    let twice = r#"{"a": 1, "a": 2}"#;
    for (body, code) in [
        (deep.as_str(), codes::TOO_DEEP),
        (&many, codes::MAP_INPUT_TOO_LARGE),
        (twice, codes::DUPLICATE_KEY),
        ("{\"a\": []}", codes::MAP_VALUE),
    ] {
        assert_eq!(map(text, body).expect_err(text).code, code);
    }
}

#[test]
fn the_deepest_document_that_is_accepted_is_read_too() {
    let deep = "<a>".repeat(256) + "x" + &"</a>".repeat(256);
    let made = to_json("\"$.x\" = \"string(/)\"\n\"$.n\" = \"count(//a)\"", &deep);
    assert_eq!(made.as_deref(), Ok("{\"x\":\"x\",\"n\":256}"));
}

#[test]
fn work_is_counted_whatever_a_map_does() {
    // Lines that each look at all lines.
    let body = format!("<a>{}</a>", "<b><c>1</c></b>".repeat(20_000));
    for field in [
        r#"{ repeat = "/a/b", to = { "@" = "count(/a/b)" } }"#,
        r#"{ repeat = "/a/b", to = { "@" = "count(//b)" } }"#,
        r#"{ repeat = "/a/b", to = { "@" = "string-length(/)" } }"#,
        r#"{ repeat = "/a/b", to = { "@" = "count(preceding-sibling::b)" } }"#,
        r#""count(//*[count(.//*[count(.//*[count(.//*) > 0]) > 0]) > 0])""#,
    ] {
        let error = refused(field, body.as_bytes());
        assert_eq!(error.code, codes::MAP_WORK, "{field}: {error}");
    }
    // What an honest map does is far below.
    let made = to_json(
        r#""$.x" = { repeat = "/a/b", to = { "@.c" = "c", "@.n" = { cel = "c + c", with = { c = "c" } } } }"#,
        &body,
    );
    assert!(
        made.expect("within the limit")
            .ends_with(r#",{"c":"1","n":"11"}]}"#)
    );
    let json = format!("{{\"a\": [{}0]}}", "0,".repeat(20_000));
    let text = "source.a.format = \"json\"\ntarget.format = \"json\"\n[to]\n\"$.x\" = { repeat = \"$.a[*]\", to = { \"@.b\" = { repeat = \"$.a[*]\", to = { \"@\" = \"@.c\" } } } }";
    assert_eq!(
        map(text, &json).expect_err("all of all").code,
        codes::MAP_WORK
    );
}

#[test]
fn what_is_made_is_bounded_too() {
    let long = "x".repeat(1024 * 1024 + 1);
    let body = format!("<a><b>{long}</b></a>");
    let error = refused("\"/a/b\"", body.as_bytes());
    assert_eq!(error.code, codes::MAP_OUTPUT);
    // A short document that becomes a long one.
    let body = format!(
        "<a><b>{}</b>{}</a>",
        "y".repeat(500_000),
        "<c/>".repeat(100)
    );
    let field = r#"{ repeat = "/a/c", to = { "@" = "/a/b" } }"#;
    assert_eq!(refused(field, body.as_bytes()).code, codes::MAP_OUTPUT);
    let long = "/a/b, ".repeat(3);
    let field = format!(r#"{{ cel = "b + b", with = {{ b = "concat({long}/a/b)" }} }}"#);
    assert_eq!(refused(&field, body.as_bytes()).code, codes::MAP_EVALUATION);
}

#[test]
fn the_same_call_makes_the_same_bytes() {
    let map = compile(ORDER_TO_JSON);
    let given = Sample::of(&[ORDER]);
    let first = given.apply(&map).expect("JSON");
    for _ in 0..20 {
        assert_eq!(given.apply(&compile(ORDER_TO_JSON)).expect("JSON"), first);
    }
}

#[test]
fn expressions_and_paths_nest_within_bounds() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(500), close.repeat(500));
    for expression in [
        nested("(", ")"),
        nested("[", "]"),
        nested("!", ""),
        nested("-", ""),
        nested("int(", ")"),
    ] {
        let text = format!("{HEAD}\"$.x\" = {{ cel = \"{expression}\" }}");
        match Map::compile("a.toml", &text) {
            Ok(map) => {
                let made = Sample::of(&["<a/>"]).apply(&map);
                let fits = made
                    .as_ref()
                    .map_or_else(|e| e.code == codes::MAP_EVALUATION, |_| true);
                assert!(fits, "{made:?}");
            }
            Err(defects) => assert_eq!(defects[0].place.line, 4, "{}", defects[0]),
        }
    }
    for path in [
        nested("(", ")"),
        nested("a[", "]"),
        nested("-", ""),
        nested("not(", ")"),
    ] {
        let found = faults(&format!("{HEAD}\"$.x\" = \"{path}\""));
        assert!(found[0].starts_with("4:"), "{found:?}");
    }
}

/// What the scanner says of a document.
fn well_formed(kind: Kind, document: &str) -> bool {
    let mut scanner = Scanner::new(kind, Vec::new(), Limits::default());
    scanner.push(document.as_bytes()).is_ok() && scanner.finish().is_ok()
}

proptest! {
    #[test]
    fn any_text_comes_through_both_formats_or_is_refused(text in any::<String>()) {
        let to_xml = "source.a.format = \"json\"\ntarget.format = \"xml\"\n[to]\n\"/a/@b\" = \"$.t\"\n\"/a/c\" = \"$.t\"";
        let json = serde_json::json!({ "t": text }).to_string();
        match map(to_xml, &json) {
            Ok(xml) => {
                prop_assert!(well_formed(Kind::Xml, &xml), "{xml}");
                let back = to_json("\"$.b\" = \"/a/@b\"\n\"$.c\" = \"/a/c\"", &xml);
                let back: serde_json::Value = serde_json::from_str(&back.expect("JSON")).expect("JSON");
                prop_assert_eq!(&back["b"], &serde_json::json!(text));
                prop_assert_eq!(&back["c"], &serde_json::json!(text));
            }
            Err(error) => prop_assert_eq!(error.code, codes::MAP_VALUE),
        }
    }

    #[test]
    fn any_map_is_read_or_refused(text in "(\\[?(to|source\\.a|target|param|table\\.t)\\]?[ =\n])?[a-z\"$/@.{}=\\[\\] \n]{0,60}") {
        for text in [format!("{HEAD}\"$.x\" = {text}"), text] {
            let lines = text.matches('\n').count() + 1;
            for defect in Map::compile("a.toml", &text).err().into_iter().flatten() {
                prop_assert!(defect.place.line <= lines, "{defect}");
            }
        }
    }
}
