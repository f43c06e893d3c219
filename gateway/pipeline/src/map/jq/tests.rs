//! Programs as they are checked and run, without the limits that their process has.

use super::*;

fn faults(text: &str, params: &[&str]) -> Vec<String> {
    let params: Vec<String> = params.iter().map(|&name| name.to_owned()).collect();
    let defects = check(text, &params).expect_err(text);
    defects.iter().map(ToString::to_string).collect()
}

fn made(text: &str, params: &[(&str, &str)], document: &str) -> Result<String, String> {
    let params: Vec<(String, String)> = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut out = Vec::new();
    run(text, &params, || Ok(document.as_bytes().to_vec()), &mut out)?;
    Ok(String::from_utf8(out).expect("UTF-8"))
}

#[test]
fn faults_have_their_places_and_remedies() {
    for (text, told) in [
        (".a +", "1:5: QS0293: a term is wanted, and it ends here."),
        (
            "{a: 1,\n  b: }",
            "2:6: QS0293: a term is wanted, and here is `}`.",
        ),
        ("[1, 2", "1:6: QS0293: `[` is not closed."),
        ("\"ü\" + \"\\q\"", "1:9: QS0293: one of"),
        ("if . then 1 else 2", "1:19: QS0293: `end` is wanted"),
        (
            "  .a | lenght",
            "1:8: QS0294: there is no function `lenght`. Did you mean `length`?",
        ),
        (
            "limit(.[])",
            "1:1: QS0294: `limit` is given 1 arguments. It takes 2.",
        ),
        (
            ".a | nobody_has_this(1; 2)",
            "1:6: QS0294: there is no function `nobody_has_this`.",
        ),
        (
            "$limt",
            "1:1: QS0294: there is no variable `$limt`. Did you mean `limit`?",
        ),
        (
            "break $out",
            "1:7: QS0294: there is no `label $out` around it.",
        ),
        ("", "1:1: QS0293: a term is wanted, and it ends here."),
    ] {
        let found = faults(text, &["limit"]);
        assert!(found[0].starts_with(told), "{text}: {found:?}");
    }
    let found = faults("$limit", &[]);
    assert!(
        found[0].contains("`params = [\"limit\"]` in `[map.NAME]`"),
        "{found:?}"
    );
    assert_eq!(faults("foo | $bar | baz", &["limit"]).len(), 3);
    assert_eq!(
        check("def f($x): . + $x; f($limit)", &["limit".to_owned()]),
        Ok(())
    );
}

#[test]
fn what_reaches_outside_is_refused() {
    for text in [
        "env",
        "env.HOME",
        "$ENV",
        "$ENV.PATH",
        "input",
        "[inputs]",
        "input_filename",
        "debug",
        "debug(1)",
        "stderr",
        "halt",
        "halt_error",
        "halt_error(1)",
        "localtime",
        "now | strflocaltime(\"%H\")",
        "import \"a\" as a; a::f",
        "import \"a\" as $a; $a",
        "include \"a\"; .",
        "get_search_list",
    ] {
        let found = faults(text, &[]);
        assert!(
            found.iter().any(|one| one.contains("QS0295")),
            "{text}: {found:?}"
        );
    }
    // A function of the program's own may be called as it likes.
    assert_eq!(check("def debug: .; debug", &[]), Ok(()));
}

#[test]
fn a_program_that_nests_deep_is_told_and_harms_nobody() {
    let most = PROGRAM_BYTES;
    let half = most / 2;
    let third = most / 3 - 8;
    for text in [
        "[".repeat(most),
        "-".repeat(most - 1) + "1",
        format!("{}{}", "[".repeat(half - 1), "]".repeat(half - 1)),
        format!("{}1{}", "(".repeat(half - 1), ")".repeat(half - 1)),
        format!(".{}", "|.".repeat(half - 1)),
        format!("1{}", "+1".repeat(half - 1)),
        format!("1{}", ",1".repeat(half - 1)),
        format!(".{}", "[]".repeat(half - 1)),
        format!(
            "{}1{}",
            "{a:".repeat(most / 4 - 1),
            "}".repeat(most / 4 - 1)
        ),
        format!("{}1{}", "\"\\(".repeat(most / 5), ")\"".repeat(most / 5)),
        format!("{}1", "def f:".repeat(most / 9)) + &";1".repeat(most / 9),
        format!("{}1", "try ".repeat(most / 4 - 1)),
        format!("{}1", ". as$a|".repeat(most / 7 - 1)),
        format!(".{}", "//.".repeat(third)),
        format!(
            "{}1{}",
            "if 1 then ".repeat(most / 16),
            " end".repeat(most / 16)
        ),
        format!("{}1{}", "f(".repeat(third), ")".repeat(third)),
    ] {
        // Whether it is fine does not matter: it comes back.
        let _ = check(&text, &[]);
    }
    let found = faults(&" ".repeat(most + 1), &[]);
    assert!(found[0].starts_with("1:1: QS0249: "), "{found:?}");
}

#[test]
fn numbers_keep_their_digits_where_nothing_is_calculated() {
    let long = "123456789012345678901234567890";
    for (text, document, wanted) in [
        (".", "{\"price\":12.50}", "{\"price\":12.50}"),
        (".", long, long),
        (".", "1.00e2", "1.00e2"),
        ("[.[] | {a: .}]", "[0.10]", "[{\"a\":0.10}]"),
        // Whole numbers are calculated exactly, others as binary ones.
        (". + 1", long, "123456789012345678901234567891"),
        (". * 2", "12.50", "25.0"),
        ("add", "[0.1,0.2]", "0.30000000000000004"),
        ("tostring", "12.50", "\"12.50\""),
        ("tonumber", "\"12.50\"", "12.50"),
        ("tonumber", "\"007.50\"", "7.50"),
        ("sort", "[12.50,1]", "[1,12.50]"),
    ] {
        assert_eq!(made(text, &[], document).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn one_document_is_made_or_told_why_not() {
    for (text, document, wanted) in [
        ("empty", "1", Err("it makes no document")),
        (
            ".[]",
            "[1,2]",
            Err("it makes several documents; put them into a list by `[...]`"),
        ),
        (
            "repeat(1)",
            "1",
            Err("it makes several documents; put them into a list by `[...]`"),
        ),
        ("error(\"no region\")", "1", Err("no region")),
        ("1, error(\"late\")", "1", Err("late")),
        (".a", "[]", Err("cannot index [] with \"a\"")),
        (
            "nan",
            "1",
            Err("it makes the number NaN, which JSON has not"),
        ),
        (
            "1 / 0",
            "1",
            Err("it makes the number inf, which JSON has not"),
        ),
        ("{(1|tostring): 1}", "1", Ok("{\"1\":1}")),
        (
            "{(1): 1}",
            "1",
            Err("it makes an object whose key is no text"),
        ),
        (
            "tobytes",
            "\"a\"",
            Err("it makes bytes, which JSON has not: `tostring` makes a text of them"),
        ),
        ("[range(3)] | map(select(. > 0))", "null", Ok("[1,2]")),
        (
            "{b: 1, a: \"ü\\n\"}",
            "null",
            Ok("{\"b\":1,\"a\":\"ü\\n\"}"),
        ),
        ("test(\"^a+$\")", "\"aaa\"", Ok("true")),
        ("todate", "0", Ok("\"1970-01-01T00:00:00Z\"")),
    ] {
        let made = made(text, &[], document);
        assert_eq!(made.as_deref().map_err(String::as_str), wanted, "{text}");
    }
    let long = made("error(\"x\" * 10000)", &[], "1").expect_err("an error");
    assert!(long.chars().count() <= TOLD + 1, "{long}");
}

#[test]
fn parameters_are_texts_and_null_where_they_are_not_given() {
    let text = "{limit: (($limit // \"100\") | tonumber), who: $who}";
    assert_eq!(
        made(text, &[], "1").as_deref(),
        Ok("{\"limit\":100,\"who\":null}")
    );
    let given = [("limit", "12.50"), ("who", "a\"b $limit")];
    assert_eq!(
        made(text, &given, "1").as_deref(),
        Ok("{\"limit\":12.50,\"who\":\"a\\\"b $limit\"}")
    );
    let wrong = made("nobody_has_this", &[], "1").expect_err("no such function");
    assert!(wrong.starts_with("1:1: QS0294"), "{wrong}");
}
