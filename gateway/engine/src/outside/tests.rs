//! With real processes: `xsltproc`, and shells that misbehave.

use std::{collections::BTreeMap, path::Path};

use quayside_model::SystemClock;

use super::*;

fn outside(dir: &Path, change: impl FnOnce(&mut Settings)) -> Arc<Outside> {
    let mut settings = Settings::in_folder(dir.join("maps"), Command::of_shell("exit 1"));
    settings.timeout = Duration::from_secs(20);
    change(&mut settings);
    Arc::new(Outside::new(settings, Arc::new(SystemClock)))
}

impl Command {
    /// A command of the shell.
    fn of_shell(script: &str) -> Self {
        Self::plain(&["sh", "-c", script, "sh", FILE])
    }
}

fn program(text: &str) -> Arc<Program> {
    let text = format!(
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>\
         <xsl:output omit-xml-declaration='yes'/>{text}</xsl:stylesheet>"
    );
    let files = BTreeMap::from([("a.xsl".to_owned(), text.into_bytes())]);
    let params = vec!["p".to_owned()];
    let kind = "application/xml".to_owned();
    let program = Program::new(Language::Xslt, "a.xsl".to_owned(), files, params, kind);
    Arc::new(program)
}

const COPY: &str = "<xsl:param name='p' select=\"'none'\"/><xsl:template match='/'><r p='{$p}'><xsl:value-of select='/a'/></r></xsl:template>";

/// Calls itself twice in each of 60 levels.
const ENDLESS: &str = "<xsl:template match='/'><xsl:call-template name='l'><xsl:with-param name='n' select='60'/></xsl:call-template></xsl:template>\
    <xsl:template name='l'><xsl:param name='n'/><xsl:if test='$n > 0'><xsl:call-template name='l'><xsl:with-param name='n' select='$n - 1'/></xsl:call-template>\
    <xsl:call-template name='l'><xsl:with-param name='n' select='$n - 1'/></xsl:call-template></xsl:if></xsl:template>";

/// Doubles a text 40 times.
const GREEDY: &str = "<xsl:template match='/'><r><xsl:call-template name='l'><xsl:with-param name='n' select='40'/><xsl:with-param name='s' select=\"'xxxxxxxx'\"/></xsl:call-template></r></xsl:template>\
    <xsl:template name='l'><xsl:param name='n'/><xsl:param name='s'/><xsl:if test='$n > 0'><xsl:call-template name='l'><xsl:with-param name='n' select='$n - 1'/>\
    <xsl:with-param name='s' select='concat($s, $s)'/></xsl:call-template></xsl:if><xsl:value-of select='$s'/></xsl:template>";

async fn make(outside: &Outside, program: &Arc<Program>) -> Result<String, OutsideError> {
    let input = Bytes::from_static(b"<a>hi</a>");
    let made = outside.make(program, input, Vec::new(), 256 * 1024).await?;
    Ok(String::from_utf8(made).expect("UTF-8"))
}

#[tokio::test]
async fn a_document_is_made_by_a_process_and_the_next_one_by_one_that_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let (outside, program) = (outside(dir.path(), |_| {}), program(COPY));
    for _ in 0..3 {
        assert_eq!(
            make(&outside, &program).await.as_deref(),
            Ok("<r p=\"none\">hi</r>\n")
        );
        assert!(
            outside
                .spares
                .take(&program.hash)
                .is_some_and(|mut one| one.waits())
        );
        make(&outside, &program).await.expect("made");
    }
    let params = vec![("p".to_owned(), "it's {name}".to_owned())];
    let input = Bytes::from_static(b"<a/>");
    let made = outside.make(&program, input.clone(), params, 1000).await;
    assert_eq!(made, Ok(b"<r p=\"it's {name}\"/>\n".to_vec()));
    let unknown = vec![("q".to_owned(), String::new())];
    let error = outside.make(&program, input, unknown, 1000).await;
    assert_eq!(
        error.expect_err("no such parameter").code,
        codes::OUTSIDE_PARAMETER
    );
}

#[tokio::test]
async fn what_misbehaves_ends_with_a_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let short = |settings: &mut Settings| settings.timeout = Duration::from_millis(300);
    let small = |settings: &mut Settings| settings.memory = 64 * 1024 * 1024;
    let error = make(&outside(dir.path(), short), &program(ENDLESS)).await;
    assert_eq!(error.expect_err("it never ends").code, codes::OUTSIDE_TIME);
    let error = make(&outside(dir.path(), small), &program(GREEDY)).await;
    assert_eq!(
        error.expect_err("it takes all memory").code,
        codes::OUTSIDE_MEMORY
    );
    let error = make(&outside(dir.path(), |_| {}), &program("<xsl:template match='/'><xsl:message terminate='yes'>no such region</xsl:message></xsl:template>")).await;
    let error = error.expect_err("it ends itself");
    assert_eq!(error.code, codes::OUTSIDE_FAILED);
    assert!(error.detail.contains("no such region"), "{error:?}");
}

#[tokio::test]
async fn programs_that_do_not_do_as_they_should_are_told_apart() {
    for (script, code, word) in [
        (
            "while :; do echo 0123456789; done",
            codes::OUTSIDE_OUTPUT,
            "262144",
        ),
        (
            "yes complain | head -c 1000000 >&2; exit 3",
            codes::OUTSIDE_FAILED,
            "with 3: complain",
        ),
        ("kill -SEGV $$", codes::OUTSIDE_MEMORY, "signal 11"),
        (
            "exec >&- 2>&- <&-; sleep 1000",
            codes::OUTSIDE_TIME,
            "300ms",
        ),
        (
            "cat >/dev/null; (sleep 1000) & exit 0",
            codes::OUTSIDE_TIME,
            "300ms",
        ),
        (
            "echo xmlMalloc: allocation failed >&2; cat",
            codes::OUTSIDE_MEMORY,
            "allocation",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let outside = outside(dir.path(), |settings| {
            settings.xslt = Command::of_shell(script);
            if code == codes::OUTSIDE_TIME {
                settings.timeout = Duration::from_millis(300);
            }
        });
        let error = make(&outside, &program(COPY)).await.expect_err(script);
        assert_eq!(error.code, code, "{script}: {error:?}");
        assert!(error.detail.contains(word), "{script}: {error:?}");
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_is_this_machine_s_fault() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = |settings: &mut Settings| settings.xslt = Command::plain(&["no-such-xslt", FILE]);
    let error = make(&outside(dir.path(), missing), &program(COPY)).await;
    let error = error.expect_err("it is not there");
    assert_eq!((error.code, error.is_here), (codes::OUTSIDE_START, true));
    assert!(error.detail.contains("no-such-xslt"), "{error:?}");
}

#[tokio::test]
async fn one_that_hangs_leaves_places_to_others_and_all_that_waits_ends_with_the_engine() {
    let dir = tempfile::tempdir().expect("a folder");
    let outside = outside(dir.path(), |settings| settings.processes = 4);
    let hangs = program(ENDLESS);
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (outside, hangs) = (Arc::clone(&outside), Arc::clone(&hangs));
        hanging.spawn(async move { make(&outside, &hangs).await });
    }
    let good = program(COPY);
    // More of them than there are places.
    for _ in 0..8 {
        let made = timeout(Duration::from_secs(10), make(&outside, &good)).await;
        made.expect("it does not wait for those that hang")
            .expect("made");
    }
    assert!(hanging.try_join_next().is_none(), "it did not hang");
    hanging.shutdown().await;
    let stopping = CancellationToken::new();
    stopping.cancel();
    outside.keep(&stopping).await;
    assert!(outside.spares.take(&good.hash).is_none());
    make(&outside, &good)
        .await
        .expect("what is under way is finished");
    assert!(
        outside.spares.take(&good.hash).is_none(),
        "one was started ahead after the end"
    );
}
