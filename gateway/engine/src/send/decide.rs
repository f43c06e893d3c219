//! What becomes of a delivery after an attempt. Pure: policy and result in, change out.

use std::time::Duration;

use quayside_adapter_api::{AdapterError, ErrorKind, Sent};
use quayside_model::{
    EndResult, Entropy, Failure, FailureClass, Name, OnOrderFailure, Part, RetryPolicy, Text,
    Transport, message::Content,
};
use quayside_store::{Change, Claimed, commit::Answer};

use crate::{
    codes,
    plan::{InDoubt, SendPort},
    process::work,
};

/// The change after `sent` or `error`.
pub(crate) fn decide(
    plan: &SendPort,
    claimed: &Claimed,
    result: Result<Sent, AdapterError>,
    entropy: &dyn Entropy,
) -> Change {
    match result {
        Ok(sent) => ended(plan, claimed, sent),
        Err(error) => failed(plan, claimed, &error, entropy),
    }
}

/// The change of a delivery that must not be sent, because it may have been sent already.
pub(crate) fn hold_in_doubt(plan: &SendPort, claimed: &Claimed) -> Change {
    let detail = "its owner died while holding it, and the port holds such deliveries";
    let failure = Failure::new(codes::IN_DOUBT, FailureClass::Retry, detail);
    suspend(plan, claimed.attempts, failure, true)
}

/// A suspension, by the port's rule for the order behind it.
pub(crate) fn suspend(plan: &SendPort, attempts: u32, failure: Failure, in_doubt: bool) -> Change {
    let ordered = plan.ordered.as_ref();
    let hold_key = ordered.is_some_and(|order| order.on_failure != OnOrderFailure::Skip);
    Change::Suspend {
        attempts,
        failure,
        hold_key,
        in_doubt,
    }
}

fn ended(plan: &SendPort, claimed: &Claimed, sent: Sent) -> Change {
    let result = match claimed.transport {
        Transport::Primary => EndResult::Sent,
        Transport::Backup => EndResult::SentByBackup,
    };
    let exchange = claimed.exchange.filter(|_| plan.answers);
    let answer = sent.answer;
    let answer = answer.filter(|answer| !work::answers_later(claimed, answer.status));
    let answer = exchange.zip(answer).map(|(exchange, answer)| {
        Box::new(Answer {
            exchange,
            status: answer.status,
            body: Part {
                name: body_name(),
                content_type: answer.content_type,
                content: Content::Inline(answer.body),
            },
        })
    });
    Change::End {
        result,
        attempts: claimed.attempts + 1,
        detail: sent.detail,
        answer,
    }
}

/// The schedule by which the port rests after `error`, if it does: no message would pass, and there is no
/// other transport to go by.
pub(crate) fn rests<'a>(
    plan: &'a SendPort,
    claimed: &Claimed,
    error: &AdapterError,
) -> Option<&'a RetryPolicy> {
    let held = error.in_doubt && plan.in_doubt == InDoubt::Hold;
    let last = claimed.transport == Transport::Backup || plan.backup.is_none();
    let stops = class_of(error.kind) == FailureClass::Stop;
    (stops && last && !held).then(|| schedule(plan, claimed))
}

/// The failure as people see it.
pub(crate) fn failure_of(error: &AdapterError) -> Failure {
    Failure {
        code: Text::lossy(error.code.code),
        class: class_of(error.kind),
        detail: Text::lossy(&error.detail),
        resumable: true,
    }
}

fn class_of(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::Retry(_) | ErrorKind::Disconnected => FailureClass::Retry,
        ErrorKind::Config | ErrorKind::Ended => FailureClass::Stop,
        ErrorKind::Rejected | ErrorKind::Invalid | ErrorKind::TooLarge => FailureClass::GiveUp,
    }
}

fn schedule<'a>(plan: &'a SendPort, claimed: &Claimed) -> &'a RetryPolicy {
    match (claimed.transport, &plan.backup) {
        (Transport::Backup, Some(backup)) => &backup.retry,
        _ => &plan.primary.retry,
    }
}

/// A retry without a wait is the step to the backup.
const NOT_AT_ONCE: Duration = Duration::from_millis(1);

/// The name of the only part of a one-part message.
pub(crate) fn body_name() -> Name {
    Name::new("body").expect("a name")
}

fn failed(
    plan: &SendPort,
    claimed: &Claimed,
    error: &AdapterError,
    entropy: &dyn Entropy,
) -> Change {
    if let Some(schedule) = rests(plan, claimed, error) {
        // It is not the message's failure: it stays as it is, behind those that wait already, so that one
        // that is met alone does not keep the others from showing that they pass.
        return Change::Retry {
            wait: schedule.wait(1, entropy).max(NOT_AT_ONCE),
            transport: claimed.transport,
            attempts: claimed.attempts,
            failure: failure_of(error),
            in_doubt: error.in_doubt,
        };
    }
    let attempts = claimed.attempts + 1;
    let failure = failure_of(error);
    if error.in_doubt && plan.in_doubt == InDoubt::Hold {
        let failure = Failure {
            code: Text::lossy(codes::IN_DOUBT.code),
            ..failure
        };
        return suspend(plan, attempts, failure, true);
    }
    if failure.class == FailureClass::Retry {
        let schedule = schedule(plan, claimed);
        if let Some(wait) = schedule.wait_after(attempts, entropy) {
            let not_before = match error.kind {
                ErrorKind::Retry(after) => after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            return Change::Retry {
                wait: wait.max(not_before),
                transport: claimed.transport,
                attempts,
                failure,
                in_doubt: error.in_doubt,
            };
        }
    }
    if claimed.transport == Transport::Primary && plan.backup.is_some() {
        let transport = Transport::Backup;
        return Change::Retry {
            wait: Duration::ZERO,
            transport,
            attempts: 0,
            failure,
            in_doubt: error.in_doubt,
        };
    }
    let refused = work::refused(claimed, attempts, &failure.detail);
    refused.unwrap_or_else(|| suspend(plan, attempts, failure, error.in_doubt))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use quayside_model::{
        Claim, Context, DeliveryId, InstanceId, Message, MessageId, SeededEntropy, Timestamp,
    };

    use super::*;
    use crate::plan::{SendPipeline, TransportPlan};

    fn port(backup: bool, in_doubt: InDoubt) -> SendPort {
        let transport = |attempts| TransportPlan {
            adapter: "http".to_owned(),
            block: serde_json::json!({}),
            retry: RetryPolicy {
                attempts,
                ..RetryPolicy::default()
            },
        };
        SendPort {
            name: Name::new("app.port").expect("a name"),
            host: Name::new("host").expect("a name"),
            clustered: false,
            filter: None,
            maps: Vec::new(),
            answer_maps: Vec::new(),
            group_filters: Vec::new(),
            pipeline: SendPipeline::default(),
            primary: transport(2),
            backup: backup.then(|| transport(1)),
            ordered: None,
            max_in_flight: 1,
            priority: None,
            window: None,
            answers: false,
            in_doubt,
            publish_failures: false,
            attempt_timeout: crate::plan::ATTEMPT_TIMEOUT,
        }
    }

    fn claimed(transport: Transport, attempts: u32) -> Claimed {
        let entropy = SeededEntropy::new(1);
        let now = Timestamp::from_micros(0);
        let message = Message {
            id: MessageId::new(now, &entropy),
            received_at: now,
            origin: Text::lossy("test"),
            message_type: None,
            context: Context::new(),
            parts: vec![Part {
                name: body_name(),
                content_type: None,
                content: Content::Inline(Bytes::new()),
            }],
        };
        Claimed {
            claim: Claim {
                delivery: DeliveryId {
                    message: message.id,
                    no: 0,
                },
                instance: InstanceId::new(now, &entropy),
                token: 1,
            },
            port: Name::new("app.port").expect("a name"),
            message: Arc::new(message),
            transport,
            attempts,
            rendered: None,
            order: None,
            exchange: None,
            in_doubt: false,
            deaths: 0,
        }
    }

    fn error(kind: ErrorKind) -> AdapterError {
        AdapterError::new(kind, codes::ATTEMPTS_SPENT, "down")
    }

    fn summary(change: &Change) -> String {
        match change {
            Change::End { result, .. } => format!("end {result:?}"),
            Change::Retry {
                transport,
                attempts,
                wait,
                ..
            } => {
                format!(
                    "retry {transport:?} {attempts} {}",
                    if wait.is_zero() { "now" } else { "later" }
                )
            }
            Change::Suspend {
                attempts,
                failure,
                in_doubt,
                ..
            } => {
                let doubt = if *in_doubt { " in doubt" } else { "" };
                format!("suspend {attempts} {:?}{doubt}", failure.class)
            }
            Change::Release => "release".to_owned(),
            Change::Sending => "sending".to_owned(),
        }
    }

    #[test]
    fn every_failure_has_its_way() {
        use ErrorKind::{Config, Disconnected, Rejected, Retry};
        use Transport::{Backup, Primary};
        let cases = [
            (false, Primary, 0, Retry(None), "retry Primary 1 later"),
            (false, Primary, 1, Disconnected, "suspend 2 Retry"),
            (true, Primary, 1, Disconnected, "retry Backup 0 now"),
            (true, Backup, 0, Disconnected, "suspend 1 Retry"),
            (false, Primary, 0, Rejected, "suspend 1 GiveUp"),
            (true, Primary, 0, Rejected, "retry Backup 0 now"),
            (true, Backup, 0, Rejected, "suspend 1 GiveUp"),
            (false, Primary, 0, Config, "retry Primary 0 later"),
            (false, Primary, 1, Config, "retry Primary 1 later"),
            (true, Primary, 0, Config, "retry Backup 0 now"),
            (true, Backup, 0, Config, "retry Backup 0 later"),
        ];
        let entropy = SeededEntropy::new(1);
        for (backup, transport, attempts, kind, expected) in cases {
            let plan = port(backup, InDoubt::Resend);
            let change = decide(
                &plan,
                &claimed(transport, attempts),
                Err(error(kind)),
                &entropy,
            );
            assert_eq!(
                summary(&change),
                expected,
                "{kind:?} on {transport:?} after {attempts}"
            );
        }
    }

    #[test]
    fn a_partner_that_asks_for_time_gets_it() {
        let hour = Duration::from_secs(3600);
        let plan = port(false, InDoubt::Resend);
        let failed = Err(error(ErrorKind::Retry(Some(hour))));
        let change = decide(
            &plan,
            &claimed(Transport::Primary, 0),
            failed,
            &SeededEntropy::new(1),
        );
        assert!(matches!(change, Change::Retry { wait, .. } if wait == hour));
    }

    /// What a program says of its work is the answer, except that it answers later; nothing of it is ever suspended.
    #[test]
    fn a_program_answers_whatever_it_says() {
        let mut plan = port(false, InDoubt::Resend);
        (plan.answers, plan.primary.retry.attempts) = (true, u32::MAX);
        let mut asked = claimed(Transport::Primary, 7);
        let ticket = quayside_store::work::Ticket {
            exchange: quayside_model::ExchangeId::from_bytes([1; 16]),
            token: [2; 16],
            attempt: 1,
        };
        asked.exchange = Some(ticket.exchange);
        let key = quayside_orchestration::CallKey::from_bytes([1; 16]);
        let message = Arc::clone(&asked.message);
        let message = work::asking(message, key, ticket, Duration::from_millis(2500));
        let lease = message.context.value(work::LEASE).map(ToString::to_string);
        assert_eq!(lease.as_deref(), Some("2.5"));
        assert_eq!(work::ticket(&message), Some(ticket));
        asked.message = Arc::new(message);
        let entropy = SeededEntropy::new(1);
        let sent = |status| {
            Ok(Sent {
                detail: Text::lossy("said"),
                answer: Some(quayside_adapter_api::Answer {
                    status,
                    content_type: None,
                    body: Bytes::from_static(b"9"),
                }),
            })
        };
        let status = |change: &Change| match change {
            Change::End { answer, .. } => answer.as_ref().map(|answer| answer.status),
            other => panic!("{other:?}"),
        };
        let at_once = decide(&plan, &asked, sent(200), &entropy);
        assert_eq!(
            (summary(&at_once), status(&at_once)),
            ("end Sent".to_owned(), Some(200))
        );
        let later = decide(&plan, &asked, sent(202), &entropy);
        assert_eq!(
            (summary(&later), status(&later)),
            ("end Sent".to_owned(), None)
        );
        let no = decide(&plan, &asked, Err(error(ErrorKind::Rejected)), &entropy);
        assert_eq!(
            (summary(&no), status(&no)),
            ("end Consumed".to_owned(), Some(422))
        );
        let away = decide(&plan, &asked, Err(error(ErrorKind::Disconnected)), &entropy);
        assert_eq!(summary(&away), "retry Primary 8 later");
    }

    #[test]
    fn doubt_is_held_only_where_the_port_says_so() {
        let doubtful = || Err(error(ErrorKind::Retry(None)).doubtful());
        let entropy = SeededEntropy::new(1);
        let fresh = claimed(Transport::Primary, 0);
        let hold = decide(&port(true, InDoubt::Hold), &fresh, doubtful(), &entropy);
        assert_eq!(summary(&hold), "suspend 1 Retry in doubt");
        let last = claimed(Transport::Primary, 1);
        let spent = decide(&port(false, InDoubt::Resend), &last, doubtful(), &entropy);
        assert_eq!(summary(&spent), "suspend 2 Retry in doubt");
        let resend = decide(&port(true, InDoubt::Resend), &fresh, doubtful(), &entropy);
        assert_eq!(summary(&resend), "retry Primary 1 later");
    }

    #[test]
    fn a_port_rests_where_no_transport_is_left() {
        use Transport::{Backup, Primary};
        let (config, down) = (error(ErrorKind::Config), error(ErrorKind::Disconnected));
        let doubtful = config.clone().doubtful();
        for (backup, in_doubt, transport, error, expected) in [
            (false, InDoubt::Resend, Primary, &config, true),
            (true, InDoubt::Resend, Primary, &config, false),
            (true, InDoubt::Resend, Backup, &config, true),
            (false, InDoubt::Resend, Primary, &down, false),
            (false, InDoubt::Resend, Primary, &doubtful, true),
            (false, InDoubt::Hold, Primary, &doubtful, false),
        ] {
            let plan = port(backup, in_doubt);
            let rests = rests(&plan, &claimed(transport, 0), error).is_some();
            assert_eq!(rests, expected, "{error:?} on {transport:?}");
        }
    }
}
