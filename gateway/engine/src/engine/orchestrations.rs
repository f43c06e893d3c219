//! Orchestrations as an operator sees them.

use quayside_model::{Name, RunId};
use quayside_orchestration::{Contents, Position, Retryable, State};
use quayside_store::runs::{RunShown, RunState};

use super::Engine;
use crate::{options::EngineError, process};

/// An orchestration instance with where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunView {
    /// What the store says of it.
    pub shown: RunShown,
    /// Where it is, one place for each of its branches. Empty once it is over, and if this process does not have its
    /// orchestration.
    pub positions: Vec<Position>,
    /// What it holds; nothing in the same cases.
    pub contents: Contents,
    /// Its steps that can be run again; none in the same cases.
    pub retryable: Vec<Retryable>,
}

impl Engine {
    /// The orchestration instance `id`. `None`: there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn orchestration_instance(&self, id: RunId) -> Result<Option<RunView>, EngineError> {
        let Some(shown) = self.shared.store.run(id).await? else {
            return Ok(None);
        };
        let routes = self.shared.routes();
        let mut view = RunView {
            shown,
            positions: Vec::new(),
            contents: Contents::default(),
            retryable: Vec::new(),
        };
        let shown = &view.shown;
        if let (Some(data), Some(plan)) = (
            &shown.data,
            routes.orchestrations.get(&shown.row.orchestration),
        ) {
            let definition = process::definition(&self.shared, plan, shown.row.definition).await?;
            let state = definition
                .as_ref()
                .and_then(|definition| State::decode(data, definition).ok());
            if let (Some(definition), Some(state)) = (&definition, state) {
                view.positions = state.positions(definition);
                view.contents = state.contents(definition);
                view.retryable = state.retryable(definition);
            }
        }
        Ok(Some(view))
    }

    /// How many instances of each orchestration are in each state that is not over, counting at most `cap`: those of which
    /// there are some.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn live_instances(
        &self,
        cap: u32,
    ) -> Result<Vec<(Name, RunState, u64)>, EngineError> {
        Ok(self.shared.store.live_runs(cap).await?)
    }

    /// The orchestration `name` as a drawing: text, and SVG. `None`: the configuration has none of this name.
    #[must_use]
    pub fn orchestration_graph(&self, name: &Name) -> Option<(String, String)> {
        let routes = self.shared.routes();
        let definition = &routes.orchestrations.get(name)?.definition;
        Some((definition.graph(), definition.graph_svg()))
    }

    /// The orchestrations of the configuration: name, host, and what each says of itself.
    #[must_use]
    pub fn orchestrations(&self) -> Vec<(Name, Name, String)> {
        let routes = self.shared.routes();
        let plans = routes.orchestrations.values();
        let mut all: Vec<_> = plans
            .map(|plan| {
                let about = plan.definition.about().to_owned();
                (plan.name.clone(), plan.host.clone(), about)
            })
            .collect();
        all.sort();
        all
    }
}
