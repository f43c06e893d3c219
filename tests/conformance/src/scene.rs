//! What the cases share: a live instance and short words for the usual operations.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quayside_store::{
    AnyStore, Change, Claimed, Op, Outcome, Publish, PublishOutcome, SettleOutcome, StoreError,
    Want,
    commit::{Birth, NewDelivery, OrderKey},
    model::{
        Claim, Content, Context, DedupeKey, DeliveryId, EndResult, Entropy, Failure, FailureClass,
        InstanceId, Message, MessageId, Name, Part, Priority, SeededEntropy, SessionId, Text,
        Transport, hash16,
    },
    sessions::NewInstance,
};

use crate::Backend;

/// How long sessions of the suite live: longer than any case.
const TTL: Duration = Duration::from_secs(100 * 86_400);

/// A store with one live instance.
pub struct Scene<'a> {
    /// Where time passes.
    pub backend: &'a dyn Backend,
    /// The store.
    pub store: AnyStore,
    /// A live instance.
    pub me: InstanceId,
    /// Where ids come from.
    pub entropy: SeededEntropy,
    count: AtomicU64,
}

impl std::fmt::Debug for Scene<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// The name `name`.
#[must_use]
pub fn name(name: &str) -> Name {
    Name::new(name).expect("the suite uses valid names")
}

/// The text `text`.
#[must_use]
pub fn text(text: &str) -> Text {
    Text::new(text).expect("the suite uses storable texts")
}

/// A failure that an operator would see.
#[must_use]
pub fn failure(detail: &str) -> Failure {
    Failure {
        resumable: true,
        code: text("QS9999"),
        class: FailureClass::Retry,
        detail: text(detail),
    }
}

/// The end of a delivery by its primary transport, without an answer.
#[must_use]
pub fn sent() -> Change {
    Change::End {
        result: EndResult::Sent,
        attempts: 1,
        detail: text("200"),
        answer: None,
    }
}

/// A retry by the primary transport after `wait`.
#[must_use]
pub fn retry(wait: Duration, attempts: u32) -> Change {
    Change::Retry {
        wait,
        transport: Transport::Primary,
        attempts,
        failure: failure("refused"),
        in_doubt: false,
    }
}

/// A suspension that holds its key.
#[must_use]
pub fn suspend() -> Change {
    Change::Suspend {
        attempts: 3,
        failure: failure("gave up"),
        hold_key: true,
        in_doubt: false,
    }
}

/// A suspension that its key does not wait for.
#[must_use]
pub fn skip() -> Change {
    Change::Suspend {
        attempts: 3,
        failure: failure("gave up"),
        hold_key: false,
        in_doubt: false,
    }
}

/// A dedupe key for `key` with a window of a day.
#[must_use]
pub fn key(key: &str, fingerprint: &str) -> DedupeKey {
    DedupeKey {
        hash: hash16(&[key.as_bytes()]),
        fingerprint: hash16(&[fingerprint.as_bytes()]),
        window: Duration::from_secs(86_400),
    }
}

/// The order key for `key` in `lane`.
#[must_use]
pub fn order_key(key: &str, lane: u16) -> OrderKey {
    OrderKey {
        lane,
        hash: hash16(&[key.as_bytes()]),
    }
}

impl<'a> Scene<'a> {
    /// A scene with one live instance.
    pub async fn open(backend: &'a dyn Backend) -> Self {
        let entropy = SeededEntropy::new(backend.now().as_micros().unsigned_abs());
        let store = backend.store();
        let me = InstanceId::new(backend.now(), &entropy);
        let scene = Self {
            backend,
            store,
            me,
            entropy,
            count: AtomicU64::new(0),
        };
        scene.register(me).await;
        scene
    }

    /// One more live instance, under a session of its own.
    pub async fn instance(&self) -> InstanceId {
        let instance = InstanceId::new(self.backend.now(), &self.entropy);
        self.register(instance).await;
        instance
    }

    async fn register(&self, instance: InstanceId) {
        let session = SessionId::new(self.backend.now(), &self.entropy);
        self.store
            .open_session(session, &name("node-a"), TTL)
            .await
            .expect("open session");
        let new = NewInstance {
            instance,
            session,
            node: name("node-a"),
            hosts: text("edge, queues"),
        };
        assert!(
            self.store.register_instance(&new).await.expect("register"),
            "session is live"
        );
    }

    /// 16 bytes that were never used before.
    #[must_use]
    pub fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// A new message with this body and one promoted property.
    #[must_use]
    pub fn message(&self, body: &str) -> Message {
        let mut context = Context::new();
        context.promote(
            name("Number"),
            text(&self.count.fetch_add(1, Ordering::Relaxed).to_string()),
        );
        Message {
            id: MessageId::new(self.backend.now(), &self.entropy),
            received_at: self.backend.now(),
            origin: text("orders.in.web"),
            message_type: Some(text("urn:orders#Order")),
            context,
            parts: vec![Part {
                name: name("body"),
                content_type: Some(text("text/plain")),
                content: Content::Inline(Bytes::copy_from_slice(body.as_bytes())),
            }],
        }
    }

    /// A new message for `ports`, ready in each.
    #[must_use]
    pub fn publish(&self, body: &str, ports: &[&str]) -> Publish {
        let delivery = |port: &&str| NewDelivery {
            port: name(port),
            priority: Priority::default(),
            birth: Birth::Ready,
            order: None,
            rendered: None,
        };
        Publish {
            message: Arc::new(self.message(body)),
            config_version: 1,
            slot: 7,
            dedupe: None,
            deliveries: ports.iter().map(delivery).collect(),
            exchange: None,
            source: None,
        }
    }

    /// A new message for the ordered `port`, ready.
    #[must_use]
    pub fn ordered(&self, body: &str, port: &str, order: OrderKey) -> Publish {
        let mut publish = self.publish(body, &[port]);
        publish.deliveries[0].order = Some(order);
        publish
    }

    /// Commits `ops` as the scene's instance.
    ///
    /// # Errors
    /// As the store says.
    pub async fn commit(&self, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        self.store.commit(self.me, ops).await
    }

    /// Commits one publication as the scene's instance.
    pub async fn outcome(&self, publish: Publish) -> PublishOutcome {
        self.outcome_by(self.me, publish).await
    }

    /// Commits one publication as `instance`.
    pub async fn outcome_by(&self, instance: InstanceId, publish: Publish) -> PublishOutcome {
        let ops = [Op::Publish(Box::new(publish))];
        let mut outcomes = self.store.commit(instance, &ops).await.expect("commit");
        match outcomes.pop() {
            Some(Outcome::Published(outcome)) if outcomes.is_empty() => outcome,
            other => panic!("one publication gave {other:?}"),
        }
    }

    /// Publishes and expects it to be stored with nothing born claimed.
    pub async fn stored(&self, publish: Publish) -> MessageId {
        let id = publish.message.id;
        assert_eq!(
            self.outcome(publish).await,
            PublishOutcome::Stored { claimed: vec![] }
        );
        id
    }

    /// Settles as the holder.
    pub async fn settle(&self, claim: Claim, change: Change) -> SettleOutcome {
        let ops = [Op::Settle(claim, change)];
        match self
            .store
            .commit(claim.instance, &ops)
            .await
            .expect("commit")
            .as_slice()
        {
            [Outcome::Settled(outcome)] => *outcome,
            other => panic!("one settlement gave {other:?}"),
        }
    }

    /// Settles and expects it to be done.
    pub async fn done(&self, claim: Claim, change: Change) {
        assert_eq!(self.settle(claim, change).await, SettleOutcome::Done);
    }

    /// Claims up to `room` deliveries of `port` for `instance`.
    pub async fn claim_by(&self, instance: InstanceId, port: &str, room: u32) -> Vec<Claimed> {
        self.claim_as(instance, port, room, (false, false)).await
    }

    /// Claims up to `room` deliveries of `port` for `instance`, which marks what it sends.
    pub async fn claim_unsent_by(
        &self,
        instance: InstanceId,
        port: &str,
        room: u32,
    ) -> Vec<Claimed> {
        self.claim_as(instance, port, room, (false, true)).await
    }

    /// Claims up to `room` deliveries of `port` for the scene's instance.
    pub async fn claim(&self, port: &str, room: u32) -> Vec<Claimed> {
        self.claim_by(self.me, port, room).await
    }

    /// Claims up to `room` deliveries of the ordered `port` for `instance`.
    pub async fn claim_ordered_by(
        &self,
        instance: InstanceId,
        port: &str,
        room: u32,
    ) -> Vec<Claimed> {
        self.claim_as(instance, port, room, (true, true)).await
    }

    /// Claims up to `room` deliveries of the ordered `port` for the scene's instance.
    pub async fn claim_ordered(&self, port: &str, room: u32) -> Vec<Claimed> {
        self.claim_ordered_by(self.me, port, room).await
    }

    async fn claim_as(
        &self,
        instance: InstanceId,
        port: &str,
        room: u32,
        (ordered, marks): (bool, bool),
    ) -> Vec<Claimed> {
        let want = Want {
            port: name(port),
            room,
            ordered,
            marks,
            deaths: quayside_store::Deaths::Any,
        };
        self.store.claim(instance, &[want]).await.expect("claim")
    }

    /// The claim of the delivery `no` of `message` by the scene's instance when it was born claimed.
    #[must_use]
    pub fn born(&self, message: MessageId, no: u16) -> Claim {
        Claim {
            delivery: DeliveryId { message, no },
            instance: self.me,
            token: 1,
        }
    }

    /// Lets a moment pass.
    pub async fn moment(&self) {
        self.backend.pass(self.backend.moment()).await;
    }
}

/// The body as text.
#[must_use]
pub fn body_of(message: &Message) -> String {
    match &message.body().content {
        Content::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Content::Stored(body) => format!("{} bytes in chunks", body.len),
    }
}

/// The bodies of `claimed`, in their order.
#[must_use]
pub fn bodies_of(claimed: &[Claimed]) -> Vec<String> {
    claimed.iter().map(|c| body_of(&c.message)).collect()
}
