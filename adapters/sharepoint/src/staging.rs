//! The folder of a library where documents lie until they are whole and have their columns: they are put there, taken
//! away, and swept out when nobody came back for them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use quayside_adapter_api::{
    AdapterError, ErrorKind, Outbound, Services,
    model::{DeliveryId, Timestamp},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    client::{Call, Client, Failure},
    codes,
    config::SendSettings,
    error, odata,
    publish::Trouble,
    send::is_missing,
    status::Verdict,
    upload::{Pieces, Resume, expected, resume, session, whole},
};

/// What a call does that stages, for people.
pub(crate) const STAGING: &str = "staging the document";

/// How often a piece of an upload is sent again.
const PIECE_TRIES: u32 = 4;

/// The end of the name of what is staged.
const SUFFIX: &str = ".part";

/// How many documents one sweep looks at.
const SWEPT_AT_ONCE: u32 = 500;

/// How long a port waits between two sweeps at least and at most.
const SHORTEST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(600);

/// The staging folder of a port.
#[derive(Debug)]
pub(crate) struct Staging {
    client: Arc<Client>,
    /// The library, and the folder in it.
    library: String,
    name: String,
    chunk: usize,
    /// What was not changed for so long is taken away.
    sweep_after: Duration,
    services: Services,
}

impl Staging {
    pub(crate) fn new(client: Arc<Client>, settings: &SendSettings, services: &Services) -> Self {
        Self {
            library: client.site.below(&[&settings.library]),
            name: settings.staging.clone(),
            chunk: settings.chunk.as_len(),
            sweep_after: settings.sweep_after.duration(),
            services: services.clone(),
            client,
        }
    }

    fn folder(&self) -> String {
        format!("{}/{}", self.library, self.name)
    }

    fn at(&self, delivery: DeliveryId) -> String {
        format!("{}/{}", self.folder(), part(delivery))
    }

    /// Makes the folders `below` the library that are missing.
    pub(crate) async fn make_folders(&self, below: &[String]) -> Result<(), Failure> {
        let mut parent = self.library.clone();
        for name in below {
            let call = Call::post("making a folder", odata::add_folder(&parent, name));
            self.client.call(&call).await?;
            parent = format!("{parent}/{name}");
        }
        Ok(())
    }

    /// Puts the whole body under its name in this folder, which is made if it is missing.
    pub(crate) async fn put(&self, outbound: &Outbound) -> Result<Value, Failure> {
        match self.upload(outbound).await {
            Err(failure) if is_missing(&failure) => {
                self.make_folders(std::slice::from_ref(&self.name)).await?;
                self.upload(outbound).await
            }
            uploaded => uploaded,
        }
    }

    async fn upload(&self, outbound: &Outbound) -> Result<Value, Failure> {
        let length = outbound.message.body().content.len();
        let mut pieces = Pieces::new(outbound.body(), length, self.chunk);
        let (first, last) = pieces.next().await.map_err(Failure::NotDone)?;
        if last {
            whole(first.len() as u64, length).map_err(Failure::NotDone)?;
            let target = odata::add(&self.folder(), &part(outbound.delivery), true);
            let call = Call::bytes(STAGING, target, first);
            return self.client.call(&call).await;
        }
        let stub = self.stub(outbound.delivery).await?;
        let id = unique_id(&stub)?;
        self.upload_pieces(outbound, id, first, pieces).await
    }

    /// The empty document that pieces go into. One that is there is taken as it is, and never replaced: a call whose
    /// answer was given up may be done late, and would empty what has been uploaded since.
    async fn stub(&self, delivery: DeliveryId) -> Result<Value, Failure> {
        let target = odata::add(&self.folder(), &part(delivery), false);
        let call = Call::bytes(STAGING, target, Bytes::new());
        match self.client.call(&call).await {
            Err(failure) if failure.verdict() == Some(Verdict::Exists) => {
                let target = format!("{}?$select=UniqueId", odata::file_at(&self.at(delivery)));
                self.client.call(&Call::get(STAGING, target)).await
            }
            made => made,
        }
    }

    async fn upload_pieces(
        &self,
        outbound: &Outbound,
        id: &str,
        first: Bytes,
        mut pieces: Pieces,
    ) -> Result<Value, Failure> {
        let length = outbound.message.body().content.len();
        let (file, session) = (odata::file(id), session(outbound.delivery));
        let (mut piece, mut last, mut offset) = (first, false, 0);
        loop {
            if !outbound.may_act() {
                return Err(Failure::NotDone(error::not_trusted()));
            }
            let end = offset + piece.len() as u64;
            let target = if last {
                whole(end, length).map_err(Failure::NotDone)?;
                format!("{file}/FinishUpload(uploadId=guid'{session}',fileOffset={offset})")
            } else if offset == 0 {
                format!("{file}/StartUpload(uploadId=guid'{session}')")
            } else {
                format!("{file}/ContinueUpload(uploadId=guid'{session}',fileOffset={offset})")
            };
            let answer = self
                .upload_piece(&file, &session, target, &piece, offset)
                .await?;
            if last {
                return Ok(answer);
            }
            offset = end;
            (piece, last) = pieces.next().await.map_err(Failure::NotDone)?;
        }
    }

    /// Sends one piece, again if the farm says that it lacks it.
    async fn upload_piece(
        &self,
        file: &str,
        session: &str,
        target: String,
        piece: &Bytes,
        offset: u64,
    ) -> Result<Value, Failure> {
        let call = Call::bytes("uploading a piece", target, piece.clone());
        for _ in 1..PIECE_TRIES {
            let failure = match self.client.call(&call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) if failure.trouble() == Trouble::Unknown => failure,
                Err(failure) => {
                    // What an earlier attempt left open may be in the way: all of it again, from the beginning.
                    self.cancel(file, session).await;
                    return Err(restart(failure));
                }
            };
            match resume(
                self.expects(file, session).await,
                offset,
                piece.len() as u64,
            ) {
                Resume::Next => return Ok(Value::Null),
                Resume::Same => {}
                Resume::Restart => {
                    self.cancel(file, session).await;
                    return Err(failure);
                }
            }
        }
        self.client.call(&call).await
    }

    /// Which byte the farm expects next. Not every farm tells.
    async fn expects(&self, file: &str, session: &str) -> Option<u64> {
        let body = json!({ "uploadId": session });
        let call = Call::json(
            "asking for the upload",
            format!("{file}/GetUploadStatus"),
            &body,
        );
        let status = self.client.call(&call).await.ok()?;
        expected(status["ExpectedContentRange"].as_str()?)
    }

    async fn cancel(&self, file: &str, session: &str) {
        let target = format!("{file}/CancelUpload(uploadId=guid'{session}')");
        let call = Call::post("cancelling an upload", target);
        if let Err(failure) = self.client.call(&call).await {
            tracing::debug!(error = %failure.error(), "an upload could not be cancelled");
        }
    }

    /// Takes a staged document away: by its path, never by its id, which a published document keeps.
    pub(crate) async fn discard(&self, delivery: DeliveryId) {
        let target = odata::file_at(&self.at(delivery));
        let call = Call::post("removing a staged document", target).meaning("DELETE");
        if let Err(failure) = self.client.call(&call).await {
            tracing::debug!(error = %failure.error(), "a staged document could not be removed");
        }
    }

    /// Sweeps now and then until the host stops.
    ///
    /// A farm may do late what a port or its load balancer has given up, after the document was published and its
    /// place in staging cleaned: nobody comes back for what lies there then.
    pub(crate) async fn keep_clean(self: Arc<Self>) {
        let rest = (self.sweep_after / 4).clamp(SHORTEST_REST, LONGEST_REST);
        let mut seen = Seen::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.services.stopping.cancelled() => return,
            }
            match self.sweep(&mut seen).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(
                    count,
                    folder = self.folder(),
                    "documents were removed that lay in the staging folder for too long"
                ),
                Err(failure) => {
                    tracing::debug!(error = %failure.error(), "the staging folder could not be swept");
                }
            }
        }
    }

    /// Takes away what nobody has changed for [`SendSettings::sweep_after`], and tells how much. Each document only as it
    /// was seen, at the place where it was seen: an attempt that has put it anew since, or has published it, keeps it. And only
    /// what was there at the sweep before: the times are the farm's, and its clock may not be that of this machine.
    async fn sweep(&self, seen: &mut Seen) -> Result<usize, Failure> {
        let listed = Call::get(
            "looking through the staging folder",
            format!(
                "{}/Files?$select=Name,ETag,TimeLastModified&$top={SWEPT_AT_ONCE}",
                odata::folder_at(&self.folder())
            ),
        );
        let files = match self.client.call(&listed).await {
            Err(failure) if is_missing(&failure) => return Ok(0),
            files => files?,
        };
        let before = self.services.clock.now().minus(self.sweep_after);
        let mut swept = 0;
        let last = std::mem::replace(seen, staged(&files));
        for (name, etag) in left_behind(&files, before) {
            if last.get(name).is_none_or(|seen| seen != etag) {
                continue;
            }
            let target = odata::file_at(&format!("{}/{name}", self.folder()));
            let call = Call::json(
                "sweeping the staging folder",
                format!("{target}/DeleteWithParameters"),
                &json!({ "parameters": { "BypassSharedLock": false, "ETagMatch": etag } }),
            );
            match self.client.call(&call).await {
                Ok(_) => swept += 1,
                // Somebody works on it, or has done so since.
                Err(failure) if failure.verdict().is_some() => {
                    tracing::debug!(error = %failure.error(), name, "a staged document stays");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(swept)
    }
}

/// Those sweeps of a port that are under way: they end with the value.
#[derive(Debug)]
pub(crate) struct Sweeps {
    _task: JoinSet<()>,
}

impl Sweeps {
    pub(crate) fn of(staging: &Arc<Staging>) -> Self {
        let mut task = JoinSet::new();
        task.spawn(Arc::clone(staging).keep_clean());
        Self { _task: task }
    }
}

/// The name of a delivery in the staging folder: the same for all attempts, so that two owners of one delivery work on
/// one document and the farm's id tells each what the other has done.
pub(crate) fn part(delivery: DeliveryId) -> String {
    format!("{delivery}{SUFFIX}")
}

/// The id that the farm gave a document.
pub(crate) fn unique_id(file: &Value) -> Result<&str, Failure> {
    file["UniqueId"]
        .as_str()
        .ok_or_else(|| Failure::Unknown(error::bad_answer(STAGING, "it has no UniqueId")))
}

/// The versions of what is staged, by name.
type Seen = HashMap<String, String>;

fn staged(files: &Value) -> Seen {
    let files = files["value"].as_array().map_or(&[][..], Vec::as_slice);
    let version = |file: &Value| {
        Some((
            file["Name"].as_str()?.to_owned(),
            file["ETag"].as_str()?.to_owned(),
        ))
    };
    files.iter().filter_map(version).collect()
}

/// What a port has staged and nobody has changed since `before`: its name and its version.
fn left_behind(files: &Value, before: Timestamp) -> impl Iterator<Item = (&str, &str)> {
    let files = files["value"].as_array().map_or(&[][..], Vec::as_slice);
    files.iter().filter_map(move |file| {
        let name = file["Name"].as_str()?;
        let modified: Timestamp = file["TimeLastModified"].as_str()?.parse().ok()?;
        let stays = !name.ends_with(SUFFIX) || modified > before;
        (!stays).then_some((name, file["ETag"].as_str()?))
    })
}

/// A refusal that another beginning may mend.
fn restart(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal, doing) if matches!(refusal.status, 400 | 404 | 409) => {
            let detail = refusal.error(doing).detail;
            let kind = ErrorKind::Retry(None);
            Failure::Unknown(AdapterError::new(kind, codes::OUTCOME_UNKNOWN, detail))
        }
        failure => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_there_too_long_is_left_behind() {
        let file = |name: &str, modified: &str| json!({ "Name": name, "ETag": "\"{1},1\"", "TimeLastModified": modified });
        let files = json!({ "value": [
            file("a.part", "2026-11-30T10:00:00Z"),
            file("b.part", "2026-11-30T12:00:01Z"),
            file("people.docx", "2026-11-30T10:00:00Z"),
            file("c.part", "yesterday"),
            json!({ "Name": "d.part", "TimeLastModified": "2026-11-30T10:00:00Z" }),
        ] });
        let before: Timestamp = "2026-11-30T12:00:00Z".parse().expect("a time");
        let found: Vec<_> = left_behind(&files, before).collect();
        assert_eq!(found, [("a.part", "\"{1},1\"")]);
        assert_eq!(left_behind(&Value::Null, before).count(), 0);
        assert_eq!(staged(&files).len(), 4, "all that have a version");
    }
}
