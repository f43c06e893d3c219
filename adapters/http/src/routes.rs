//! Which receive location a request belongs to.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::location::Location;

/// The open receive locations of one listener, by path.
///
/// Looked at for each request and changed only when a location opens or closes, so a lock that readers
/// share is enough.
#[derive(Debug, Default)]
pub(crate) struct Routes(RwLock<HashMap<String, Arc<Location>>>);

impl Routes {
    /// Enters a location. One that is closing gives its path up, and so does one of the same name: that is
    /// how a new configuration takes over without a moment in which the path is nobody's. `false` if
    /// another open one has the path.
    pub(crate) fn insert(&self, location: &Arc<Location>) -> bool {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let path = location.config.path.clone();
        let taken = |other: &Arc<Location>| !other.is_closed() && other.name != location.name;
        if table.get(&path).is_some_and(taken) {
            return false;
        }
        table.insert(path, Arc::clone(location));
        true
    }

    /// Takes a location out, unless another one has its path by now.
    pub(crate) fn remove(&self, location: &Arc<Location>) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let path = &location.config.path;
        if table
            .get(path)
            .is_some_and(|other| Arc::ptr_eq(other, location))
        {
            table.remove(path);
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Location>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.values().map(Arc::clone).collect()
    }

    /// The location of a path: the exact one, else the longest `/*` above it.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Location>> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(location) = table.get(path) {
            return Some(Arc::clone(location));
        }
        let mut end = path.len();
        while let Some(slash) = path[..end].rfind('/') {
            if let Some(location) = table.get(&format!("{}/*", &path[..slash])) {
                return Some(Arc::clone(location));
            }
            end = slash;
        }
        None
    }
}
