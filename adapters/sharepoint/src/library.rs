//! A library: the calls of a receive location, each with what its refusals mean.

use std::sync::Arc;

use quayside_adapter_api::AdapterError;
use serde_json::{Value, json};

use crate::{
    client::{Call, Client, Failure},
    config::ReceiveSettings,
    document::Document,
    error,
    listing::{Page, SELECT, Scope, number, page},
    odata,
    publish::Trouble,
    status::Verdict,
};

/// How many stranded documents are looked for at once.
const STRANDED: u32 = 100;

/// How often a call that can be repeated is made when its answer is lost.
const TRIES: u32 = 4;

/// What became of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckOut {
    /// It is this account's.
    Ours,
    /// Somebody has it, or has it open.
    Busy,
    /// It is not there any more.
    Gone,
    /// The farm does not let this account have it, and would say so again.
    Refused(AdapterError),
}

/// What became of a document that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// It is gone.
    Done,
    /// The name is taken there.
    Taken,
    /// The folder is not there.
    NoFolder,
    /// It was changed, or nobody knows: another look tells.
    LookAgain,
}

/// A library of a farm.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) client: Arc<Client>,
    /// The path of its root folder.
    pub(crate) root: String,
    pub(crate) scope: Scope,
    /// The number of the account.
    pub(crate) me: u64,
}

impl Library {
    /// Looks who calls and where documents are.
    ///
    /// # Errors
    /// If the farm cannot be reached, or there is no such library, folder or view.
    pub(crate) async fn open(
        client: Arc<Client>,
        settings: &ReceiveSettings,
    ) -> Result<Self, AdapterError> {
        let failed = |failure: Failure| failure.error();
        let doing = "asking who calls";
        let call = Call::get(doing, "web/currentuser?$select=Id");
        let user = client.call(&call).await.map_err(failed)?;
        let me = number(&user["Id"]).ok_or_else(|| error::bad_answer(doing, "there is no Id"))?;
        let root = client.site.below(&[&settings.library]);
        let list = odata::list_at(&root);
        let scope = match &settings.view {
            Some(view) => {
                let view = odata::literal(view);
                let target = format!("{list}/views/getbytitle({view})?$select=ViewQuery,Scope");
                let call = Call::get("looking at the view", target);
                let view = client.call(&call).await.map_err(failed)?;
                Scope::View {
                    query: view["ViewQuery"].as_str().unwrap_or_default().to_owned(),
                    scope: number(&view["Scope"]).unwrap_or_default(),
                }
            }
            None => {
                let folder = settings.folder.as_deref().unwrap_or_default();
                let path = client.site.below(&[&settings.library, folder]);
                let target = format!("{}?$select=Name", odata::folder_at(&path));
                client
                    .call(&Call::get("looking at the folder", target))
                    .await
                    .map_err(failed)?;
                Scope::Folder(path)
            }
        };
        Ok(Self {
            client,
            root,
            scope,
            me,
        })
    }

    /// The next documents: in a folder those behind the number `after`.
    pub(crate) async fn list(&self, rows: u32, after: u64) -> Result<Page, AdapterError> {
        let target = format!("{}/GetItems?{SELECT}", odata::list_at(&self.root));
        let call = Call::json(
            "listing documents",
            target,
            &self.scope.request(rows, after),
        );
        let answer = self.ask(&call).await.map_err(|failure| failure.error())?;
        Ok(page(&answer))
    }

    /// Documents that this account has checked out in the library whose root folder is at `root`.
    pub(crate) async fn own(&self, root: &str) -> Result<Page, AdapterError> {
        let filter = odata::encode(&format!("CheckoutUserId eq {}", self.me));
        let list = odata::list_at(root);
        let target = format!("{list}/items?{SELECT}&$filter={filter}&$top={STRANDED}");
        let call = Call::get("looking for stranded documents", target);
        let answer = self.ask(&call).await.map_err(|failure| failure.error())?;
        Ok(page(&answer))
    }

    /// Checks a document out.
    pub(crate) async fn check_out(&self, id: &str) -> Result<CheckOut, AdapterError> {
        let call = Call::post("checking out", format!("{}/CheckOut()", odata::file(id)));
        match self.client.call(&call).await {
            Ok(_) => Ok(CheckOut::Ours),
            Err(failure) => match failure.verdict() {
                Some(Verdict::CheckedOut | Verdict::Locked | Verdict::Conflict) => {
                    Ok(CheckOut::Busy)
                }
                Some(Verdict::NoFile | Verdict::NoFolder) => Ok(CheckOut::Gone),
                Some(
                    Verdict::Denied
                    | Verdict::BadName
                    | Verdict::BadColumn
                    | Verdict::Duplicate
                    | Verdict::Refused,
                ) => Ok(CheckOut::Refused(failure.error())),
                _ => Err(failure.error()),
            },
        }
    }

    /// Gives a checkout up that this process made. One that is not there, or a document that is not, is fine.
    pub(crate) async fn undo_check_out(&self, id: &str) -> Result<(), AdapterError> {
        let target = format!("{}/UndoCheckOut()", odata::file(id));
        self.ended(&Call::post("undoing a checkout", target)).await
    }

    /// Ends a checkout that another process left. Unlike undoing it, this destroys nothing, whoever made it and for
    /// whatever: a document that was never checked in would be gone with its checkout.
    pub(crate) async fn free(&self, id: &str) -> Result<(), AdapterError> {
        let file = odata::file(id);
        let target = format!("{file}/CheckIn(comment='',checkintype=2)");
        self.ended(&Call::post("freeing a stranded document", target))
            .await
    }

    async fn ended(&self, call: &Call) -> Result<(), AdapterError> {
        match self.ask(call).await {
            Ok(_) => Ok(()),
            Err(failure) => match failure.verdict() {
                Some(
                    Verdict::NotCheckedOut
                    | Verdict::CheckedOut
                    | Verdict::NoFile
                    | Verdict::NoFolder,
                ) => Ok(()),
                _ => Err(failure.error()),
            },
        }
    }

    /// The document with its columns; `None` if it is not there.
    pub(crate) async fn look(&self, id: &str) -> Result<Option<Document>, AdapterError> {
        let doing = "looking at a document";
        let target = format!("{}?$expand=ListItemAllFields", odata::file(id));
        match self.ask(&Call::get(doing, target)).await {
            Ok(file) => match Document::read(file) {
                Some(document) => Ok(Some(document)),
                None => Err(error::bad_answer(doing, "it is no document")),
            },
            Err(failure) => match failure.verdict() {
                Some(Verdict::NoFile | Verdict::NoFolder) => Ok(None),
                _ => Err(failure.error()),
            },
        }
    }

    /// Deletes a document that is still as `etag` says.
    pub(crate) async fn delete(&self, id: &str, etag: &str) -> Result<Went, AdapterError> {
        let target = format!("{}/DeleteWithParameters", odata::file(id));
        let parameters = json!({ "parameters": { "BypassSharedLock": false, "ETagMatch": etag } });
        let call = Call::json("deleting a document", target, &parameters);
        self.went(&call).await
    }

    /// Moves a document.
    pub(crate) async fn move_to(
        &self,
        id: &str,
        path: &str,
        over: bool,
    ) -> Result<Went, AdapterError> {
        let call = Call::post("archiving a document", odata::move_to(id, path, over));
        self.went(&call).await
    }

    /// Makes the folder at a path of the site whose first part is a library.
    pub(crate) async fn make_folder(&self, of_site: &str) -> Result<(), AdapterError> {
        let mut parts = of_site.split('/');
        let mut parent = self.client.site.below(&[parts.next().unwrap_or_default()]);
        for name in parts {
            let call = Call::post("making a folder", odata::add_folder(&parent, name));
            let made = self.ask(&call).await;
            made.map_err(|failure| failure.error())?;
            parent = format!("{parent}/{name}");
        }
        Ok(())
    }

    /// Makes a call that changes nothing more when it is made again.
    async fn ask(&self, call: &Call) -> Result<Value, Failure> {
        for _ in 1..TRIES {
            match self.client.call(call).await {
                Err(failure) if failure.trouble() == Trouble::Unknown => {}
                answered => return answered,
            }
        }
        self.client.call(call).await
    }

    async fn went(&self, call: &Call) -> Result<Went, AdapterError> {
        match self.client.call(call).await {
            Ok(_) => Ok(Went::Done),
            Err(Failure::NotDone(error)) => Err(error),
            Err(Failure::Unknown(_)) => Ok(Went::LookAgain),
            Err(failure) => match failure.verdict() {
                Some(Verdict::Exists) => Ok(Went::Taken),
                Some(Verdict::NoFolder) => Ok(Went::NoFolder),
                Some(
                    Verdict::NoFile
                    | Verdict::Changed
                    | Verdict::Conflict
                    | Verdict::Busy
                    | Verdict::Throttled,
                ) => Ok(Went::LookAgain),
                _ => Err(failure.error()),
            },
        }
    }
}
