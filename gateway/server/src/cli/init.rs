//! `quayside init`: a small application that passes `check` and runs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{codes, output};
use crate::{
    config::is_name,
    dev::shell_word,
    exit::{Exit, Failure},
};

/// Where.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder to make, or an empty one; its name becomes that of the application
    dir: PathBuf,
}

/// The application: one way in, two ways out.
const APP: &str = r#"[app]
name = "{NAME}"

[message.order]
type = "urn:orders#Order"                       # namespace#root
namespaces = { o = "urn:orders" }
promote.OrderId = { xpath = "/o:Order/o:Id", required = true }

[receive.orders]
message = "order"
dedupe = { key = "http.header.idempotency-key", window = "24h" }
[receive.orders.location.web.http]
path = "/in/orders"

[send.archive]
filter = "msg.type == 'urn:orders#Order'"
primary.file = { folder = "archive", create = true, file_name = "{OrderId}-{msg.id}.xml" }

[send.partner]
filter = "msg.type == 'urn:orders#Order'"
primary.http = { url = "http://127.0.0.1:9471/orders" }
"#;

/// A message that the application takes.
const SAMPLE: &str = "<Order xmlns=\"urn:orders\">\n  <Id>4711</Id>\n</Order>\n";

/// Makes the folder. Nothing that is there is changed.
pub(super) fn init(args: &InitArgs) -> Result<Exit, Failure> {
    let dir = &args.dir;
    refuse_what_is_there(dir)?;
    let name = name_of(dir);
    let write = || {
        fs::create_dir_all(dir.join("samples"))?;
        fs::write(dir.join("samples/order.xml"), SAMPLE)?;
        fs::write(dir.join("app.toml"), APP.replace("{NAME}", &name.text))
    };
    write().map_err(|error| Failure::new(codes::FILE, format!("{}: {error}", dir.display())))?;
    let word = shell_word(&dir.display().to_string());
    let mut said = format!(
        "Made the application `{}` in {}.\n",
        name.text,
        dir.display()
    );
    if !name.is_folder {
        said.push_str(
            "The name of the folder cannot be that of an application: letters, digits, `-` and `_`, at \
             most 40.\nChange `[app] name` in app.toml if you want another one.\n",
        );
    }
    said.push_str(&format!("Next: quayside dev {word}\n"));
    output::print(&said)
}

/// A folder that holds anything may hold what a person would miss.
fn refuse_what_is_there(dir: &Path) -> Result<(), Failure> {
    let refused = |why: &str| {
        let message = format!("{} {why}", dir.display());
        Err(Failure::new(codes::EXISTS, message)
            .with_help("Name a folder that is empty or not there yet."))
    };
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            Some(_) if dir.join("app.toml").exists() => refused("holds an application already"),
            Some(_) => refused("is not empty"),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) if dir.exists() && !dir.is_dir() => refused("is a file"),
        Err(error) => Err(Failure::new(
            codes::FILE,
            format!("{}: {error}", dir.display()),
        )),
    }
}

/// The name of an application.
#[derive(Debug, PartialEq, Eq)]
struct AppName {
    text: String,
    /// Whether it is just that of the folder.
    is_folder: bool,
}

/// The name of the folder, with `-` for what a name cannot hold.
fn name_of(dir: &Path) -> AppName {
    // `.` and `..` have the name of the folder that they stand for, if that is there.
    let absolute = fs::canonicalize(dir)
        .or_else(|_| std::path::absolute(dir))
        .unwrap_or_else(|_| dir.to_owned());
    let folder = absolute.file_name().unwrap_or_default().to_string_lossy();
    app_name(&folder)
}

fn app_name(folder: &str) -> AppName {
    if is_name(folder) {
        return AppName {
            text: folder.to_owned(),
            is_folder: true,
        };
    }
    let mut text = String::new();
    for c in folder.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            text.push(c);
        } else if !text.is_empty() && !text.ends_with('-') {
            text.push('-');
        }
    }
    text.truncate(LONGEST);
    let text = text.trim_matches(['-', '_']);
    let text = if is_name(text) { text } else { "orders" };
    AppName {
        text: text.to_owned(),
        is_folder: false,
    }
}

/// The longest name of an application.
const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_folders_give_proper_names() {
        for (folder, name, same) in [
            ("shop", "shop", true),
            ("My shop (new)", "My-shop-new", false),
            ("bücher", "b-cher", false),
            ("v1.2", "v1-2", false),
            ("--", "orders", false),
            ("", "orders", false),
            ("店", "orders", false),
            (&"x".repeat(50), &"x".repeat(40), false),
        ] {
            let found = app_name(folder);
            assert_eq!(
                (found.text.as_str(), found.is_folder),
                (name, same),
                "{folder}"
            );
            assert!(is_name(&found.text), "{folder}");
        }
    }
}
