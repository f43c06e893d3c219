//! Which other node had each group last, so that the process that takes it over can close what that one left open.

use std::collections::BTreeMap;

use quayside_lease::{Former, View};
use quayside_model::{InstanceId, Name};

/// The last owners on other nodes, by group.
#[derive(Debug)]
pub(crate) struct Formers {
    node: Name,
    of: BTreeMap<Name, Former>,
    /// The groups of the processes of this node.
    groups: BTreeMap<InstanceId, Name>,
}

impl Formers {
    /// As the node `node` sees them.
    pub(crate) fn new(node: Name) -> Self {
        Self {
            node,
            of: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Takes in what a look at the store has shown.
    pub(crate) fn looked(&mut self, view: &View) {
        for seen in &view.groups {
            match &seen.owner {
                Some(owner) if owner.node != self.node => {
                    let (node, released) = (owner.node.clone(), false);
                    self.of
                        .insert(seen.group.clone(), Former { node, released });
                }
                Some(_) => {}
                // Only who has finished gives a group back; who dies leaves it behind.
                None => {
                    if let Some(former) = self.of.get_mut(&seen.group) {
                        former.released = true;
                    }
                }
            }
        }
    }

    /// A process of `group` is started.
    pub(crate) fn started(&mut self, instance: InstanceId, group: &Name) {
        self.groups.insert(instance, group.clone());
    }

    /// Who had its group before the process `instance`, which is granted it.
    pub(crate) fn before(&self, instance: InstanceId) -> Option<Former> {
        self.of.get(self.groups.get(&instance)?).cloned()
    }

    /// A granted process works: what the owner before it left is its matter now. Until then its successor has the
    /// same to do.
    pub(crate) fn works(&mut self, instance: InstanceId) {
        if let Some(group) = self.groups.get(&instance) {
            self.of.remove(group);
        }
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, instance: InstanceId) {
        self.groups.remove(&instance);
    }
}

#[cfg(test)]
mod tests {
    use quayside_lease::{GroupSeen, OwnerSeen};
    use quayside_model::{GrantId, SessionId};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn instance(no: u8) -> InstanceId {
        InstanceId::from_bytes([no; 16])
    }

    fn view(owner: Option<&str>) -> View {
        let mut group = GroupSeen::unknown(name("queues"));
        group.owner = owner.map(|node| OwnerSeen {
            node: name(node),
            instance: instance(9),
            session: SessionId::from_bytes([9; 16]),
            grant: GrantId::from_bytes([9; 16]),
            live: true,
        });
        View {
            groups: vec![group],
            ..View::default()
        }
    }

    fn former(node: &str, released: bool) -> Option<Former> {
        Some(Former {
            node: name(node),
            released,
        })
    }

    #[test]
    fn a_lost_owner_is_told_until_a_process_works() {
        let (mut formers, queues) = (Formers::new(name("node-a")), name("queues"));
        formers.started(instance(1), &queues);
        assert_eq!(formers.before(instance(1)), None, "nobody had it");
        formers.looked(&view(Some("node-a")));
        assert_eq!(formers.before(instance(1)), None, "only this node");
        formers.looked(&view(Some("node-b")));
        assert_eq!(formers.before(instance(1)), former("node-b", false));
        formers.looked(&view(Some("node-a")));
        formers.ended(instance(1));
        formers.started(instance(2), &queues);
        let again = formers.before(instance(2));
        assert_eq!(again, former("node-b", false), "the first one never worked");
        formers.works(instance(2));
        formers.ended(instance(2));
        formers.started(instance(3), &queues);
        assert_eq!(formers.before(instance(3)), None, "a restart in place");
    }

    #[test]
    fn an_owner_that_gave_it_back_is_told_apart() {
        let (mut formers, queues) = (Formers::new(name("node-a")), name("queues"));
        formers.started(instance(1), &queues);
        formers.looked(&view(Some("node-b")));
        formers.looked(&view(None));
        assert_eq!(formers.before(instance(1)), former("node-b", true));
        formers.looked(&view(Some("node-c")));
        assert_eq!(formers.before(instance(1)), former("node-c", false));
    }
}
