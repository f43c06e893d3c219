//! Maps: one document out of others, wherever a message is mapped.
//!
//! A declared map works in this process, a large document on a thread for that; another one in a process of its own. What
//! goes wrong is the document's or the map's, or this machine's alone.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use quayside_adapter_api::Answer;
use quayside_model::{Code, Content, Context, INLINE_MAX, Message, Name, Text, Value};
use quayside_pipeline::{
    Invalid, Kind, Limits, Map, Scanned, Scanner, codes as pipeline,
    map::{Call, Given, Input},
};
use quayside_store::StoreError;
use tokio::task::spawn_blocking;

use crate::{
    codes,
    outside::{Language, MAX_OUTPUT, Program},
    plan::{MapPlan, MapWay, MessagePlan, PortMap},
    shared::Shared,
};

/// Up to how many bytes of documents a map works in the task that asks for it.
const AT_ONCE: usize = 16 * 1024;
/// From which status on an answer says that it is an error.
pub(crate) const REFUSED: u16 = 400;
/// The largest document that is mapped, in bytes: it is whole in memory.
pub(crate) const INPUT_MAX: usize = 4 * 1024 * 1024;

/// What a map is asked for.
pub(crate) struct Work {
    /// The documents, in the order of the map.
    pub(crate) inputs: Vec<(Kind, Bytes)>,
    pub(crate) params: BTreeMap<Name, Given>,
    /// The promoted properties of the first document's message.
    pub(crate) properties: BTreeMap<Name, Value>,
    /// How large it may be what is made, in bytes.
    pub(crate) most: usize,
}

impl Work {
    fn bytes(&self) -> usize {
        self.inputs.iter().map(|(_, body)| body.len()).sum()
    }
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

/// The bytes of a body. `Err` inside: why there is none to be read, for a person.
///
/// # Errors
/// The store does not give them.
pub(crate) async fn bytes(
    shared: &Shared,
    content: &Content,
) -> Result<Result<Bytes, String>, StoreError> {
    let stored = match content {
        Content::Inline(bytes) => return Ok(Ok(bytes.clone())),
        Content::Stored(stored) => stored,
    };
    if stored.len > INPUT_MAX as u64 {
        let why = format!(
            "the document has {} bytes, and at most {INPUT_MAX} are read",
            stored.len
        );
        return Ok(Err(why));
    }
    let mut all = Vec::with_capacity(usize::try_from(stored.len).unwrap_or_default());
    for no in 0..stored.chunks {
        match shared.store.read_chunk(stored.id, no).await? {
            Some(chunk) => all.extend_from_slice(&chunk),
            None => return Ok(Err("the document is not kept any more".to_owned())),
        }
    }
    Ok(Ok(all.into()))
}

/// What a map of a port has made of a message.
pub(crate) struct Fitting {
    pub(crate) made: Made,
    /// What it says of itself.
    pub(crate) scanned: Scanned,
}

/// The first of a port's maps that takes messages of this type.
pub(crate) fn for_type<'a>(maps: &'a [PortMap], message_type: Option<&str>) -> Option<&'a PortMap> {
    let message_type = message_type?;
    maps.iter().find(|map| map.message_type == message_type)
}

/// Makes what a map of a port makes of `message`, and looks whether that is what the map says.
///
/// # Errors
/// The outer one: the store does not give the body. The inner one: why there is no document.
pub(crate) async fn at_port(
    shared: &Shared,
    map: &PortMap,
    message: &Message,
) -> Result<Result<Fitting, MapFault>, StoreError> {
    let body = match bytes(shared, &message.body().content).await? {
        Ok(body) => body,
        Err(why) => return Ok(Err(map.told(pipeline::MAP_INPUT_TOO_LARGE, &why))),
    };
    let work = Work {
        inputs: vec![input(message, body)],
        params: BTreeMap::new(),
        properties: properties(&message.context),
        most: shared.outside.max_output(),
    };
    Ok(fit(shared, map, work).await)
}

async fn fit(shared: &Shared, map: &PortMap, work: Work) -> Result<Fitting, MapFault> {
    let made = apply(shared, &map.map, work).await;
    let made = made.map_err(|fault| MapFault {
        is_here: fault.is_here,
        ..map.told(fault.code, &fault.detail)
    })?;
    let (to, length) = (map.to.clone(), made.body.len());
    let looked = apart(shared, length, move || look(to.as_deref(), made)).await;
    looked.map_err(|fault| map.told_of_made(&fault))
}

/// An answer as the first of `maps` that takes it makes it: XML by its type, and JSON, which says nothing of its type, by the
/// first that reads JSON. Any other passes as it is, and so does what is no document or says by its status that it is an
/// error. A map of an answer knows no properties: an answer has none.
///
/// # Errors
/// Why there is no answer.
pub(crate) async fn answer(
    shared: &Shared,
    maps: &[PortMap],
    answer: Answer,
) -> Result<Answer, MapFault> {
    let Some((map, work)) = of_answer(maps, &answer) else {
        return Ok(answer);
    };
    let fitting = fit(shared, map, work).await?;
    Ok(answered(answer.status, fitting))
}

/// [`answer`] at once, for whoever runs no programs.
///
/// # Errors
/// Why there is no answer.
pub(crate) fn answer_at_hand(maps: &[PortMap], answer: Answer) -> Result<Answer, MapFault> {
    let Some((map, work)) = of_answer(maps, &answer) else {
        return Ok(answer);
    };
    let fitting = fit_at_hand(map, &work)?;
    Ok(answered(answer.status, fitting))
}

/// The map that takes an answer, and what it is asked for.
fn of_answer<'a>(maps: &'a [PortMap], answer: &Answer) -> Option<(&'a PortMap, Work)> {
    if maps.is_empty() || answer.body.is_empty() || answer.status >= REFUSED {
        return None;
    }
    let kind = Kind::sniff(answer.content_type.as_deref(), &answer.body);
    let map = match kind {
        Kind::Xml => {
            let mut scanner = Scanner::new(kind, Vec::new(), Limits::default());
            scanner.push(&answer.body).ok()?;
            let found = scanner.finish().ok()?;
            for_type(maps, found.message_type.as_deref())?
        }
        Kind::Json => maps.iter().find(|map| map.map.reads_json())?,
        Kind::Opaque => return None,
    };
    let work = Work {
        inputs: vec![(kind, answer.body.clone())],
        params: BTreeMap::new(),
        properties: BTreeMap::new(),
        most: INLINE_MAX,
    };
    Some((map, work))
}

fn answered(status: u16, fitting: Fitting) -> Answer {
    Answer {
        status,
        content_type: Some(fitting.made.content_type),
        body: fitting.made.body.into(),
    }
}

/// [`at_port`] at once, for whoever has no store and runs no programs.
///
/// # Errors
/// Why there is no document.
pub(crate) fn at_port_at_hand(
    map: &PortMap,
    message: &Message,
    body: Bytes,
) -> Result<Fitting, MapFault> {
    if body.len() > INPUT_MAX {
        let why = format!(
            "the document has {} bytes, and at most {INPUT_MAX} are read",
            body.len()
        );
        return Err(map.told(pipeline::MAP_INPUT_TOO_LARGE, &why));
    }
    let work = Work {
        inputs: vec![input(message, body)],
        params: BTreeMap::new(),
        properties: properties(&message.context),
        most: MAX_OUTPUT,
    };
    fit_at_hand(map, &work)
}

fn fit_at_hand(map: &PortMap, work: &Work) -> Result<Fitting, MapFault> {
    let made = at_hand(&map.map, work).map_err(|fault| map.told(fault.code, &fault.detail))?;
    look(map.to.as_deref(), made).map_err(|fault| map.told_of_made(&fault))
}

/// Looks at a document that was made, as at one that arrives.
fn look(to: Option<&MessagePlan>, made: Made) -> Result<Fitting, MapFault> {
    let (kind, mut scanned) = scan(to, &made)?;
    if let (Some(to), Some(_), Kind::Xml) = (to, scanned.expected, kind)
        && to.promotions.need_whole().next().is_some()
    {
        let found = to.promotions.whole(&made.body).map_err(malformed)?;
        scanned.properties.extend(found);
    }
    Ok(Fitting { made, scanned })
}

fn scan(to: Option<&MessagePlan>, made: &Made) -> Result<(Kind, Scanned), MapFault> {
    let kind = Kind::sniff(Some(&made.content_type), &made.body);
    let expected = to.map(|to| (to.message_type.as_deref(), &to.promotions));
    let mut scanner = Scanner::new(kind, expected.into_iter().collect(), Limits::default());
    scanner.push(&made.body).map_err(malformed)?;
    let scanned = scanner.finish().map_err(malformed)?;
    Ok((kind, scanned))
}

fn malformed(invalid: Invalid) -> MapFault {
    let Invalid {
        code,
        detail,
        offset,
    } = invalid;
    MapFault::new(code, format!("{detail} (at byte {offset})"))
}

impl MapPlan {
    /// Whether it is made from JSON.
    #[must_use]
    pub fn reads_json(&self) -> bool {
        match &self.way {
            MapWay::Declared(map) => map.sources().all(|(_, kind)| kind == Kind::Json),
            MapWay::Outside(program) => program.language == Language::Jq,
        }
    }
}

impl PortMap {
    /// A fault of this map.
    fn told(&self, code: Code, why: &str) -> MapFault {
        MapFault::new(code, format!("map `{}`: {why}", self.map.name))
    }

    /// A fault that is in what it has made.
    fn told_of_made(&self, fault: &MapFault) -> MapFault {
        self.told(fault.code, &format!("what it makes: {}", fault.detail))
    }
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
            apart(shared, work.bytes(), move || declared(&map, &work)).await?
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

/// Works on small documents at once, and on `bytes` of large ones on a thread for that: no more of it at once than the machine
/// has processors.
pub(crate) async fn apart<T: Send + 'static>(
    shared: &Shared,
    bytes: usize,
    does: impl FnOnce() -> Result<T, MapFault> + Send + 'static,
) -> Result<T, MapFault> {
    if bytes <= AT_ONCE {
        return does();
    }
    // It is never closed.
    let _place = shared.validators.acquire().await;
    let done = spawn_blocking(does).await;
    done.unwrap_or_else(|_| {
        Err(MapFault::new(
            pipeline::MAP_EVALUATION,
            "the work on the document failed",
        ))
    })
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
    let document = apart(shared, work.bytes(), move || document(language, &work)).await?;
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
    let mut scanner = Scanner::new(wanted, Vec::new(), Limits::default());
    scanner.push(body).map_err(malformed)?;
    scanner.finish().map_err(malformed)?;
    Ok(body.clone())
}
