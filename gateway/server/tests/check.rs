//! `quayside check`: what it prints for configurations that are wrong, to the letter, and that every
//! sample in the repository is right.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn quayside(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .expect("the program runs")
}

/// A case is one file: `# --- NAME` begins a file of the configuration, `# --- expect` what is printed.
fn check(case: &Path) {
    let text = fs::read_to_string(case).expect("the case is there");
    let dir = tempfile::tempdir().expect("a folder");
    let mut expected = None;
    for part in text.split("# --- ").skip(1) {
        let (name, content) = part.split_once('\n').expect("a name and its content");
        if name == "expect" {
            expected = Some(content);
            continue;
        }
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        fs::write(path, content).expect("written");
    }
    let mut args = vec!["check", "apps"];
    for (flag, file) in [("--group", "group.toml"), ("--node", "node.toml")] {
        if dir.path().join(file).exists() {
            args.extend([flag, file]);
        }
    }
    let output = quayside(dir.path(), &args);
    let printed = String::from_utf8(output.stdout).expect("text");
    let expected = expected.expect("the case says what it expects");
    assert_eq!(
        printed.trim_end(),
        expected.trim_end(),
        "{}\n{printed}",
        case.display()
    );
    let code = if expected.contains("error[") { 10 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{}", case.display());
}

#[test]
fn every_case_prints_what_it_expects() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .expect("cases")
        .map(|entry| entry.expect("a case").path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 8, "the cases are there");
    cases.iter().for_each(|case| check(case));
}

#[test]
fn every_sample_in_the_repository_passes() {
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/apps");
    let mut checked = 0;
    for entry in fs::read_dir(&apps).expect("sample applications") {
        let dir = entry.expect("an application").path();
        if !dir.join("app.toml").exists() {
            continue;
        }
        let mut args = vec!["check".to_owned(), dir.display().to_string()];
        let group = dir.join("group.toml");
        if group.exists() {
            args.extend(["--group".to_owned(), group.display().to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = quayside(&apps, &args);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(printed, "0 errors, 0 warnings.\n", "{}", dir.display());
        checked += 1;
    }
    assert!(checked > 0, "fixtures/apps holds an application");
}

#[test]
fn a_new_application_passes() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = quayside(dir.path(), &["init", "shop"]);
    assert!(made.status.success(), "{made:?}");
    let text = fs::read_to_string(dir.path().join("shop/app.toml")).expect("made");
    assert!(
        text.lines().count() <= 22 && text.contains("name = \"shop\""),
        "{text}"
    );
    let checked = quayside(dir.path(), &["check", "shop"]);
    assert_eq!(
        String::from_utf8_lossy(&checked.stdout),
        "0 errors, 0 warnings.\n"
    );
    // A second time it would overwrite.
    let again = quayside(dir.path(), &["init", "shop"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(
        String::from_utf8_lossy(&again.stderr).starts_with("error[QS0708]"),
        "{again:?}"
    );
}

#[test]
fn faults_are_told_to_programs_too() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(
        dir.path().join("app.toml"),
        "[app]\nname = \"a\"\nnmae = 1\n",
    )
    .expect("written");
    let output = quayside(dir.path(), &["check", ".", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["errors"], 1);
    assert_eq!(document["faults"][0]["code"], "QS0602");
    assert_eq!(document["faults"][0]["line"], 3);
    assert_eq!(document["faults"][0]["column"], 1);
}
