//! Maps: one document out of others, wherever a message is mapped.
//!
//! A declared map works in this process, a large document on a thread for that; another one in a process of its own. What
//! goes wrong is the document's or the map's, or this machine's alone.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use quayside_model::{Code, Context, Message, Name, Text, Value};
use quayside_pipeline::{
    Invalid, Kind, Limits, Map, Scanner, codes as pipeline,
    map::{Call, Given, Input},
};
use tokio::task::spawn_blocking;

use crate::{
    codes,
    outside::{Language, Program},
    plan::{MapPlan, MapWay},
    shared::Shared,
};

/// Up to how many bytes of documents a map works in the task that asks for it.
const AT_ONCE: usize = 16 * 1024;
/// The largest document that is mapped, in bytes: it is whole in memory.
pub(crate) const INPUT_MAX: usize = 4 * 1024 * 1024;

/// What a map is asked for.
#[derive(Clone)]
pub(crate) struct Work {
    /// The documents, in the order of the map.
    pub(crate) inputs: Vec<(Kind, Bytes)>,
    pub(crate) params: BTreeMap<Name, Given>,
    /// The promoted properties of the first document's message.
    pub(crate) properties: BTreeMap<Name, Value>,
    /// How large it may be what is made, in bytes.
    pub(crate) most: usize,
}

/// What a map has made.
pub(crate) struct Made {
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: Text,
}

/// Why a map has made nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MapFault {
    pub(crate) code: Code,
    /// The cause, for a person.
    pub(crate) detail: String,
    /// Whether it has to do with this machine alone, so that the same may go through later.
    pub(crate) is_here: bool,
}

impl MapFault {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            is_here: false,
        }
    }
}

impl fmt::Display for MapFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

/// A message with this body, as a map reads it.
pub(crate) fn input(message: &Message, body: Bytes) -> (Kind, Bytes) {
    let kind = Kind::sniff(message.body().content_type.as_deref(), &body);
    (kind, body)
}

/// What a map knows of the message besides its document.
pub(crate) fn properties(context: &Context) -> BTreeMap<Name, Value> {
    let promoted = context.iter().filter(|(_, property)| property.promoted);
    let all = promoted.map(|(name, property)| (name.clone(), property.value.clone()));
    all.collect()
}

/// Makes the document.
///
/// # Errors
/// Why there is none.
pub(crate) async fn apply(shared: &Shared, plan: &MapPlan, work: Work) -> Result<Made, MapFault> {
    let most = work.most;
    let made = match &plan.way {
        MapWay::Declared(map) => {
            let map = map.clone();
            apart(shared, work, move |work| declared(&map, work)).await?
        }
        MapWay::Outside(program) => outside(shared, program, work).await?,
    };
    bounded(made, most)
}

/// Makes the document at once, for whoever runs no programs.
///
/// # Errors
/// Why there is none.
pub(crate) fn at_hand(plan: &MapPlan, work: &Work) -> Result<Made, MapFault> {
    match &plan.way {
        MapWay::Declared(map) => bounded(declared(map, work)?, work.most),
        MapWay::Outside(_) => Err(MapFault::new(
            codes::OUTSIDE_UNTRIED,
            "it runs in a process of its own, and a trial starts none",
        )),
    }
}

fn bounded(made: Made, most: usize) -> Result<Made, MapFault> {
    if made.body.len() > most {
        let detail = format!(
            "it makes {} bytes, and here {most} are the most",
            made.body.len()
        );
        return Err(MapFault::new(pipeline::MAP_OUTPUT, detail));
    }
    Ok(made)
}

/// Works on small documents at once, and on large ones on a thread for that: no more of it at once than the machine has
/// processors.
async fn apart<T: Send + 'static>(
    shared: &Shared,
    work: Work,
    does: impl FnOnce(&Work) -> Result<T, MapFault> + Send + 'static,
) -> Result<T, MapFault> {
    let bytes: usize = work.inputs.iter().map(|(_, body)| body.len()).sum();
    if bytes <= AT_ONCE {
        return does(&work);
    }
    // It is never closed.
    let _place = shared.validators.acquire().await;
    let done = spawn_blocking(move || does(&work)).await;
    done.unwrap_or_else(|_| Err(MapFault::new(pipeline::MAP_EVALUATION, "the map failed")))
}

fn declared(map: &Map, work: &Work) -> Result<Made, MapFault> {
    let inputs = work.inputs.iter();
    let inputs: Vec<Input<'_>> = inputs
        .map(|(kind, body)| Input { kind: *kind, body })
        .collect();
    let made = map.apply(&Call {
        inputs: &inputs,
        params: &work.params,
        properties: &work.properties,
    });
    let made = made.map_err(|error| {
        let place = error.place.map(|place| format!(" (at {place} of the map)"));
        MapFault::new(error.code, error.detail + &place.unwrap_or_default())
    })?;
    Ok(Made {
        body: made.body,
        content_type: Text::lossy(made.content_type),
    })
}

async fn outside(shared: &Shared, program: &Arc<Program>, work: Work) -> Result<Made, MapFault> {
    let params = params(&work.params)?;
    let most = work.most;
    let language = program.language;
    let document = apart(shared, work, move |work| document(language, work)).await?;
    let made = shared.outside.make(program, document, params, most).await;
    let body = made.map_err(|error| MapFault {
        code: error.code,
        detail: error.detail,
        is_here: error.is_here,
    })?;
    Ok(Made {
        body,
        content_type: Text::lossy(&program.content_type),
    })
}

/// The parameters as a command line takes them.
fn params(given: &BTreeMap<Name, Given>) -> Result<Vec<(String, String)>, MapFault> {
    let mut params = Vec::with_capacity(given.len());
    for (name, given) in given {
        let Given::One(value) = given else {
            let detail = format!("`{name}` is a list");
            return Err(MapFault::new(codes::OUTSIDE_PARAMETER, detail));
        };
        params.push((name.to_string(), value.to_string()));
    }
    Ok(params)
}

/// The document for a program, which has passed our own look first: what reads it there would follow type declarations to
/// files of this machine, and nests by its stack.
fn document(language: Language, work: &Work) -> Result<Bytes, MapFault> {
    let (wanted, in_words) = match language {
        Language::Xslt => (Kind::Xml, "XML"),
        Language::Jq => (Kind::Json, "JSON"),
    };
    let [(kind, body)] = work.inputs.as_slice() else {
        let detail = format!("it reads one message, and {} are given", work.inputs.len());
        return Err(MapFault::new(pipeline::MAP_INPUTS, detail));
    };
    if *kind != wanted {
        let detail = format!("it reads {in_words}, and the message is none");
        return Err(MapFault::new(pipeline::MAP_INPUTS, detail));
    }
    if body.len() > INPUT_MAX {
        let detail = format!("it has {} bytes, and {INPUT_MAX} are the most", body.len());
        return Err(MapFault::new(pipeline::MAP_INPUT_TOO_LARGE, detail));
    }
    let malformed =
        |Invalid {
             code,
             detail,
             offset,
         }: Invalid| { MapFault::new(code, format!("{detail} (at byte {offset})")) };
    let mut scanner = Scanner::new(wanted, Vec::new(), Limits::default());
    scanner.push(body).map_err(malformed)?;
    scanner.finish().map_err(malformed)?;
    Ok(body.clone())
}
