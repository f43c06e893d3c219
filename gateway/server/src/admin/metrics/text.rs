//! The text format of Prometheus: families of series, written and read.

use std::{collections::BTreeMap, fmt::Write as _};

/// Metrics on their way out. What is told of one metric in several places comes out in one place, as the format
/// wants it.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    help: String,
    /// Labels as they are written, and values.
    series: Vec<(String, String)>,
}

impl Page {
    /// Announces a metric, before its first value.
    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        if self.place(name).is_none() {
            self.families.push(Family {
                name: name.to_owned(),
                kind: kind.to_owned(),
                help: help.to_owned(),
                series: Vec::new(),
            });
        }
    }

    /// One value of a metric that was announced.
    pub(super) fn value(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escape(text)))
            .collect();
        if let Some(place) = self.place(name) {
            let series = (labels.join(","), value.to_string());
            self.families[place].series.push(series);
        }
    }

    /// Adds what was joined of other processes.
    pub(super) fn join(&mut self, joined: Joined) {
        for (name, sum) in joined.families {
            self.metric(&name, &sum.kind, &sum.help);
            let place = self.place(&name).expect("it was announced");
            let series = sum.series.into_iter();
            let series = series.map(|(labels, value)| (labels, value.to_string()));
            self.families[place].series.extend(series);
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.families.iter().position(|family| family.name == name)
    }

    /// The whole page.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Family {
            name,
            kind,
            help,
            series,
        } in &self.families
        {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
                .expect("writing to a string cannot fail");
            for (labels, value) in series {
                let labels = match labels.as_str() {
                    "" => String::new(),
                    labels => format!("{{{labels}}}"),
                };
                writeln!(text, "{name}{labels} {value}").expect("writing to a string cannot fail");
            }
        }
        text
    }
}

/// What several processes say of the same metrics: counters add up, of a gauge the greatest counts. Two processes
/// of a host, of which one works and one is kept ready, look like one.
#[derive(Debug, Default)]
pub(super) struct Joined {
    families: BTreeMap<String, Sum>,
}

#[derive(Debug)]
struct Sum {
    kind: String,
    help: String,
    series: BTreeMap<String, f64>,
}

impl Joined {
    /// Takes in the page `text` of a process of `host`. `wanted` sees the name of a metric and the port that a series
    /// is of, if it is of one.
    pub(super) fn add(
        &mut self,
        host: &str,
        text: &str,
        wanted: &dyn Fn(&str, Option<&str>) -> bool,
    ) {
        let mut help = "";
        for line in text.lines() {
            if let Some(told) = line.strip_prefix("# HELP ") {
                help = told.split_once(' ').map_or("", |(_, help)| help);
            } else if let Some((name, kind)) = line
                .strip_prefix("# TYPE ")
                .and_then(|told| told.split_once(' '))
            {
                self.families.entry(name.to_owned()).or_insert_with(|| Sum {
                    kind: kind.to_owned(),
                    help: help.to_owned(),
                    series: BTreeMap::new(),
                });
            } else if let Some((name, labels, value)) = series(line)
                && wanted(name, label(labels, "port"))
                && let Some(sum) = self.families.get_mut(name)
            {
                let host = format!("host=\"{}\"", escape(host));
                let labels = match labels {
                    "" => host,
                    labels => format!("{host},{labels}"),
                };
                let known = sum.series.entry(labels).or_insert(0.0);
                *known = match sum.kind.as_str() {
                    "counter" => *known + value,
                    _ => known.max(value),
                };
            }
        }
        self.families.retain(|_, sum| !sum.series.is_empty());
    }
}

/// Name, labels without their braces, and value.
fn series(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    Some((name, labels, value.parse().ok()?))
}

/// The text of a label. Names of ports hold nothing that is escaped.
fn label<'a>(labels: &'a str, wanted: &str) -> Option<&'a str> {
    let mut all = labels.split(',');
    all.find_map(|label| {
        let (name, text) = label.split_once('=')?;
        (name == wanted).then(|| text.trim_matches('"'))
    })
}

/// The value of a label, as the format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_and_families_stay_together() {
        let mut page = Page::default();
        page.metric("a", "gauge", "First.");
        page.value("a", &[("b", "x\"\\\n"), ("c", "y")], 1.5);
        page.metric("z", "counter", "Other.");
        page.value("z", &[], 7);
        page.metric("a", "gauge", "First.");
        page.value("a", &[], 2);
        assert_eq!(
            page.text(),
            "# HELP a First.\n# TYPE a gauge\na{b=\"x\\\"\\\\\\n\",c=\"y\"} 1.5\na 2\n\
             # HELP z Other.\n# TYPE z counter\nz 7\n"
        );
    }

    #[test]
    fn processes_of_a_host_look_like_one() {
        let told = |up: u8, done: u32| {
            format!(
                "# HELP up Works.\n# TYPE up gauge\nup{{port=\"p\",kind=\"send\"}} {up}\n\
                 up{{port=\"q\",kind=\"send\"}} 0\n\
                 # HELP done_total Ended.\n# TYPE done_total counter\ndone_total {done}\n\
                 # HELP other Left out.\n# TYPE other gauge\nother 1\n"
            )
        };
        let mut joined = Joined::default();
        let wanted = |name: &str, port: Option<&str>| name != "other" && port != Some("q");
        for (host, up, done) in [("edge", 0, 3), ("edge", 1, 4), ("web", 0, 9)] {
            joined.add(host, &told(up, done), &wanted);
        }
        let mut page = Page::default();
        page.metric("up", "gauge", "Works.");
        page.join(joined);
        assert_eq!(
            page.text(),
            "# HELP up Works.\n# TYPE up gauge\nup{host=\"edge\",port=\"p\",kind=\"send\"} 1\n\
             up{host=\"web\",port=\"p\",kind=\"send\"} 0\n\
             # HELP done_total Ended.\n# TYPE done_total counter\n\
             done_total{host=\"edge\"} 7\ndone_total{host=\"web\"} 9\n"
        );
    }
}
