//! Definitions by their fingerprints: each instance is bound to the one that it was started with.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_model::{Monotonic, Name, Text};
use quayside_orchestration::{Definition, Environment};
use quayside_store::{StoreError, runs::RunFilter};
use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::{
    codes,
    options::EngineError,
    plan::{OrchestrationPlan, Plan},
    shared::Shared,
};

/// How many compiled definitions are at hand. Those that most instances are bound to are read again at once.
const MOST: usize = 256;

/// An orchestration and the fingerprint of a definition of it.
type Pin = (Name, [u8; 16]);

/// The definitions at hand.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<HashMap<Pin, Arc<Definition>>>);

/// A definition as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    name: Name,
    source: String,
    environment: Environment,
}

/// Keeps the definitions of `plan`, to which new instances will be bound, and lets messages find the instances that are
/// bound to earlier ones.
///
/// # Errors
/// The store fails, or an orchestration that has live instances is not in the plan any more.
pub(crate) async fn keep_definitions(shared: &Shared, plan: &mut Plan) -> Result<(), EngineError> {
    all_known(shared, plan).await?;
    for one in &plan.orchestrations {
        let kept = Kept {
            name: one.definition.name().clone(),
            source: one.source.clone(),
            environment: one.environment.clone(),
        };
        let text = serde_json::to_string(&kept).expect("plain data with text keys");
        let fingerprint = one.definition.fingerprint().to_bytes();
        shared
            .store
            .keep_definition(&one.name, fingerprint, &text)
            .await?;
    }
    let bound = shared.store.bound_definitions().await?;
    for one in &mut plan.orchestrations {
        let current = one.definition.fingerprint().to_bytes();
        let of_it = bound
            .iter()
            .filter(|(name, fingerprint, _)| *name == one.name && *fingerprint != current);
        // One that this program does not take is told of when an instance of it is claimed.
        let older = of_it.filter_map(|(_, _, text)| compile(text).ok().map(Arc::new));
        one.remember(older.collect())
            .map_err(|error| EngineError::Coded {
                code: codes::DEFINITION_LOST,
                detail: format!("{}: {}", one.name, error.message),
            })?;
    }
    Ok(())
}

/// How many instances of a kind are named to whoever has to end them.
const NAMED: u32 = 3;

/// Checks that `plan` has all orchestrations that have live instances.
async fn all_known(shared: &Shared, plan: &Plan) -> Result<(), EngineError> {
    let mut gone = BTreeMap::<Name, Vec<String>>::new();
    for (name, state, _) in shared.store.live_runs(1).await? {
        if plan.orchestrations.iter().any(|one| one.name == name) {
            continue;
        }
        let filter = RunFilter {
            orchestration: Some(Text::lossy(&name)),
            state: Some(state),
        };
        let runs = shared.store.runs(&filter, None, NAMED + 1).await?;
        let named = runs.iter().take(NAMED as usize);
        let named = named.map(|run| format!("{} ({})", run.id, state.in_words()));
        let ids = gone.entry(name).or_default();
        ids.extend(named);
        if runs.len() > NAMED as usize {
            ids.push(format!("and more that are {}", state.in_words()));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let each = gone.into_iter().map(|(name, ids)| {
        format!(
            "`{name}` is not in the configuration, and instances of it are not over: {}",
            ids.join(", ")
        )
    });
    Err(EngineError::Coded {
        code: codes::ORCHESTRATION_LIVES,
        detail: each.collect::<Vec<_>>().join("; "),
    })
}

/// How long a verdict about a newer definition holds. Then instances of it are claimed once more: an operator may want them
/// ended, and the log tells again that they are left.
const VERDICT: Duration = Duration::from_secs(60);

/// Which of the definitions that came to be after a configuration was read can be run by it.
#[derive(Debug, Default)]
pub(crate) struct Newer(Mutex<Verdicts>);

#[derive(Debug, Default)]
struct Verdicts {
    runs: BTreeMap<[u8; 16], bool>,
    /// When the first of them was found.
    since: Option<Monotonic>,
}

impl Newer {
    fn lock(&self) -> MutexGuard<'_, Verdicts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that cannot: claims leave them to processes that have read a newer one.
    pub(crate) fn left(&self, now: Monotonic) -> Vec<[u8; 16]> {
        let mut verdicts = self.lock();
        if verdicts
            .since
            .is_some_and(|since| now.since(since) >= VERDICT)
        {
            *verdicts = Verdicts::default();
        }
        let left = verdicts.runs.iter().filter(|(_, runs)| !**runs);
        left.map(|(fingerprint, _)| *fingerprint).collect()
    }
}

/// Whether instances of the definition `fingerprint` are for others: it came to be after `plan` was read, and names what
/// there is not here. Other processes have read it, or one did: what an operator would be asked for is there. Whatever came to
/// be before is not: then nobody has what it names.
pub(crate) async fn is_for_others(
    shared: &Shared,
    plan: &OrchestrationPlan,
    fingerprint: [u8; 16],
) -> Result<bool, StoreError> {
    let known = std::iter::once(&plan.definition).chain(&plan.older);
    let mut known = known.map(|one| one.fingerprint().to_bytes());
    if known.any(|one| one == fingerprint) {
        return Ok(false);
    }
    let verdict = plan.newer.lock().runs.get(&fingerprint).copied();
    if let Some(runs) = verdict {
        return Ok(!runs);
    }
    let Some(text) = shared.store.definition(&plan.name, fingerprint).await? else {
        return Ok(false);
    };
    // What this program does not read at all is told of as lost.
    let Ok(kept) = serde_json::from_str::<Kept>(&text) else {
        return Ok(false);
    };
    let here = Definition::compile(&kept.name, &kept.source, &plan.environment);
    let there = Definition::compile(&kept.name, &kept.source, &kept.environment);
    let runs = here.is_ok() || there.is_err();
    let mut verdicts = plan.newer.lock();
    if verdicts.runs.len() >= MOST {
        *verdicts = Verdicts::default();
    }
    let now = shared.options.clock.monotonic();
    verdicts.since.get_or_insert(now);
    if verdicts.runs.insert(fingerprint, runs).is_none() && !runs {
        warn!(code = %codes::LEFT_TO_OTHERS, orchestration = %plan.name,
            remedy = codes::LEFT_TO_OTHERS.remedy,
            "instances of a newer definition are left to processes that have read it");
    }
    Ok(!runs)
}

/// The definition `fingerprint` of the orchestration that `plan` has now. `None`: it is not kept any more, or this
/// program does not take it; that is logged.
pub(crate) async fn definition(
    shared: &Shared,
    plan: &OrchestrationPlan,
    fingerprint: [u8; 16],
) -> Result<Option<Arc<Definition>>, StoreError> {
    if plan.definition.fingerprint().to_bytes() == fingerprint {
        return Ok(Some(Arc::clone(&plan.definition)));
    }
    let book = &shared.process.pinned.0;
    let key = (plan.name.clone(), fingerprint);
    let found = {
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(&key).map(Arc::clone)
    };
    if found.is_some() {
        return Ok(found);
    }
    let text = shared.store.definition(&plan.name, fingerprint).await?;
    let compiled = text.as_deref().map(compile);
    let definition = match compiled {
        Some(Ok(definition)) if definition.fingerprint().to_bytes() == fingerprint => {
            Arc::new(definition)
        }
        other => {
            let why = match other {
                None => "it is not kept any more".to_owned(),
                Some(Ok(_)) => "it means something else to this program".to_owned(),
                Some(Err(why)) => why,
            };
            error!(code = %codes::DEFINITION_LOST, orchestration = %plan.name, why,
                "the definition of an orchestration instance cannot be used");
            return Ok(None);
        }
    };
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if book.len() >= MOST {
        book.clear();
    }
    book.insert(key, Arc::clone(&definition));
    Ok(Some(definition))
}

fn compile(text: &str) -> Result<Definition, String> {
    let kept: Kept = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Definition::compile(&kept.name, &kept.source, &kept.environment).map_err(|defects| {
        let first = defects.first();
        first.map_or_else(String::new, |defect| format!("{defect:?}"))
    })
}
