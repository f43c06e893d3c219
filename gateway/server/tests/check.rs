//! `quayside check`: what it prints for configurations that are wrong, to the letter, and that every
//! sample in the repository is right.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
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
        fs::write(&path, content).expect("written");
        // The names of secrets tell who may read them.
        let mode = if name.contains("secrets/") && !name.ends_with("open") {
            0o600
        } else {
            0o644
        };
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    }
    let mut args = vec!["check", "apps"];
    for (flag, file) in [("--group", "group.toml"), ("--node", "node.toml")] {
        if dir.path().join(file).exists() {
            args.extend([flag, file]);
        }
    }
    let output = quayside(dir.path(), &args);
    let printed = String::from_utf8(output.stdout).expect("text");
    let printed = printed.replace(&dir.path().display().to_string(), "{DIR}");
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
        // The application of the topologies stands in the group of each of them.
        let group = if dir.ends_with("relay") {
            apps.join("../topologies/small/group.toml")
        } else {
            dir.join("group.toml")
        };
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
fn warnings_fail_a_strict_check_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let app = "[app]\nname = \"a\"\n[send.s]\nprimary.http = { url = \"http://h/\" }\n";
    fs::write(dir.path().join("app.toml"), app).expect("written");
    for (args, code) in [(&["check", "."][..], 0), (&["check", ".", "--strict"], 10)] {
        let output = quayside(dir.path(), args);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?} {printed}");
        assert!(printed.ends_with("0 errors, 1 warning.\n"), "{printed}");
    }
}

/// A certificate of its own and its key, PEM.
fn identity() -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["h".to_owned()]).expect("a certificate");
    (pair.cert.pem(), pair.signing_key.serialize_pem())
}

#[test]
fn certificates_and_keys_are_looked_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    let ((chain, key), (_, other)) = (identity(), identity());
    put("chain.pem", &chain);
    put("key.pem", &key);
    put("other.pem", &other);
    put("none.pem", "nothing\n");
    let send = |name: &str, tls: &str| {
        format!(
            "[send.{name}]\nfilter = \"true\"\nprimary.http = {{ url = \"https://h/\", {tls} }}\n"
        )
    };
    let identity = |chain: &str, key: &str| {
        format!("client_certificate = {{ certificate = \"{chain}\", key = \"{key}\" }}")
    };
    let app = [
        "[app]\nname = \"a\"\n".to_owned(),
        send("good", &identity("chain.pem", "key.pem")),
        send("trusted", "ca = \"chain.pem\""),
        send("swapped", &identity("chain.pem", "other.pem")),
        send("keyless", &identity("chain.pem", "none.pem")),
        send("empty", "ca = \"none.pem\""),
        send("missing", "ca = \"missing.pem\""),
    ];
    put("app.toml", &app.concat());
    put(
        "node.toml",
        "[admin]\ntls = { certificate = \"chain.pem\", key = \"missing.pem\" }\n",
    );
    let faults = |args: &[&str]| -> Vec<String> {
        let output = quayside(dir.path(), args);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let faults = document["faults"].as_array().expect("a list").iter();
        let faults = faults.filter(|fault| fault["code"] == "QS0637");
        faults
            .map(|fault| {
                let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
                format!(
                    "{} {}:{} {}",
                    text("severity"),
                    text("file"),
                    fault["line"],
                    text("message")
                )
            })
            .collect()
    };
    let unusable = [
        "error ./app.toml:11 chain.pem: it is not the certificate of the key in other.pem",
        "error ./app.toml:14 none.pem: it holds no unencrypted private key in PEM",
        "error ./app.toml:17 none.pem: it holds no certificate in PEM",
    ];
    let missing = "./app.toml:20 missing.pem: No such file or directory (os error 2)";
    // Of all nodes: the file may lie on another one.
    let mut expected = unusable.map(str::to_owned).to_vec();
    expected.push(format!("warning {missing}"));
    assert_eq!(faults(&["check", ".", "-o", "json"]), expected);
    // Of this node: it has to be here.
    let mut expected = unusable.map(str::to_owned).to_vec();
    expected.insert(
        0,
        "error node.toml:2 missing.pem: No such file or directory (os error 2)".to_owned(),
    );
    expected.push(format!("error {missing}"));
    let here = ["check", ".", "--node", "node.toml", "-o", "json"];
    assert_eq!(faults(&here), expected);
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

#[test]
fn no_fault_repeats_a_secret() {
    // A secret where a reference belongs, one level too deep, in a list, and beside a wrong key: the
    // adapters' own faults name what they read.
    let marker = "S3cret\\\"Token";
    let wrong = [
        format!("\"{marker}\""),
        format!("{{ c = \"{marker}\" }}"),
        format!("{{ c = {{ value = \"{marker}\" }} }}"),
        format!("[\"{marker}\"]"),
        format!("{{ secret = {{ x = \"{marker}\" }} }}"),
    ];
    let places = [
        "receive.r.location.l.http.auth.bearer",
        "receive.r.location.l.http.auth.basic",
        "receive.r.location.l.http.auth.basic.user",
        "send.s.primary.http.auth.bearer",
        "send.s.primary.http.auth.basic.password",
        "send.s.primary.http.auth.oauth2.client_secret",
        "send.s.backup.http.auth.bearer",
    ];
    for place in places {
        for value in &wrong {
            let dir = tempfile::tempdir().expect("a folder");
            let text = format!(
                "[app]\nname = \"a\"\n[receive.r.location.l.http]\npath = \"/in\"\n\
                 [send.s]\nfilter = \"true\"\n[send.s.primary.http]\nurl = \"https://h/\"\n\
                 [send.s.backup.http]\nurl = \"https://h/\"\n[{}]\n{} = {value}\n",
                place.rsplit_once('.').expect("a table and a key").0,
                place.rsplit_once('.').expect("a table and a key").1,
            );
            fs::write(dir.path().join("app.toml"), &text).expect("written");
            let output = quayside(dir.path(), &["check", "."]);
            let printed = [output.stdout, output.stderr].concat();
            let printed = String::from_utf8(printed).expect("text");
            assert_eq!(output.status.code(), Some(10), "{text}\n{printed}");
            for part in ["S3cret", "Token"] {
                assert!(!printed.contains(part), "{text}\n{printed}");
            }
            assert!(printed.contains("QS0610"), "{text}\n{printed}");
        }
    }
}
