//! `window = { allow = [...], timezone = "..." }` of receive locations and send ports.

use quayside_engine::window::ServiceWindow;

use super::{codes, section::Section};

/// The service window under `window` of `section`, if it has one.
pub(crate) fn read(section: &Section<'_>) -> Option<ServiceWindow> {
    let window = section.section("window")?;
    let allow = window.texts("allow").into_iter();
    let allow: Vec<&str> = allow.map(|(text, _)| text).collect();
    let timezone = window.required_text("timezone");
    if allow.is_empty() {
        window.missing("allow");
    }
    let parsed = timezone.filter(|_| !allow.is_empty()).and_then(|timezone| {
        ServiceWindow::parse(&allow, timezone)
            .map_err(|error| window.error(codes::WINDOW, "allow", error.to_string()))
            .ok()
    });
    window.finish();
    parsed
}
