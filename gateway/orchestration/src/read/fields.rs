//! The keys of a map: each is asked for, and what nobody asked for is a fault.

use quayside_model::Name;

use crate::{
    codes,
    defect::{Defects, Place, nearest, shown},
    yaml::{Key, Node, Yaml},
};

/// The keys of one map.
pub(super) struct Fields<'n> {
    pub(super) place: Place,
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The keys of `node`, which has to be a map.
    pub(super) fn of(node: &'n Node, what: &str, defects: &mut Defects) -> Option<Self> {
        let Yaml::Map(entries) = &node.value else {
            let message = format!("{} stands here, where {what} belongs", node.in_words());
            defects.add(node.place, codes::FORM, message);
            return None;
        };
        Some(Self {
            place: node.place,
            entries,
            asked: Vec::new(),
        })
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        let (_, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        Some(node)
    }

    /// The value of `key`, which has to be there.
    pub(super) fn need(&mut self, key: &'static str, defects: &mut Defects) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            defects.add(
                self.place,
                codes::MISSING_KEY,
                format!("`{key}` is missing here"),
            );
        }
        found
    }

    /// Tells of every key that was not asked for.
    pub(super) fn finish(self, defects: &mut Defects) {
        for (key, _) in self.entries {
            if self.asked.contains(&key.text.as_str()) {
                continue;
            }
            let message = format!("the key `{}` is not known here", shown(&key.text));
            let help = match nearest(&key.text, &self.asked) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("There is: {}.", self.asked.join(", ")),
            };
            defects.help(key.place, codes::UNKNOWN_KEY, message, &help);
        }
    }
}

/// The name that `node` is.
pub(super) fn name(node: &Node, defects: &mut Defects) -> Option<Name> {
    let named = node.text().and_then(|text| Name::new(text).ok());
    if named.is_none() {
        let message = format!("{} stands here, where a name belongs", described(node));
        defects.help(
            node.place,
            codes::FORM,
            message,
            "A name has letters, digits, `-`, `_` and `.`.",
        );
    }
    named
}

/// The names that `node` lists; one may stand alone.
pub(super) fn names(node: &Node, defects: &mut Defects) -> Vec<(Name, Place)> {
    let nodes = match &node.value {
        Yaml::List(nodes) => nodes.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut all: Vec<(Name, Place)> = Vec::new();
    for node in nodes {
        let Some(name) = name(node, defects) else {
            continue;
        };
        if all.iter().any(|(known, _)| *known == name) {
            defects.add(
                node.place,
                codes::DUPLICATE,
                format!("`{name}` stands here twice"),
            );
        } else {
            all.push((name, node.place));
        }
    }
    all
}

/// Whether `node` says true.
pub(super) fn truth(node: Option<&Node>, defects: &mut Defects) -> bool {
    let Some(node) = node else { return false };
    match node.text() {
        Some("true") => true,
        Some("false") => false,
        _ => {
            let message = format!(
                "{} stands here, where true or false belongs",
                described(node)
            );
            defects.add(node.place, codes::FORM, message);
            false
        }
    }
}

/// The value as a message repeats it.
pub(super) fn described(node: &Node) -> String {
    match node.text() {
        Some(text) => format!("`{}`", shown(text)),
        None => node.in_words().to_owned(),
    }
}

/// The keys of a map whose keys are names that the definition gives.
pub(super) fn entries<'n>(node: &'n Node, what: &str, defects: &mut Defects) -> &'n [(Key, Node)] {
    match &node.value {
        Yaml::Map(entries) => entries,
        _ if node.is_null() => &[],
        _ => {
            let message = format!("{} stands here, where {what} belongs", node.in_words());
            defects.add(node.place, codes::FORM, message);
            &[]
        }
    }
}
