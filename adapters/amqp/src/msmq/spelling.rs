//! How the names of MSMQ queues are spelled: paths and format names, in lower case.

use std::net::IpAddr;

use super::names::{NameError, Part, Purpose, QueueName, System};

/// What is a name of MSMQ that nothing in AMQP can stand for.
pub(super) fn impossible(name: &str) -> Option<NameError> {
    let (what, remedy) = if name.contains(',') {
        (
            "a list of several queues",
            "make one send port for each queue, or bind the queues to an exchange of the broker",
        )
    } else if name.starts_with("dl=") {
        (
            "a distribution list (DL=) stands in Active Directory",
            "name its queues, with one send port for each",
        )
    } else if name.starts_with("multicast=") {
        (
            "a multicast address has no queue",
            "bind the queues to a fanout exchange of the broker",
        )
    } else if name.starts_with("label:") || name.starts_with("queue:") {
        (
            "a label is looked up in Active Directory",
            "name the queue by its path, such as `host\\private$\\orders`",
        )
    } else if name.starts_with("direct=spx:") || name.starts_with("direct=ipx:") {
        (
            "SPX is no network that there still is",
            "write DIRECT=OS: and the name of the machine",
        )
    } else {
        return None;
    };
    Some(NameError::Impossible { what, remedy })
}

/// Reads a name, in lower case and without `formatname:`.
pub(super) fn read(name: &str, purpose: Purpose) -> Result<QueueName, NameError> {
    if let Some(rest) = name.strip_prefix("public=") {
        let (id, part) = with_part(rest)?;
        let id = guid(id)?;
        return Ok(QueueName::Public { id, part });
    }
    if let Some(rest) = name.strip_prefix("private=") {
        let (address, part) = with_part(rest)?;
        let (machine, number) = address
            .split_once('\\')
            .ok_or_else(|| malformed(name, "PRIVATE= is followed by `MACHINE-ID\\NUMBER`"))?;
        let hex = !number.is_empty() && number.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(number, 16).ok().filter(|_| hex);
        let number = number.ok_or_else(|| malformed(name, "the number is hexadecimal"))?;
        let machine = guid(machine)?;
        return Ok(QueueName::Private {
            machine,
            number,
            part,
        });
    }
    if let Some(rest) = name.strip_prefix("machine=") {
        let (id, which) = rest.split_once(';').unwrap_or((rest, ""));
        let which = System::of_format(which).ok_or_else(|| {
            malformed(name, "`;` and one of JOURNAL, DEADLETTER, DEADXACT follows")
        })?;
        let machine = guid(id)?;
        return Ok(QueueName::System { machine, which });
    }
    let Some(direct) = name.strip_prefix("direct=") else {
        return path(name);
    };
    if let Some(rest) = direct.strip_prefix("os:") {
        return path(rest);
    }
    if let Some(rest) = direct.strip_prefix("tcp:") {
        let address = rest.split('\\').next().unwrap_or_default();
        if address.parse::<IpAddr>().is_err() {
            return Err(malformed(name, "DIRECT=TCP: is followed by an IP address"));
        }
        return path(rest);
    }
    let web = direct
        .strip_prefix("http://")
        .or_else(|| direct.strip_prefix("https://"));
    match web {
        Some(_) if purpose == Purpose::Receive => Err(NameError::Impossible {
            what: "a queue that is named by HTTP can only be sent to",
            remedy: "write DIRECT=OS: and the name of the machine",
        }),
        Some(rest) => over_http(name, rest),
        None => Err(malformed(
            name,
            "after DIRECT= comes OS:, TCP:, http:// or https://",
        )),
    }
}

/// `host:port/msmq/private$/q`
fn over_http(name: &str, rest: &str) -> Result<QueueName, NameError> {
    let wrong = || malformed(name, "write http://HOST/msmq/QUEUE");
    let (host, queue) = rest.split_once('/').ok_or_else(wrong)?;
    let host = host.split(':').next().unwrap_or_default();
    let queue = queue.replace('/', "\\");
    let queue = queue.strip_prefix("msmq\\").ok_or_else(wrong)?;
    path(&format!("{host}\\{queue}"))
}

/// `machine\private$\q`, `machine\q\journal$`, `machine\deadletter$`, `machine\system$;deadxact`
fn path(name: &str) -> Result<QueueName, NameError> {
    let (address, mut part) = match name.split_once("system$;") {
        Some((machine, which)) if machine.ends_with('\\') => {
            let machine = machine_name(&machine[..machine.len() - 1])?;
            let which = System::of_format(which)
                .ok_or_else(|| malformed(name, "there is no such queue of a machine"))?;
            return Ok(QueueName::System { machine, which });
        }
        _ => with_part(name)?,
    };
    let mut segments: Vec<&str> = address.split('\\').collect();
    let machine = machine_name(segments.remove(0))?;
    if let ([one], Part::Messages) = (segments.as_slice(), &part)
        && let Some(which) = System::of_path(one)
    {
        return Ok(QueueName::System { machine, which });
    }
    if segments.len() > 1 && segments.last() == Some(&"journal$") && part == Part::Messages {
        segments.pop();
        part = Part::Journal;
    }
    let (private, queue) = match segments.as_slice() {
        ["private$", queue] => (true, *queue),
        [queue] if *queue != "private$" && *queue != "system$" => (false, *queue),
        _ => {
            let why = "a path is `MACHINE\\QUEUE` or `MACHINE\\private$\\QUEUE`";
            return Err(malformed(name, why));
        }
    };
    let queue = segment(queue)?;
    Ok(QueueName::Direct {
        machine,
        private,
        queue,
        part,
    })
}

/// Takes `;journal` or the name of a subqueue from the end.
fn with_part(name: &str) -> Result<(&str, Part), NameError> {
    match name.split_once(';') {
        None => Ok((name, Part::Messages)),
        Some((name, "journal")) => Ok((name, Part::Journal)),
        Some((name, sub)) => Ok((name, Part::Sub(segment(sub)?))),
    }
}

fn segment(text: &str) -> Result<String, NameError> {
    let text = text.trim();
    let strange = |c: char| c.is_control() || matches!(c, '"' | ';' | '\\' | ',' | '+');
    if text.is_empty() || text.contains(strange) || System::of_path(text).is_some() {
        return Err(malformed(text, "this is no name of a queue"));
    }
    Ok(text.to_owned())
}

/// Whether `text` can be the name of a machine.
pub(crate) fn machine_name(text: &str) -> Result<String, NameError> {
    let text = text.trim();
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if text.is_empty() || !text.chars().all(fits) || text.len() > 200 {
        return Err(malformed(text, "this is no name of a machine"));
    }
    Ok(text.to_lowercase())
}

/// Five groups of hexadecimal digits, with or without braces.
pub(super) fn guid(text: &str) -> Result<String, NameError> {
    let text = text.trim().to_lowercase();
    let bare = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(&text);
    let groups: Vec<&str> = bare.split('-').collect();
    let fits = groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()));
    if fits {
        Ok(bare.to_owned())
    } else {
        Err(malformed(&text, "this is no GUID"))
    }
}

fn malformed(name: &str, why: &str) -> NameError {
    NameError::Malformed(format!("`{name}`: {why}"))
}
