//! Where the other files of a stylesheet lie: in the folder of the application, or nowhere.

/// The path from the folder of the application of what the file `base` names by `href`.
///
/// # Errors
/// Why that may not be read, to follow the address.
pub(super) fn resolve(base: &str, href: &str) -> Result<String, &'static str> {
    let (address, _) = href.split_once('#').unwrap_or((href, ""));
    if address.contains([':', '\\', '%', '?']) {
        return Err("is no plain relative path");
    }
    if address.starts_with('/') {
        return Err("is not in the folder of the application");
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut steps: Vec<&str> = Vec::new();
    for step in folder.split('/').chain(address.split('/')) {
        match step {
            "" | "." => {}
            ".." => {
                steps
                    .pop()
                    .ok_or("is not in the folder of the application")?;
            }
            step => steps.push(step),
        }
    }
    Ok(steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn addresses_stay_in_the_folder() {
        for (href, path) in [
            ("b.xsl", Ok("maps/in/b.xsl")),
            ("../b.xsl", Ok("maps/b.xsl")),
            ("../../b.xsl", Ok("b.xsl")),
            ("./codes/c.xml#part", Ok("maps/in/codes/c.xml")),
            (
                "../../../b.xsl",
                Err("is not in the folder of the application"),
            ),
            (
                "/etc/passwd",
                Err("is not in the folder of the application"),
            ),
            ("file:///etc/passwd", Err("is no plain relative path")),
            ("http://h/b.xsl", Err("is no plain relative path")),
            ("%2e%2e/b.xsl", Err("is no plain relative path")),
        ] {
            assert_eq!(
                resolve("maps/in/a.xsl", href).as_deref(),
                path.as_ref().copied(),
                "{href}"
            );
        }
    }
}
