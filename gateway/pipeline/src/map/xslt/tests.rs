//! Stylesheets as they come from BizTalk and from elsewhere.

use super::*;

fn sheet(inner: &str) -> String {
    format!(
        "<xsl:stylesheet version='1.0' xmlns:xsl='{XSL}' xmlns:msxsl='{MSXSL}' \
         xmlns:userCSharp='{BIZTALK}userCSharp' xmlns:ScriptNS0='{BIZTALK}ScriptNS0' xmlns:dyn='{}' xmlns:s='{}' xmlns:func='http://exslt.org/functions'>\n{inner}</xsl:stylesheet>",
        DYNAMIC[0], DYNAMIC[1]
    )
}

/// Code, line and message of everything that is wrong.
fn faults(text: &str) -> Vec<(&'static str, usize, String)> {
    let defects = check("maps/a.xsl", text.as_bytes()).expect_err(text);
    let told = defects.into_iter();
    told.map(|defect| {
        (
            defect.fault.code.code,
            defect.place.line,
            defect.fault.message,
        )
    })
    .collect()
}

#[test]
fn a_stylesheet_says_what_it_takes_names_and_makes() {
    let text = sheet(
        "<xsl:import href='common.xsl'/><xsl:output method='text' media-type='text/csv'/><xsl:param name='region'/>\n\
         <xsl:template match='/'><xsl:param name='own'/><a href='document(x) {document(\"../codes.xml\")/c}'/>\n\
         <xsl:value-of select=\"document('')/*\"/></xsl:template>",
    );
    let found = check("maps/a.xsl", text.as_bytes()).expect("a stylesheet");
    assert_eq!(found.params, ["region"]);
    assert_eq!(found.content_type, "text/csv");
    let refers = found.refers.iter();
    let refers: Vec<_> = refers
        .map(|one| (one.path.as_str(), one.is_stylesheet))
        .collect();
    assert_eq!(refers, [("maps/common.xsl", true), ("codes.xml", false)]);
}

#[test]
fn one_in_utf_16_is_read_as_biztalk_writes_it() {
    let text = sheet("<xsl:template match='/'/>");
    let text = format!("<?xml version='1.0' encoding='UTF-16'?>{text}");
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let found = check("maps/a.xsl", &bytes).expect("a stylesheet");
    assert_eq!(found.content_type, "application/xml");
    let text = sheet("\n<a>").replace("</xsl", "\u{e4}</xsl");
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let defects = check("maps/a.xsl", &bytes).expect_err("an open element");
    assert_eq!(defects[0].place.line, 3, "{defects:?}");
}

#[test]
fn blocks_of_code_are_named_with_their_functions() {
    let text = sheet(
        "<xsl:template match='/'><xsl:value-of select='userCSharp:StringConcat(a)'/></xsl:template>\n\
         <msxsl:script language='C#' implements-prefix='userCSharp'><![CDATA[\n\
         public string StringConcat(string param0)\n{ return param0; }\n]]></msxsl:script>\n\
         <xsl:template name='b'><xsl:value-of select='ScriptNS0:Look(a)'/></xsl:template>",
    );
    let faults = faults(&text);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert_eq!((faults[0].0, faults[0].1), ("QS0291", 3));
    assert!(
        faults[0].2.contains("C#") && faults[0].2.contains("StringConcat"),
        "{faults:?}"
    );
    assert_eq!((faults[1].0, faults[1].1), ("QS0291", 7));
    assert!(faults[1].2.contains("ScriptNS0:Look()"), "{faults:?}");
}

#[test]
fn what_would_reach_out_of_the_folder_is_refused() {
    for (inner, word) in [
        ("<xsl:include href='../../b.xsl'/>", "not in the folder"),
        (
            "<xsl:import href='http://h/b.xsl'/>",
            "no plain relative path",
        ),
        ("<xsl:import/>", "without `href`"),
        (
            "<xsl:variable name='a' select=\"document('/etc/passwd')\"/>",
            "not in the folder",
        ),
        (
            "<xsl:variable name='a' select='document(@href)'/>",
            "computed",
        ),
        (
            "<xsl:variable name='a' select='unparsed-text($a)'/>",
            "computed",
        ),
        (
            "<xsl:variable name='a' select='dyn:evaluate(@path)'/>",
            "computed",
        ),
        (
            "<xsl:variable name='a' select='s:evaluate(string(@path))'/>",
            "computed",
        ),
        (
            "<func:function name='s:f'><func:result select='document(string(@path))'/></func:function>",
            "computed",
        ),
        (
            "<xsl:template match='/'><a b='{document(c)}'/></xsl:template>",
            "computed",
        ),
        ("<xsl:template match='/' xml:base='/etc/'/>", "`xml:base`"),
    ] {
        let faults = faults(&sheet(inner));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].1, 2, "{faults:?}");
        assert!(faults[0].2.contains(word), "{faults:?}");
    }
}

#[test]
fn what_is_no_stylesheet_is_refused_with_its_place() {
    for (text, line, word) in [
        ("", 1, "QS0212"),
        ("<a>\n <b></a>", 2, "QS0201"),
        ("<html/>", 1, "`html`"),
        (
            "<!DOCTYPE a [<!ENTITY nbsp '&#160;'>]>\n<a>&nbsp;</a>",
            1,
            "QS0202",
        ),
        (
            "<xsl:stylesheet xmlns:xsl='http://www.w3.org/1999/XSL/Transform'/>",
            1,
            "`version`",
        ),
    ] {
        let faults = faults(text);
        assert_eq!(
            (faults[0].0, faults[0].1),
            ("QS0290", line),
            "{text}: {faults:?}"
        );
        assert!(faults[0].2.contains(word), "{faults:?}");
    }
}
