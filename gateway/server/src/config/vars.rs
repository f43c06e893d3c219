//! Putting values in: `{ var = "x" }` in applications, `${ENV}` in the node's file.
//!
//! Both work on the parsed tree, so that no value can change the meaning of the text around it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    codes,
    report::{Report, SourceId},
    section::suggestion,
    spans::{Node, Value},
};

/// The group's variables, and which of them were used.
#[derive(Debug, Default)]
pub(crate) struct Vars {
    values: BTreeMap<String, Node>,
    used: BTreeSet<String>,
    source: Option<SourceId>,
}

impl Vars {
    /// The variables of a group's file.
    pub(crate) fn new(source: SourceId, values: BTreeMap<String, Node>) -> Self {
        Self {
            values,
            used: BTreeSet::new(),
            source: Some(source),
        }
    }

    /// Puts the value of its variable in for every `{ var = "NAME" }` below `node`.
    pub(crate) fn put_in(&mut self, report: &Report, source: SourceId, node: &mut Node) {
        if let Some(name) = reference(node) {
            let Some(value) = self.values.get(&name) else {
                let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
                let message = format!(
                    "the variable `{name}` is not defined{}",
                    suggestion(&name, &known)
                );
                report.error(codes::VAR_MISSING, source, node.key_at, message);
                return;
            };
            node.value = value.value.clone();
            node.from_var = Some(name.clone());
            self.used.insert(name);
            return;
        }
        match &mut node.value {
            Value::Table(table) => {
                table
                    .values_mut()
                    .for_each(|inner| self.put_in(report, source, inner));
            }
            Value::List(list) => list
                .iter_mut()
                .for_each(|inner| self.put_in(report, source, inner)),
            _ => {}
        }
    }

    /// Reports the variables that nobody used.
    pub(crate) fn report_unused(&self, report: &Report) {
        let Some(source) = self.source else { return };
        for (name, node) in &self.values {
            if !self.used.contains(name) {
                let message = format!("nothing uses `vars.{name}`");
                report.warning(codes::VAR_UNUSED, source, node.key_at, message);
            }
        }
    }
}

/// The name in `{ var = "NAME" }`. After the values are put in, only undefined ones are left.
pub(super) fn reference(node: &Node) -> Option<String> {
    let table = node.table().filter(|table| table.len() == 1)?;
    table.get("var")?.text().map(str::to_owned)
}

/// Puts environment variables in for every `${NAME}` in the texts below `node`; `$$` stands for `$`.
pub(crate) fn put_in_env(
    report: &Report,
    source: SourceId,
    node: &mut Node,
    env: &dyn Fn(&str) -> Option<String>,
) {
    let at = node.key_at;
    match &mut node.value {
        Value::Table(table) => {
            table
                .values_mut()
                .for_each(|inner| put_in_env(report, source, inner, env));
        }
        Value::List(list) => {
            list.iter_mut()
                .for_each(|inner| put_in_env(report, source, inner, env));
        }
        Value::Text(text) => match expand(text, env) {
            Ok(expanded) => *text = expanded,
            Err(message) => report.error(codes::ENV_MISSING, source, at, message),
        },
        _ => {}
    }
}

fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('{').and_then(|a| a.split_once('}'))
        {
            let value = env(name);
            out.push_str(&value.ok_or_else(|| format!("the environment has no `{name}`"))?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_are_put_in_once() {
        let env = |name: &str| match name {
            "HOST" => Some("db".to_owned()),
            "SLY" => Some("${HOST}".to_owned()),
            _ => None,
        };
        for (text, wanted) in [
            ("plain", "plain"),
            ("postgres://${HOST}/x", "postgres://db/x"),
            ("${SLY}", "${HOST}"),
            ("$${HOST}", "${HOST}"),
            ("5 $ and ${", "5 $ and ${"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(
            expand("${NO}", &env),
            Err("the environment has no `NO`".to_owned())
        );
    }
}
