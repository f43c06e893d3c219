//! A receive location: takes files, hands them out, answers for them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_adapter_api::{
    Accepted, AdapterError, Delivery, ErrorKind, Incoming, NaturalKey, Receive, RejectKind,
    Rejected, Reply, Settle, Source,
    model::{Context, Monotonic, Name, Text, Value},
};
use tokio::task::JoinHandle;

use crate::{
    body::Reading,
    codes, error,
    folder::Folder,
    holder::{Holder, blocking, joined},
    names,
    recover::recover,
    taken::Taken,
    watch::{Look, Watch, modified},
};

/// How often files and marks of dead owners are looked for when nothing points at one.
const RECOVER_EVERY: Duration = Duration::from_secs(30);

/// How often they are looked for while files of others lie in the folder.
const RECOVER_SOON: Duration = Duration::from_secs(1);

/// The longest pause after a refusal, and the one if the engine names none.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const DEFAULT_PAUSE: Duration = Duration::from_millis(250);

/// After this many failed reads a file is put aside.
const MAX_READ_FAILURES: u32 = 5;

/// An open location.
#[derive(Debug)]
pub(crate) struct FileReceive {
    holder: Arc<Holder>,
    /// Taken, not handed out yet.
    ready: VecDeque<Taken>,
    watch: Watch,
    /// A look that goes on while nobody waits: dropping [`Receive::receive`] must lose nothing.
    looking: Option<JoinHandle<(Watch, Result<Look, AdapterError>)>>,
    recovered_at: Option<Monotonic>,
    others: bool,
}

impl FileReceive {
    /// Opens the location: its owner's lease is taken before the first file can be.
    pub(crate) async fn open(holder: Holder) -> Result<Self, AdapterError> {
        let holder = Arc::new(holder);
        holder.keep_lease().await?;
        let worker = holder.clone();
        blocking(move || check_folders(&worker)).await?;
        Ok(Self {
            holder,
            ready: VecDeque::new(),
            watch: Watch::default(),
            looking: None,
            recovered_at: None,
            others: false,
        })
    }

    async fn look(&mut self) -> Result<Option<Duration>, AdapterError> {
        if self.looking.is_none() {
            let (mut watch, holder) = (std::mem::take(&mut self.watch), self.holder.clone());
            self.looking = Some(tokio::task::spawn_blocking(move || {
                let look = watch.look(&holder);
                (watch, look)
            }));
        }
        let look = self.looked().await?;
        self.others = look.others;
        Ok(look.again_in)
    }

    /// Waits for the look under way and keeps what it took.
    async fn looked(&mut self) -> Result<Look, AdapterError> {
        let Some(looking) = self.looking.as_mut() else {
            return Ok(Look::default());
        };
        let (watch, look) = joined(looking).await;
        self.looking = None;
        self.watch = watch;
        let mut look = look?;
        self.ready.extend(look.taken.drain(..));
        Ok(look)
    }

    async fn recover_if_due(&mut self) -> Result<(), AdapterError> {
        let now = self.holder.services.clock.monotonic();
        let due = self.recovered_at.is_none_or(|last| {
            let passed = now.since(last);
            passed >= RECOVER_EVERY
                || (self.others && passed >= RECOVER_SOON)
                || (passed >= self.holder.settings.poll.duration()
                    && !self.holder.lost().is_empty())
        });
        if due {
            self.holder.keep_lease().await?;
            self.ready.extend(recover(&self.holder).await?);
            self.recovered_at = Some(now);
        }
        Ok(())
    }

    /// Rests after a failure that passes, such as a store that is away: opening anew would only make the
    /// pause longer. Gives any other failure back.
    async fn try_again(&self, error: AdapterError) -> Result<(), AdapterError> {
        if !matches!(error.kind, ErrorKind::Retry(_)) {
            return Err(error);
        }
        tracing::warn!(location = %self.holder.location, code = %error.code, detail = %error.detail,
            "taken files cannot be settled now; it is tried again");
        self.rest(None).await;
        Ok(())
    }

    /// Rests until the next look is worth it, or the host stops.
    async fn rest(&self, again_in: Option<Duration>) {
        let poll = self.holder.settings.poll.duration();
        let soonest = again_in.map_or(poll, |again| again.min(poll));
        let wait = soonest.max(self.holder.pause_left());
        let stopping = self.holder.services.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopping.cancelled() => {}
        }
    }
}

#[async_trait]
impl Receive for FileReceive {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        loop {
            if self.holder.is_closed() {
                return Err(error::closed());
            }
            if !self.holder.pause_left().is_zero() {
                self.rest(Some(Duration::ZERO)).await;
                continue;
            }
            if let Some(taken) = self.ready.pop_front() {
                return Ok(delivery(taken));
            }
            match self.recover_if_due().await {
                Ok(()) if self.ready.is_empty() => {}
                Ok(()) => continue,
                Err(error) => {
                    self.try_again(error).await?;
                    continue;
                }
            }
            let again_in = self.look().await?;
            if self.ready.is_empty() {
                match self.holder.flush().await {
                    Ok(()) => self.rest(again_in).await,
                    Err(error) => self.try_again(error).await?,
                }
            }
        }
    }

    async fn close(&mut self) {
        self.holder.close();
        if let Err(error) = self.looked().await {
            tracing::debug!(location = %self.holder.location, %error, "the last look failed");
        }
        let ready: Vec<Taken> = self.ready.drain(..).collect();
        blocking(move || ready.into_iter().for_each(give_back)).await;
        if let Err(error) = self.holder.flush_if_due().await {
            // The marks and the lease stay; whoever comes next finds the files cleaned up.
            tracing::warn!(location = %self.holder.location, code = %error.code,
                detail = %error.detail, "cleaned files could not be settled");
        }
    }
}

/// Answers for one file.
#[derive(Debug)]
struct FileSettle(Taken);

#[async_trait]
impl Settle for FileSettle {
    async fn accept(self: Box<Self>, _: Accepted) -> Result<(), AdapterError> {
        let taken = self.0;
        let (holder, path) = (
            taken.holder.clone(),
            taken.folder.path().join(&taken.name.original),
        );
        let cleaned = blocking(move || taken.clean()).await;
        cleaned.map_err(|cause| error::of_folder(&path, "clean up", &cause))?;
        holder.flush_if_due().await
    }

    async fn reject(self: Box<Self>, rejected: Rejected) {
        let taken = self.0;
        let holder = taken.holder.clone();
        let for_good = matches!(
            rejected.kind,
            RejectKind::Invalid
                | RejectKind::Forbidden
                | RejectKind::TooLarge
                | RejectKind::KeyReused
        ) || holder.read_failures(&taken.name.original) >= MAX_READ_FAILURES;
        if for_good {
            blocking(move || park(taken, &rejected)).await;
        } else {
            let pause = rejected.retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE);
            holder.pause(pause);
            blocking(move || give_back(taken)).await;
        }
        if let Err(error) = holder.flush_if_due().await {
            tracing::warn!(location = %holder.location, code = %error.code, detail = %error.detail,
                "cleaned files could not be settled");
        }
    }
}

fn delivery(mut taken: Taken) -> Delivery {
    let name = taken.name.original.clone();
    let settings = &taken.holder.settings;
    let declared = settings
        .content_type
        .as_deref()
        .or_else(|| names::content_type(&name));
    let reading = Reading {
        holder: taken.holder.clone(),
        file: taken.file.take().expect("a file is handed out once"),
        print: taken.print,
        name: name.clone(),
        read: 0,
    };
    let message = Incoming {
        context: context(&taken, &name),
        content_type: declared.map(Text::lossy),
        body: reading.body(),
        key: Some(NaturalKey {
            scope: Text::lossy("file"),
            key: taken.name.key(),
            covers: None,
        }),
    };
    Delivery {
        arrived: taken.holder.services.clock.monotonic(),
        message,
        others: Vec::new(),
        source: Some(Source {
            key: taken.name.key(),
            state: taken.mark().text(),
        }),
        reply: Reply::Nothing,
        resumable: true,
        settle: Box::new(FileSettle(taken)),
    }
}

fn context(taken: &Taken, name: &str) -> Context {
    let mut context = Context::new();
    context.promote_text("file.name", name);
    context.promote_text("file.folder", &taken.folder.path().to_string_lossy());
    let size = i64::try_from(taken.print.size).unwrap_or(i64::MAX);
    let written = [
        ("file.size", Value::Integer(size)),
        ("file.modified", Value::Time(modified(&taken.print))),
    ];
    for (key, value) in written {
        context.write(Name::new(key).expect("both are names"), value);
    }
    context
}

fn give_back(taken: Taken) {
    let (location, original) = (taken.holder.location.clone(), taken.name.original.clone());
    match taken.put_back() {
        Ok(name) if name == original => {}
        Ok(name) => tracing::warn!(%location, file = original, new_name = name,
            "a file was put back under another name, because its own was taken"),
        Err(error) => tracing::warn!(%location, file = original, code = %codes::IO, %error,
            "a file could not be put back; it is tried again"),
    }
}

fn park(taken: Taken, rejected: &Rejected) {
    let (location, original) = (taken.holder.location.clone(), taken.name.original.clone());
    match taken.park() {
        Ok(name) => tracing::error!(%location, file = original, rejected_as = name,
            code = %codes::FILE_REFUSED, reason.code = %rejected.code, reason = rejected.detail,
            "a file was refused for good and put into .rejected"),
        Err(error) => tracing::error!(%location, file = original, code = %codes::IO, %error,
            "a refused file could not be put into .rejected; it is tried again"),
    }
}

fn check_folders(holder: &Holder) -> Result<(), AdapterError> {
    let path = &holder.settings.folder;
    if holder.settings.create {
        Folder::open_or_create(path).map_err(|cause| error::of_folder(path, "make", &cause))?;
    }
    let folder = holder.open_folder()?;
    let Some(path) = holder.archive() else {
        return Ok(());
    };
    let of_archive = |cause| error::of_folder(&path, "open", &cause);
    let archive = Folder::open_or_create(&path).map_err(of_archive)?;
    if folder.same_file_system(&archive).map_err(of_archive)? {
        return Ok(());
    }
    Err(AdapterError::new(
        ErrorKind::Config,
        codes::OTHER_FILE_SYSTEM,
        format!(
            "{} is not on the file system of {}",
            path.display(),
            folder.path().display()
        ),
    ))
}
