//! What operators do to deliveries.

use async_trait::async_trait;
use quayside_model::{DeliveryId, MessageId, Text};
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// Operators' verbs. Each takes a batch and gives one outcome per item. The note says who did it and why;
/// it is recorded with each delivery that was changed.
#[async_trait]
pub trait Operate: Send + Sync {
    /// Puts suspended deliveries back into the flow, with all attempts of the primary transport before
    /// them; a delivery that waits for a retry becomes due now. On an ordered port it keeps its place. A
    /// resumed one is not in doubt any more: the operator has decided that it may be sent. One whose failure is
    /// not [resumable](quayside_model::Failure::resumable) stays as it is.
    async fn resume(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError>;

    /// Ends deliveries that nobody holds. On an ordered port the key goes on.
    async fn terminate(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError>;

    /// Decides about deliveries in doubt that nobody holds. One that is not in doubt stays as it is. On an ordered
    /// port a resent one keeps its place, and behind an ended one the key goes on.
    async fn resolve(
        &self,
        deliveries: &[DeliveryId],
        verdict: DoubtVerdict,
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError>;

    /// Records that `source` was published again as `copy`. Durable when it returns. Of a source that
    /// retention has removed nothing is recorded.
    async fn note_resubmitted(
        &self,
        source: MessageId,
        copy: MessageId,
        note: &Text,
    ) -> Result<(), StoreError>;
}

/// What becomes of a delivery in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoubtVerdict {
    /// It is sent again, as [`Operate::resume`] does it.
    Resend,
    /// It ends as `terminated`: nobody is to get it any more.
    Skip,
    /// It ends as `sent`: the partner has it.
    Done,
}

/// The outcome of an operator's verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperateOutcome {
    /// Durably done.
    Done,
    /// An instance is working on it right now.
    Busy,
    /// There is no such live delivery: it ended, or never was.
    NotFound,
    /// It already is in that state.
    Unchanged,
    /// It was suspended for good: it can be terminated, and its message published again.
    NotResumable,
    /// It is not in doubt.
    NotInDoubt,
}
