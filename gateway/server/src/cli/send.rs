//! `quayside send`.

use std::path::PathBuf;

use clap::Args;

use super::{Remote, client::segment, codes, output::text_of};
use crate::exit::{Exit, Failure};

/// What to hand in, and where.
#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The full name of the receive location: APPLICATION.PORT.LOCATION
    location: String,
    /// The file; `-` reads standard input
    file: PathBuf,
    /// The media type; without it, the end of the file's name tells
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A property that the location would set, such as http.header.idempotency-key=1; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Hands the file to the location and prints the id of the message.
pub(super) async fn send(args: &SendArgs) -> Result<Exit, Failure> {
    let body = read(args)?;
    let mut headers = vec![("content-type", content_type(args))];
    for property in &args.properties {
        let (name, value) = property.split_once('=').ok_or_else(|| {
            let message =
                format!("`{property}` is not NAME=VALUE, such as http.header.idempotency-key=1");
            Failure::new(codes::BAD_REQUEST, message).exiting(Exit::Usage)
        })?;
        // It travels in one line of a header.
        if property.chars().any(char::is_control) {
            let message =
                format!("the property {name} holds a line break or another control character");
            return Err(Failure::new(codes::BAD_REQUEST, message)
                .exiting(Exit::Usage)
                .with_help("Give a value of one line."));
        }
        headers.push(("x-quayside-property", format!("{name}={value}")));
    }
    let path = format!("/locations/{}/messages", segment(&args.location));
    let answer = args
        .remote
        .client()?
        .post_bytes(&path, body, &headers)
        .await?;
    let repeat = if answer["replayed"].as_bool() == Some(true) {
        " (a repeat)"
    } else {
        ""
    };
    args.remote
        .output()
        .text(&answer, &format!("{}{repeat}\n", text_of(&answer, "id")))
}

fn read(args: &SendArgs) -> Result<Vec<u8>, Failure> {
    let read = if args.file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut body).map(|_| body)
    } else {
        std::fs::read(&args.file)
    };
    read.map_err(|error| Failure::new(codes::FILE, format!("{}: {error}", args.file.display())))
}

fn content_type(args: &SendArgs) -> String {
    if let Some(content_type) = &args.content_type {
        return content_type.clone();
    }
    let by_name = match args
        .file
        .extension()
        .and_then(|extension| extension.to_str())
    {
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("csv") => "text/csv",
        _ => "application/octet-stream",
    };
    by_name.to_owned()
}
