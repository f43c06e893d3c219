//! A send port: each attempt is a walk through `publish`, which decides; here each step is made.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use quayside_adapter_api::{
    AdapterError, Body, ErrorKind, Outbound, Sent, Services, Transmit,
    model::{Text, Value as Property},
};
use serde_json::{Map, Value};

use crate::{
    accounts::Accounts,
    client::{Call, Client, Failure},
    codes,
    columns::{self, ColumnType},
    config::{FILE_NAME, Overwrite, SendSettings},
    error,
    listing::number,
    names::{MAX_PATH, NameTemplate, confine, numbered},
    odata,
    publish::{Ask, Next, Place, Publish, Told},
    staging::{STAGING, Staging, Sweeps, part, unique_id},
    status::Verdict,
};

/// What farms say of a value that a column does not take, which operators know from there.
const BAD_VALUE: &str = "-1, Microsoft.SharePoint.Client.InvalidClientQueryException";

/// The level of a document of which no version is published.
const DRAFT: u64 = 2;

/// An open port.
#[derive(Debug)]
pub(crate) struct SharePointSend {
    settings: SendSettings,
    name: NameTemplate,
    client: Arc<Client>,
    staging: Arc<Staging>,
    _sweeps: Sweeps,
}

/// One attempt to send one message.
struct Attempt<'a> {
    port: &'a SharePointSend,
    outbound: &'a Outbound,
    /// The folder that it is published in, from the root of the server.
    folder: String,
    /// The parts of that path below the library, which may have to be made.
    below: Vec<String>,
    file: String,
    values: Map<String, Value>,
    /// The id of the staged document.
    staged: Option<String>,
    /// Whether it is a draft by the library's rules, which not every reader sees.
    draft: bool,
}

impl SharePointSend {
    /// Prepares the port; connects to nothing yet.
    ///
    /// # Errors
    /// `Config` if a setting, certificate or key cannot be used.
    pub(crate) fn open(
        settings: SendSettings,
        services: &Services,
        accounts: &Accounts,
    ) -> Result<Self, AdapterError> {
        let bad = |why: String| error::config(codes::BAD_SETTING, why);
        let name = NameTemplate::parse(&settings.file_name).map_err(bad)?;
        let client = Client::new(settings.farm().map_err(bad)?, services, accounts)?;
        let staging = Arc::new(Staging::new(Arc::clone(&client), &settings, services));
        Ok(Self {
            settings,
            name,
            client,
            _sweeps: Sweeps::of(&staging),
            staging,
        })
    }

    fn library(&self) -> String {
        self.client.site.below(&[&self.settings.library])
    }

    fn attempt<'a>(&'a self, outbound: &'a Outbound) -> Result<Attempt<'a>, AdapterError> {
        let settings = &self.settings;
        let refused = |why| AdapterError::new(ErrorKind::Rejected, codes::NAME_REFUSED, why);
        let original = original_name(outbound);
        let name = self
            .name
            .render(FILE_NAME, &outbound.rendered, original.as_deref());
        let name = name.map_err(refused)?;
        let (folders, file) = confine(&name, settings.subfolders).map_err(refused)?;
        let fixed = settings.folder.iter().flat_map(|folder| folder.split('/'));
        let below: Vec<&str> = fixed.chain(folders).collect();
        let mut parts = vec![settings.library.as_str()];
        parts.extend(&below);
        let folder = self.client.site.below(&parts);
        if folder.chars().count() + 1 + file.chars().count() > MAX_PATH {
            let why = format!("the path `{folder}/{file}` is longer than {MAX_PATH} characters");
            return Err(refused(why));
        }
        let values = columns::values(&settings.columns, &outbound.rendered);
        let mut values = values.map_err(|why| {
            let detail = format!("{why}; SharePoint refuses such a value ({BAD_VALUE})");
            AdapterError::new(ErrorKind::Rejected, codes::BAD_COLUMN, detail)
        })?;
        if let Some(stamp) = &settings.stamp {
            let property = columns::property(stamp, ColumnType::Text);
            values.insert(property, outbound.delivery.to_string().into());
        }
        Ok(Attempt {
            port: self,
            outbound,
            folder,
            below: below.into_iter().map(str::to_owned).collect(),
            file: file.to_owned(),
            values,
            staged: None,
            draft: false,
        })
    }
}

#[async_trait]
impl Transmit for SharePointSend {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        if outbound.answer_wanted {
            return Err(error::config(
                codes::BAD_SETTING,
                "a library gives no answer",
            ));
        }
        let mut attempt = self.attempt(&outbound)?;
        let has_columns = !attempt.values.is_empty();
        let overwrite = self.settings.overwrite;
        let mut publish = Publish::new(overwrite, has_columns, outbound.in_doubt);
        let mut ask = publish.first();
        loop {
            let told = if !changes(ask) || outbound.may_act() {
                attempt.act(ask).await
            } else if ask == Ask::Discard {
                // It is published already. What lies in staging is another owner's by now.
                Told::Done
            } else {
                return Err(publish.end(error::not_trusted()));
            };
            match publish.told(told) {
                Next::Do(next) => ask = next,
                Next::Sent(number) => {
                    let detail = Text::lossy(&attempt.path(number));
                    return Ok(Sent {
                        detail,
                        answer: None,
                    });
                }
                Next::Fail(error) => {
                    let lasting = matches!(error.kind, ErrorKind::Rejected | ErrorKind::Config);
                    if lasting && !error.in_doubt && publish.is_staged() && outbound.may_act() {
                        self.staging.discard(outbound.delivery).await;
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn test(&self) -> Result<String, AdapterError> {
        let library = self.library();
        let target = format!("{}?$select=Title,ItemCount", odata::list_at(&library));
        let call = Call::get("looking at the library", target);
        let list = self
            .client
            .call(&call)
            .await
            .map_err(|failure| failure.error())?;
        if let Some(folder) = &self.settings.folder {
            let path = self.client.site.below(&[&self.settings.library, folder]);
            let target = format!("{}?$select=Name", odata::folder_at(&path));
            match self
                .client
                .call(&Call::get("looking at the folder", target))
                .await
            {
                Ok(_) => {}
                Err(failure) if is_missing(&failure) => {
                    return Ok(format!("{path} will be made at the first message"));
                }
                Err(failure) => return Err(failure.error()),
            }
        }
        Ok(format!(
            "{} has the library `{}` with {} items",
            self.client.site.address(),
            list["Title"].as_str().unwrap_or(&self.settings.library),
            list["ItemCount"].as_u64().unwrap_or_default()
        ))
    }
}

impl Attempt<'_> {
    async fn act(&mut self, ask: Ask) -> Told {
        let told = match ask {
            Ask::LookAt(number) => self.look_at(number).await,
            Ask::Stage => self.stage().await,
            Ask::Stamp => self.stamp().await,
            Ask::CheckIn => self.check_in().await,
            Ask::Move(number) => self.publish(number).await,
            Ask::Find => self.find().await,
            Ask::Discard => {
                self.port.staging.discard(self.outbound.delivery).await;
                Ok(Told::Done)
            }
        };
        told.unwrap_or_else(|failure| Told::Failed(failure.trouble(), failure.error()))
    }

    fn client(&self) -> &Client {
        &self.port.client
    }

    fn path(&self, number: u32) -> String {
        format!("{}/{}", self.folder, numbered(&self.file, number))
    }

    fn staged(&self) -> Result<&str, Failure> {
        self.staged.as_deref().ok_or_else(|| {
            Failure::NotDone(error::bad_answer(
                "publishing",
                "the staged document has no id",
            ))
        })
    }

    async fn look_at(&self, number: u32) -> Result<Told, Failure> {
        let target = format!(
            "{}?$select=UniqueId,Length",
            odata::file_at(&self.path(number))
        );
        let found = self
            .client()
            .call(&Call::get("looking for the document", target))
            .await;
        let file = match found {
            Ok(file) => file,
            Err(failure) if is_missing(&failure) => return Ok(Told::Free),
            Err(failure) => return Err(failure),
        };
        let ours = match &self.port.settings.stamp {
            Some(stamp) => self.has_stamp(stamp, number).await?,
            None => self.has_content(&file, number).await?,
        };
        Ok(if ours { Told::Ours } else { Told::Other })
    }

    async fn has_stamp(&self, stamp: &str, number: u32) -> Result<bool, Failure> {
        let property = columns::property(stamp, ColumnType::Text);
        let file = odata::file_at(&self.path(number));
        let target = format!("{file}/ListItemAllFields?$select={property}");
        let item = self
            .client()
            .call(&Call::get("reading the stamp", target))
            .await?;
        Ok(item[property.as_str()].as_str() == Some(self.outbound.delivery.to_string().as_str()))
    }

    async fn has_content(&self, file: &Value, number: u32) -> Result<bool, Failure> {
        // A name without an id may be that of another message with the same content. Then the document is this
        // message's own only if an earlier attempt is in doubt.
        if !self.outbound.in_doubt && !self.port.name.is_unique() {
            return Ok(false);
        }
        let length = self.outbound.message.body().content.len();
        if file["Length"].as_str().and_then(|it| it.parse().ok()) != Some(length) {
            return Ok(false);
        }
        let target = format!("{}/$value", odata::file_at(&self.path(number)));
        let call = Call::document("comparing the document", target);
        let mut found = self.client().open(&call).await?;
        let mut body = self.outbound.body();
        let (mut theirs, mut own) = (Bytes::new(), Bytes::new());
        loop {
            if theirs.is_empty() {
                theirs = found
                    .chunk()
                    .await
                    .map_err(|cause| broken(&cause))?
                    .unwrap_or_default();
            }
            if own.is_empty() {
                own = piece(&mut body).await.map_err(Failure::NotDone)?;
            }
            let common = theirs.len().min(own.len());
            if common == 0 || theirs[..common] != own[..common] {
                return Ok(theirs.is_empty() && own.is_empty());
            }
            theirs.advance(common);
            own.advance(common);
        }
    }

    async fn stage(&mut self) -> Result<Told, Failure> {
        let file = self.port.staging.put(self.outbound).await?;
        self.staged = Some(unique_id(&file)?.to_owned());
        let length = self.outbound.message.body().content.len();
        if number(&file["Length"]).is_some_and(|staged| staged != length) {
            let error = error::bad_answer(STAGING, "the farm has another length than was sent");
            return Err(Failure::Unknown(error));
        }
        self.draft = number(&file["Level"]) == Some(DRAFT);
        let kept = number(&file["CheckOutType"]).is_some_and(|kind| kind != 2);
        Ok(Told::Staged {
            kept: kept || self.draft,
        })
    }

    async fn stamp(&self) -> Result<Told, Failure> {
        let target = format!("{}/ListItemAllFields", odata::file(self.staged()?));
        let values = Value::Object(self.values.clone());
        let call = Call::json("setting the columns", target, &values).meaning("MERGE");
        match self.client().call(&call).await {
            Ok(_) => Ok(Told::Done),
            Err(failure) if is_missing(&failure) => Err(vanished(&failure)),
            Err(failure) => Err(failure),
        }
    }

    async fn check_in(&self) -> Result<Told, Failure> {
        let file = odata::file(self.staged()?);
        let call = Call::post(
            "checking in",
            format!("{file}/CheckIn(comment='',checkintype=1)"),
        );
        match self.client().call(&call).await {
            Ok(_) => return Ok(Told::Done),
            Err(failure) if failure.verdict() == Some(Verdict::NotCheckedOut) => {}
            Err(failure) if is_missing(&failure) => return Err(vanished(&failure)),
            Err(failure) => return Err(failure),
        }
        if self.draft {
            let call = Call::post("publishing a draft", format!("{file}/Publish(comment='')"));
            match self.client().call(&call).await {
                Err(failure) if is_missing(&failure) => return Err(vanished(&failure)),
                published => published?,
            };
        }
        Ok(Told::Done)
    }

    async fn publish(&self, number: u32) -> Result<Told, Failure> {
        let over = self.port.settings.overwrite == Overwrite::Yes;
        let target = odata::move_to(self.staged()?, &self.path(number), over);
        let call = Call::post("publishing the document", target);
        match self.client().call(&call).await {
            Ok(_) => Ok(Told::Done),
            // The folder of this message is not there yet; or the document is not, which the look afterwards shows.
            Err(failure) if is_missing(&failure) && !self.below.is_empty() => {
                self.port.staging.make_folders(&self.below).await?;
                self.client().call(&call).await.map(|_| Told::Done)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn find(&self) -> Result<Told, Failure> {
        let target = format!("{}?$select=ServerRelativeUrl", odata::file(self.staged()?));
        let call = Call::get("looking where the document is", target);
        let place = match self.client().call(&call).await {
            Ok(file) => match file["ServerRelativeUrl"].as_str() {
                // By its name alone, which is no other document's: the farm may write the path in another way than the
                // configuration does.
                Some(path) if name_of(path) == part(self.outbound.delivery).to_lowercase() => {
                    Place::Staging
                }
                Some(_) => Place::Published,
                None => {
                    let error = error::bad_answer("looking where the document is", "no path");
                    return Err(Failure::Unknown(error));
                }
            },
            Err(failure) if is_missing(&failure) => Place::Gone,
            Err(failure) => return Err(failure),
        };
        Ok(Told::At(place))
    }
}

/// The last part of a path, in small letters.
fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_lowercase()
}

fn changes(ask: Ask) -> bool {
    !matches!(ask, Ask::LookAt(_) | Ask::Find)
}

pub(crate) fn is_missing(failure: &Failure) -> bool {
    matches!(
        failure.verdict(),
        Some(Verdict::NoFile | Verdict::NoFolder | Verdict::NoPlace)
    )
}

/// The staged document is gone: another attempt published it, or somebody cleaned up. The next attempt looks.
fn vanished(failure: &Failure) -> Failure {
    let detail = failure.error().detail;
    let kind = ErrorKind::Retry(None);
    Failure::NotDone(AdapterError::new(kind, codes::CONFLICT, detail).doubtful())
}

fn broken(cause: &reqwest::Error) -> Failure {
    let detail = format!("comparing the document: {}", error::chain(cause));
    let kind = ErrorKind::Retry(None);
    Failure::Unknown(AdapterError::new(kind, codes::OUTCOME_UNKNOWN, detail))
}

/// The next bytes of a body; none at its end.
async fn piece(body: &mut Body) -> Result<Bytes, AdapterError> {
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if !piece.is_empty() {
            return Ok(piece);
        }
    }
    Ok(Bytes::new())
}

/// The name that a message came with, as a document or as a file.
fn original_name(outbound: &Outbound) -> Option<String> {
    let context = &outbound.message.context;
    ["sharepoint.name", "file.name"]
        .into_iter()
        .find_map(|key| match context.value(key)? {
            Property::Text(text) => Some(text.to_string()),
            _ => None,
        })
}
