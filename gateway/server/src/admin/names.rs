//! Names in calls: of one that nothing has, the caller is told which was probably meant.

use quayside_engine::PortView;
use quayside_model::Name;

use super::{
    Admin,
    problem::{Answer, Problem},
};
use crate::config::suggestion;

/// The kinds of [`PortView`]s that a name may be of.
pub(super) const ANY: &[&str] = &["send", "location", "orchestration", "removed"];
pub(super) const LOCATIONS: &[&str] = &["location"];

/// There is nothing called `name` among those of `kinds`.
pub(super) fn no_port(name: &str, ports: &[PortView], kinds: &[&str]) -> Problem {
    let what = match kinds {
        LOCATIONS => "receive location",
        _ => "port or location",
    };
    let of_kind = ports.iter().filter(|port| kinds.contains(&port.kind));
    let words: Vec<&str> = of_kind.map(|port| port.name.as_str()).collect();
    let probably = suggestion(name, &words);
    Problem::not_found(format!("there is no {what} `{name}`{probably}"))
}

/// A list that came out empty: is that because a name in its filter is nobody's? Names of the past are
/// allowed, as long as something is left of them.
pub(super) async fn check_empty(
    admin: &Admin,
    port: Option<&Name>,
    origin: Option<&str>,
) -> Answer<()> {
    if port.is_none() && origin.is_none() {
        return Ok(());
    }
    let engine = admin.gateway.engine().await;
    // Without an engine nobody knows the names; an empty list is then all there is to say.
    let Some(engine) = engine.as_ref() else {
        return Ok(());
    };
    let ports = engine.ports().await?;
    let orchestrations = engine.orchestrations();
    let is_orchestration = |wanted: &str| {
        let mut names = orchestrations.iter().map(|(name, ..)| name);
        names.any(|name| is_origin(name, wanted))
    };
    if let Some(name) = port
        // A location too: what it could not accept is suspended under its name.
        && !ports.iter().any(|port| port.name == *name)
        && !is_orchestration(name)
    {
        return Err(no_port(name, &ports, ANY));
    }
    if let Some(origin) = origin
        && !ports.iter().any(|port| is_origin(&port.name, origin))
        && !is_orchestration(origin)
    {
        return Err(no_port(origin, &ports, LOCATIONS));
    }
    Ok(())
}

/// Whether `origin` names the location, or its port or application.
fn is_origin(location: &str, origin: &str) -> bool {
    location
        .strip_prefix(origin.trim_end_matches('.'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn an_origin_is_a_location_or_what_it_is_part_of() {
        for (origin, fits) in [
            ("orders.in.web", true),
            ("orders.in", true),
            ("orders.", true),
            ("orders", true),
            ("order", false),
            ("orders.in.w", false),
            ("orders.in.web.x", false),
        ] {
            assert_eq!(is_origin("orders.in.web", origin), fits, "{origin}");
        }
    }
}
