//! Carries out a case.

use std::path::Path;

use quayside_engine::{
    plan::Plan,
    rehearsal::{Incoming, Trial, bytes_of, part_bytes},
};
use quayside_orchestration::Status;

use super::{
    case::{Action, Case, File, Step},
    compare::{Failure, Judge},
};
use crate::{config::transport::Adapters, wiring};

/// The media type that the name of a file says.
pub(crate) fn content_type_of(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("csv") => "text/csv",
        _ => "application/octet-stream",
    }
}

/// Runs `case` of `file` and says what came out otherwise than expected.
pub(crate) fn run(file: &File, case: &Case, plan: &Plan, adapters: &Adapters) -> Vec<Failure> {
    let adapter = |key: &str| adapters.get(key).cloned();
    let mut trial = match Trial::new(plan, adapter, case.start) {
        Ok(trial) => trial,
        Err(stopped) => return vec![Failure::new(case.at, stopped.to_string())],
    };
    let mut failures = Vec::new();
    for (number, step) in case.steps.iter().enumerate() {
        let from = trial.log().len();
        let mut done = act(&mut trial, step, plan);
        // What waits for an instance that never comes must not be overlooked.
        if number + 1 == case.steps.len() && done.is_ok() {
            done = trial.finish().map_err(|stopped| stopped.to_string());
        }
        if let Err(why) = done {
            failures.push(Failure::new(step.at, why));
            break;
        }
        let judge = Judge {
            app: &file.app,
            plan,
            trial: &trial,
            events: &trial.log()[from..],
        };
        failures.extend(judge.step(step));
    }
    failures
}

/// Has something happen.
///
/// # Errors
/// Why it cannot.
fn act(trial: &mut Trial<'_>, step: &Step, plan: &Plan) -> Result<(), String> {
    let done = match &step.action {
        Action::Receive {
            location,
            body,
            context,
        } => {
            let told = plan
                .receive
                .iter()
                .flat_map(|port| &port.locations)
                .any(|one| one.name == *location && wiring::tells_senders(&one.adapter));
            trial.receive(Incoming {
                location: location.clone(),
                content_type: body.content_type.clone(),
                body: part_bytes(body),
                context: context.clone(),
                told,
            })
        }
        Action::Advance(span) => trial.advance(trial.now().plus(*span)),
        Action::Reply(who, reply) => match trial.reply(who, reply.clone()) {
            Ok(done) => done,
            Err(nobody) => {
                let asked: Vec<String> = nobody.asked.iter().map(ToString::to_string).collect();
                let asked = match asked.as_slice() {
                    [] => "nobody is asked anything".to_owned(),
                    asked => format!("asked are {}", asked.join(", ")),
                };
                return Err(format!("nobody waits for what `{who}` says; {asked}"));
            }
        },
        Action::Order(orchestration, number, order) => {
            let all = trial.instances();
            let mut own = all
                .iter()
                .enumerate()
                .filter(|(_, one)| one.orchestration == *orchestration);
            let found = own.nth(number - 1);
            let Some((at, instance)) = found else {
                return Err(format!("`{orchestration}` has no instance {number}"));
            };
            if matches!(instance.status, Status::Ended(_)) {
                return Err(format!(
                    "the instance {number} of `{orchestration}` is over"
                ));
            }
            trial.order(at, order.clone())?
        }
    };
    done.map_err(|stopped| stopped.to_string())
}

/// The body of a message as text, for people.
pub(super) fn text_of(message: &quayside_model::Message) -> String {
    String::from_utf8_lossy(&bytes_of(message)).into_owned()
}
