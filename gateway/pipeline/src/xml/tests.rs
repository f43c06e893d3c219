//! What is accepted, what is found, what is refused, and with which code.

use quayside_model::Code;

use crate::{
    Expected, Invalid, Kind, Limits, Promotions, Rule, Scanned, Scanner, codes,
    testing::{self, promotions, shown},
};

fn scan(body: &str, expected: Vec<Expected<'_>>) -> Result<Scanned, Invalid> {
    testing::scan(Kind::Xml, expected, body)
}

#[test]
fn paths_find_their_values() {
    for (path, body, found) in [
        (
            "/o:a/o:b",
            "<a xmlns='urn:o'><b>1</b><c>2</c></a>",
            Some("1"),
        ),
        (
            "/o:a/o:b",
            "<x:a xmlns:x='urn:o'><x:b>1</x:b><b>2</b></x:a>",
            Some("1"),
        ),
        ("/o:a/o:b", "<a xmlns='urn:other'><b>1</b></a>", None),
        (
            "/a/b",
            "<a><b>x<!-- y --><![CDATA[<z>]]>&amp;&#x41;<i>n</i></b></a>",
            Some("x<z>&An"),
        ),
        ("/a/b/text()", "<a><b>x<i>n</i>y</b></a>", Some("xy")),
        ("/a/b/text()", "<a><b><i>n</i></b></a>", None),
        ("/a/b", "<a><b/></a>", Some("")),
        ("/a/b/@c", "<a><b c=' x&lt;\ty '/></a>", Some(" x< y ")),
        (
            "/a/b/@o:c",
            "<a xmlns:p='urn:o'><b c='1' p:c='2'/></a>",
            Some("2"),
        ),
        (
            "/a/b[2]",
            "<a><b>1</b><c>-</c><b>2</b><b>3</b></a>",
            Some("2"),
        ),
        ("/a/*[2]", "<a><b>1</b><c>2</c></a>", Some("2")),
        (
            "/a/*[2][local-name()='c']/d",
            "<a><c><d>1</d></c><c><d>2</d></c></a>",
            Some("2"),
        ),
        (
            "/a/b[1]/c[1]",
            "<a><b><c>1</c><c>2</c></b><b><c>3</c></b></a>",
            Some("1"),
        ),
        (
            "/a/b/c",
            "<a><x><b><c>1</c></b></x><b><b><c>2</c></b></b></a>",
            None,
        ),
        (
            "/*[local-name()='a']/*[local-name()='b' and namespace-uri()='urn:o']",
            "<a><b>1</b><b xmlns='urn:o'>2</b></a>",
            Some("2"),
        ),
        (
            "/a/b",
            "<a><b>one\r\ntwo\rthree\n</b></a>",
            Some("one\ntwo\nthree\n"),
        ),
        (
            "/a",
            "<?xml version='1.0' encoding=\"UTF-8\"?>\n<!-- c --><a>]] &gt; ]]]</a>\n<?p i?>",
            Some("]] > ]]]"),
        ),
    ] {
        let promotions = promotions([("P", Rule::xpath(path))]);
        let scanned =
            scan(body, vec![(None, &promotions)]).unwrap_or_else(|e| panic!("{body}: {e}"));
        let expected: Vec<String> = found.iter().map(|value| format!("P={value}")).collect();
        assert_eq!(shown(&scanned), expected, "{path} in {body}");
    }
}

fn code(body: &str) -> Option<Code> {
    scan(body, vec![(None, &Promotions::default())])
        .err()
        .map(|invalid| invalid.code)
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for (body, expected) in [
        ("", codes::INCOMPLETE),
        ("  ", codes::INCOMPLETE),
        ("<a>", codes::INCOMPLETE),
        ("<a", codes::INCOMPLETE),
        ("<a><b></a></b>", codes::XML_SYNTAX),
        ("</a>", codes::XML_SYNTAX),
        ("text<a/>", codes::XML_SYNTAX),
        ("<a/>text", codes::TRAILING),
        ("<a/><b/>", codes::TRAILING),
        ("<a/></a>", codes::TRAILING),
        ("<a/>&amp;", codes::TRAILING),
        ("<a b=1/>", codes::XML_SYNTAX),
        ("<a b/>", codes::XML_SYNTAX),
        ("<a b='1'c='2'/>", codes::XML_SYNTAX),
        ("<a b='<'/>", codes::XML_SYNTAX),
        ("<a b='&x'/>", codes::XML_SYNTAX),
        ("<a b='1' b='2'/>", codes::DUPLICATE_ATTRIBUTE),
        (
            "<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>",
            codes::DUPLICATE_ATTRIBUTE,
        ),
        ("<a xmlns:x='u' xmlns:x='v'/>", codes::DUPLICATE_ATTRIBUTE),
        ("<x:a/>", codes::UNDECLARED_PREFIX),
        ("<a x:b='1'/>", codes::UNDECLARED_PREFIX),
        ("<a xmlns:x=''/>", codes::UNDECLARED_PREFIX),
        ("<a:b:c/>", codes::XML_SYNTAX),
        ("<1/>", codes::XML_SYNTAX),
        ("< a/>", codes::XML_SYNTAX),
        ("<a>a & b</a>", codes::XML_SYNTAX),
        ("<a>]]></a>", codes::XML_SYNTAX),
        ("<a><!-- -- --></a>", codes::XML_SYNTAX),
        ("<a><!x></a>", codes::XML_SYNTAX),
        ("<a>&nbsp;</a>", codes::ENTITY),
        ("<a>&#0;</a>", codes::CHARACTER),
        ("<a>\u{0}</a>", codes::CHARACTER),
        ("<a b='\u{1}'/>", codes::CHARACTER),
        ("<a>\u{fffe}</a>", codes::CHARACTER),
        ("<a><!-- \u{2} --></a>", codes::CHARACTER),
        ("<!DOCTYPE a><a/>", codes::DTD),
        ("<!DOCTYPE a [<!ENTITY l 'lol'>]><a>&l;</a>", codes::DTD),
        ("<?xml version='1.1'?><a/>", codes::XML_SYNTAX),
        (
            "<?xml version='1.0' encoding='ISO-8859-1'?><a/>",
            codes::ENCODING,
        ),
        (" <?xml version='1.0'?><a/>", codes::XML_SYNTAX),
        ("<?XML version='1.0'?><a/>", codes::XML_SYNTAX),
        ("<?>x</?><a/>", codes::XML_SYNTAX),
        ("<a><![CDATA[x]]</a>", codes::INCOMPLETE),
    ] {
        assert_eq!(code(body), Some(expected), "{body}");
    }
}

/// A tag of so many bytes.
fn tag_of(bytes: usize) -> String {
    format!("<a{}/>", " ".repeat(bytes - 4))
}

#[test]
fn limits_are_reached() {
    let limits = Limits {
        depth: 3,
        attributes: 2,
        name_bytes: 7,
        attribute_bytes: 5,
        token_bytes: 30,
        text_bytes: 6,
    };
    let code = |body: &str| {
        let mut scanner = Scanner::new(Kind::Xml, Vec::new(), limits);
        let pushed = scanner.push(body.as_bytes());
        pushed
            .and_then(|()| scanner.finish())
            .err()
            .map(|invalid| invalid.code)
    };
    for (at_limit, beyond, expected) in [
        (
            "<a><a><a/></a></a>",
            "<a><a><a><a/></a></a></a>",
            codes::TOO_DEEP,
        ),
        ("<a b='' c=''/>", "<a b='' c='' d=''/>", codes::TOO_MANY),
        ("<abcdefg/>", "<abcdefgh/>", codes::TOO_LONG),
        ("<a bcdefgh=''/>", "<a bcdefghi=''/>", codes::TOO_LONG),
        ("<a b='12345'/>", "<a b='123456'/>", codes::TOO_LONG),
        (&tag_of(30), &tag_of(31), codes::TOO_LONG),
        ("<a>123456</a>", "<a>1234567</a>", codes::TOO_LONG),
        (
            "<a xmlns:b='u' xmlns:c='v'/>",
            "<a xmlns:b='u'><c xmlns='v' xmlns:d='w'/></a>",
            codes::TOO_MANY,
        ),
    ] {
        assert_eq!(code(at_limit), None, "{at_limit}");
        assert_eq!(code(beyond), Some(expected), "{beyond}");
    }
}

#[test]
fn values_that_cannot_be_properties_are_refused() {
    let long = format!("<a><b>{}</b></a>", "x".repeat(9000));
    for (path, value_type, body, expected) in [
        ("/a/b", "string", "<a><b>1</b><b>2</b></a>", codes::REPEATED),
        (
            "/a/b/@c",
            "string",
            "<a><b c='1'/><b c='2'/></a>",
            codes::REPEATED,
        ),
        ("/a/b", "string", &long, codes::VALUE_TOO_LONG),
        ("/a/b", "integer", "<a><b>1.5</b></a>", codes::WRONG_TYPE),
        ("/a/b", "decimal", "<a><b></b></a>", codes::WRONG_TYPE),
        ("/a/b", "string", "<a><c/></a>", codes::REQUIRED),
    ] {
        let rule = format!(r#"{{"xpath":"{path}","type":"{value_type}","required":true}}"#);
        let rule: Rule = serde_json::from_str(&rule).expect("a rule");
        let promotions = promotions([("P", rule)]);
        let invalid = scan(body, vec![(None, &promotions)]).expect_err(body);
        assert_eq!(invalid.code, expected, "{body:.60}");
    }
}

#[test]
fn the_root_element_decides_the_type() {
    let (orders, lines, any) = (
        promotions([("Id", Rule::xpath("/o:a/o:b"))]),
        promotions([("Id", Rule::xpath("/c"))]),
        Promotions::default(),
    );
    let both = || vec![(Some("urn:o#a"), &orders), (Some("c"), &lines)];
    let order = scan("<a xmlns='urn:o'><b>1</b></a>", both()).expect("an order");
    assert_eq!(order.message_type.as_deref(), Some("urn:o#a"));
    assert_eq!(shown(&order), ["Id=1"]);
    assert_eq!(shown(&scan("<c>2</c>", both()).expect("lines")), ["Id=2"]);
    let other = scan("<d/>", both()).expect_err("not expected");
    assert_eq!(other.code, codes::UNEXPECTED_TYPE);
    let mut with_any = both();
    with_any.push((None, &any));
    let other = scan("<d xmlns='u'/>", with_any).expect("taken by the last");
    assert_eq!(other.message_type.as_deref(), Some("u#d"));
}
