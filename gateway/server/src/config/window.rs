//! `window = { allow = [...], timezone = "..." }` of receive locations and send ports.

use quayside_engine::window::ServiceWindow;

use super::{codes, section::Section};

/// Any span that can be read, to judge a zone by, and any zone, to judge a span by.
const ANY_SPAN: &str = "daily 00:00-24:00";
const ANY_ZONE: &str = "UTC";

/// The service window under `window` of `section`, if it has one. Every span and the zone are judged on
/// their own, each at its place.
pub(crate) fn read(section: &Section<'_>) -> Option<ServiceWindow> {
    let window = section.section("window")?;
    let allow = window.texts("allow");
    let timezone = window.required_text("timezone");
    if allow.is_empty() {
        window.missing("allow");
    }
    for (span, node) in &allow {
        if let Err(error) = ServiceWindow::parse(&[span], ANY_ZONE) {
            let message = format!("`{}`: {error}", window.name_of("allow"));
            window
                .report
                .error(codes::WINDOW, window.source, node.key_at, message);
        }
    }
    if let Some(Err(error)) = timezone.map(|zone| ServiceWindow::parse(&[ANY_SPAN], zone)) {
        let message = format!("`{}`: {error}", window.name_of("timezone"));
        window.error(codes::WINDOW, "timezone", message);
    }
    let spans: Vec<&str> = allow.into_iter().map(|(text, _)| text).collect();
    let parsed = timezone.and_then(|zone| ServiceWindow::parse(&spans, zone).ok());
    window.finish();
    parsed
}
