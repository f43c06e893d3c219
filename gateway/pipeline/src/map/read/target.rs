//! Target paths, and the tree that they make together.

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::Code;

use super::super::{
    defect::shown,
    jsonpath::JsonPath,
    plan::{Branch, Step},
};
use crate::{Kind, codes, xml::names::is_name};

/// `[target]`.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) namespaces: BTreeMap<String, String>,
    /// The namespace of elements without a prefix.
    pub(super) default: Option<String>,
    /// The prefixes that target paths use.
    pub(super) used: BTreeSet<String>,
}

/// Where a target path cannot be read, in bytes, and why.
type Fault = (Code, usize, String);

impl Target {
    /// What the root element declares: what is used, whatever else is there.
    pub(super) fn declared(&self) -> Vec<(String, String)> {
        let default = self.default.iter();
        let default = default.map(|namespace| (String::new(), namespace.clone()));
        let used = self.namespaces.iter();
        let used = used.filter(|(prefix, _)| self.used.contains(*prefix));
        default
            .chain(used.map(|(prefix, namespace)| (prefix.clone(), namespace.clone())))
            .collect()
    }

    /// The steps of the target path `text`; in a `repeat` they go on from the match.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn steps(&mut self, text: &str, inner: bool) -> Result<Vec<Step>, Fault> {
        match self.kind {
            Kind::Json => json(text, inner),
            _ => self.xml(text, inner),
        }
    }

    fn xml(&mut self, text: &str, inner: bool) -> Result<Vec<Step>, Fault> {
        if inner && text == "." {
            return Ok(Vec::new());
        }
        let path = match (text.strip_prefix('/'), inner) {
            (Some(path), false) => path,
            (None, true) => text,
            (Some(_), true) => {
                let message =
                    "in a `repeat` a target path goes on from the element: `a:Id`, `@id` or `.`";
                return Err((codes::MAP_TARGET, 0, message.to_owned()));
            }
            (None, false) => {
                let message = "a target path starts with `/` and the root element";
                return Err((codes::MAP_TARGET, 0, message.to_owned()));
            }
        };
        let mut at = text.len() - path.len();
        let mut steps = Vec::new();
        for part in path.split('/') {
            if let Some(Step::Attribute(_)) = steps.last() {
                let message = "nothing can follow an attribute";
                return Err((codes::MAP_TARGET, at, message.to_owned()));
            }
            let name = part.strip_prefix('@').unwrap_or(part);
            self.name(name)
                .map_err(|(code, message)| (code, at, message))?;
            steps.push(if part.starts_with('@') {
                Step::Attribute(name.to_owned())
            } else {
                Step::Element(name.to_owned())
            });
            at += part.len() + 1;
        }
        if !inner && matches!(steps.first(), Some(Step::Attribute(_))) {
            let message = "an attribute belongs to an element";
            return Err((codes::MAP_TARGET, 1, message.to_owned()));
        }
        Ok(steps)
    }

    fn name(&mut self, name: &str) -> Result<(), (Code, String)> {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if !is_name(local) || (prefix.is_empty() && name.contains(':')) {
            let message = format!("`{}` is no name of an element or attribute", shown(name));
            return Err((codes::MAP_TARGET, message));
        }
        if prefix.is_empty() || prefix == "xml" {
            return Ok(());
        }
        if !self.namespaces.contains_key(prefix) {
            let message = format!("the prefix `{}` is not in `[target]`", shown(prefix));
            return Err((codes::MAP_NAME, message));
        }
        self.used.insert(prefix.to_owned());
        Ok(())
    }
}

fn json(text: &str, inner: bool) -> Result<Vec<Step>, Fault> {
    let fault = |at: usize, message: &str| (codes::MAP_TARGET, at, message.to_owned());
    let path = JsonPath::parse(text).map_err(|(at, message)| fault(at, &message))?;
    match (path.relative, inner) {
        (false, true) => {
            return Err(fault(
                0,
                "in a `repeat` a target path goes on from the element: `@.id` or `@`",
            ));
        }
        (true, false) => return Err(fault(0, "a target path starts with `$`")),
        _ => {}
    }
    let members = path.members();
    let members = members.ok_or_else(|| {
        fault(0, "a target path names members: a list is made by `repeat`, or by a parameter that is one")
    })?;
    Ok(members.into_iter().map(Step::Member).collect())
}

/// The branch at the end of `steps`, which is made if it is not there yet.
///
/// # Errors
/// That something on the way cannot have it inside.
pub(super) fn grow<'b>(
    root: &'b mut Branch,
    steps: &[Step],
    kind: Kind,
) -> Result<&'b mut Branch, String> {
    let mut branch = root;
    for (number, step) in steps.iter().enumerate() {
        if number > 0 && branch.repeat.is_some() {
            return Err(format!(
                "`{}` repeats: what is in it stands under its own `to`",
                shown(branch.step.name())
            ));
        }
        let holds_text = branch.field.is_some();
        let element = matches!(step, Step::Element(_));
        if holds_text && (kind == Kind::Json || element) {
            return Err(format!(
                "`{}` has a value of its own, and so nothing in it",
                shown(branch.step.name())
            ));
        }
        let known = branch.children.iter().position(|child| child.step == *step);
        let known = known.unwrap_or_else(|| {
            branch.children.push(Branch::new(step.clone()));
            branch.children.len() - 1
        });
        branch = &mut branch.children[known];
    }
    let has_more = branch
        .children
        .iter()
        .any(|child| kind == Kind::Json || matches!(child.step, Step::Element(_)));
    if has_more {
        return Err(
            "other paths lead into it, so that it cannot have a value or repeat".to_owned(),
        );
    }
    if branch.field.is_some() || branch.repeat.is_some() {
        return Err("another path leads there too".to_owned());
    }
    Ok(branch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_paths_are_names_all_the_way() {
        let mut target = Target {
            kind: Kind::Xml,
            namespaces: BTreeMap::from([("a".to_owned(), "urn:a".to_owned())]),
            default: None,
            used: BTreeSet::new(),
        };
        let element = |name: &str| Step::Element(name.to_owned());
        let attribute = |name: &str| Step::Attribute(name.to_owned());
        assert_eq!(
            target.steps("/a:R/x-1/@a:id", false),
            Ok(vec![element("a:R"), element("x-1"), attribute("a:id")])
        );
        assert_eq!(target.steps("@id", true), Ok(vec![attribute("id")]));
        assert_eq!(target.steps(".", true), Ok(vec![]));
        for (path, inner, code, at) in [
            ("R", false, codes::MAP_TARGET, 0),
            ("/R", true, codes::MAP_TARGET, 0),
            ("/R/@a/b", false, codes::MAP_TARGET, 6),
            ("/R//b", false, codes::MAP_TARGET, 3),
            ("/R/b[1]", false, codes::MAP_TARGET, 3),
            ("/R/x:b", false, codes::MAP_NAME, 3),
            ("/@a", false, codes::MAP_TARGET, 1),
            ("/", false, codes::MAP_TARGET, 1),
            ("/:a", false, codes::MAP_TARGET, 1),
        ] {
            let (found, place, message) = target.steps(path, inner).expect_err(path);
            assert_eq!((found, place), (code, at), "{path}: {message}");
        }
        let member = |name: &str| Step::Member(name.to_owned());
        assert_eq!(
            json("$.a['b c']", false),
            Ok(vec![member("a"), member("b c")])
        );
        assert_eq!(json("@", true), Ok(vec![]));
        for (path, inner) in [
            ("@.a", false),
            ("$.a", true),
            ("$.a[0]", false),
            ("$.*", false),
        ] {
            assert!(json(path, inner).is_err(), "{path}");
        }
    }

    #[test]
    fn paths_share_their_parents_and_exclude_each_other() {
        let step = |name: &str| Step::Element(name.to_owned());
        let mut root = Branch::new(Step::Member(String::new()));
        grow(&mut root, &[step("R"), step("a"), step("b")], Kind::Xml).expect("new");
        grow(&mut root, &[step("R"), step("a"), step("c")], Kind::Xml).expect("beside");
        assert_eq!(root.children[0].children[0].children.len(), 2);
        let into = grow(&mut root, &[step("R"), step("a")], Kind::Xml);
        assert!(into.expect_err("has children").contains("lead into it"));
    }
}
