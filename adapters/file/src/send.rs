//! A send port: writes aside, makes durable, publishes under the final name, makes that durable.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use quayside_adapter_api::{
    AdapterError, Body, ErrorKind, Outbound, Sent, Services, Transmit,
    model::{DeliveryId, Text},
};
use rustix::io::Errno;

use crate::{
    codes,
    config::{Overwrite, SendSettings},
    error,
    folder::{Folder, ignore},
    holder::{blocking, random_hex},
    names::{MAX_NUMBERED, confine, numbered},
};

/// So many bytes are gathered before they are written.
const WRITE_AT_ONCE: usize = 1 << 20;

/// An open port.
#[derive(Debug)]
pub(crate) struct FileSend {
    pub(crate) settings: Arc<SendSettings>,
    pub(crate) services: Services,
}

/// Where a message goes.
#[derive(Debug, Clone)]
struct Place {
    folder: Arc<Folder>,
    file: String,
}

#[async_trait]
impl Transmit for FileSend {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        if outbound.answer_wanted {
            let detail = "a folder gives no answer";
            return Err(AdapterError::new(
                ErrorKind::Config,
                codes::BAD_SETTING,
                detail,
            ));
        }
        let place = self.place(&outbound).await?;
        if outbound.in_doubt {
            let (folder, delivery) = (place.folder.clone(), outbound.delivery);
            blocking(move || remove_parts(&folder, delivery)).await?;
        }
        if let Some(name) = self.published(&place, &outbound).await? {
            return Ok(sent(&place, &name));
        }
        let part = self.write(&place, &outbound).await?;
        let overwrite = self.settings.overwrite;
        let (file, guard) = (place.file.clone(), outbound.guard.clone());
        let name = blocking(move || part.publish(&file, overwrite, &*guard)).await?;
        match name {
            Some(name) => Ok(sent(&place, &name)),
            None => match self.published(&place, &outbound).await? {
                Some(name) => Ok(sent(&place, &name)),
                None => Err(exists(&place, &place.file)),
            },
        }
    }

    async fn test(&self) -> Result<String, AdapterError> {
        let settings = self.settings.clone();
        blocking(move || test(&settings)).await
    }
}

impl FileSend {
    async fn place(&self, outbound: &Outbound) -> Result<Place, AdapterError> {
        let refused = |why| AdapterError::new(ErrorKind::Rejected, codes::NAME_REFUSED, why);
        let Some(name) = outbound.rendered.get("file_name").cloned() else {
            return Err(refused(
                "no file name was rendered for the message".to_owned(),
            ));
        };
        let settings = self.settings.clone();
        blocking(move || {
            let (folders, file) = confine(&name, settings.subfolders).map_err(refused)?;
            let mut folder = open_base(&settings)?;
            for below in folders {
                folder = open_below(&folder, below)?;
            }
            Ok(Place {
                folder: Arc::new(folder),
                file: file.to_owned(),
            })
        })
        .await
    }

    /// The name under which an earlier attempt published the message, if one did.
    async fn published(
        &self,
        place: &Place,
        outbound: &Outbound,
    ) -> Result<Option<String>, AdapterError> {
        // A name without an id may be that of another message with the same content. Then the file is
        // this message's own only if an earlier attempt is in doubt.
        if !outbound.in_doubt && !self.settings.names_are_unique() {
            return Ok(None);
        }
        let tries = if self.settings.overwrite == Overwrite::Rename {
            MAX_NUMBERED
        } else {
            1
        };
        for number in 1..=tries {
            let name = numbered(&place.file, number);
            let Some(file) = open_regular(place, &name).await? else {
                return Ok(None);
            };
            if same_content(place, file, outbound).await? {
                let folder = place.folder.clone();
                // The attempt before may have ended between its rename and this.
                blocking(move || sync(&folder)).await?;
                return Ok(Some(name));
            }
        }
        if self.settings.overwrite == Overwrite::No {
            return Err(exists(place, &place.file));
        }
        Ok(None)
    }

    /// Writes the body aside.
    async fn write(&self, place: &Place, outbound: &Outbound) -> Result<Part, AdapterError> {
        let suffix = random_hex(&*self.services.entropy, 4);
        // A new name for each attempt: a paused owner that wakes up writes on in its own part, which
        // can never be the file that its successor published.
        let name = format!("{}{suffix}.part", part_prefix(outbound.delivery));
        let folder = place.folder.clone();
        let mut part = blocking(move || Part::create(folder, name)).await?;
        let mut body = outbound.body();
        let mut written = 0_u64;
        loop {
            let (pieces, last) = gather(&mut body).await?;
            written += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
            part = blocking(move || part.write(&pieces)).await?;
            if last {
                break;
            }
        }
        if written == outbound.message.body().content.len() {
            return Ok(part);
        }
        let detail = format!("the body ended after {written} bytes, which is not its length");
        Err(AdapterError::new(ErrorKind::Retry(None), codes::IO, detail))
    }
}

/// A file that is written aside. Dropping it removes it.
#[derive(Debug)]
struct Part {
    folder: Arc<Folder>,
    name: String,
    file: File,
    published: bool,
}

impl Part {
    fn create(folder: Arc<Folder>, name: String) -> Result<Self, AdapterError> {
        let made = folder.create_file(&name);
        let file =
            made.map_err(|cause| error::of_folder(folder.path(), "make a file in", &cause))?;
        Ok(Self {
            folder,
            name,
            file,
            published: false,
        })
    }

    fn write(mut self, pieces: &[Bytes]) -> Result<Self, AdapterError> {
        let written = pieces
            .iter()
            .try_for_each(|piece| self.file.write_all(piece));
        written.map_err(|cause| error::of_folder(self.folder.path(), "write to", &cause))?;
        Ok(self)
    }

    /// Gives it its final name, durably, and says which; `None` if the name is taken.
    fn publish(
        mut self,
        wanted: &str,
        overwrite: Overwrite,
        may_act: &dyn Fn() -> bool,
    ) -> Result<Option<String>, AdapterError> {
        let durable = self.file.sync_all();
        durable.map_err(|cause| error::of_folder(self.folder.path(), "write to", &cause))?;
        let tries = if overwrite == Overwrite::Rename {
            MAX_NUMBERED
        } else {
            1
        };
        for number in 1..=tries {
            let name = numbered(wanted, number);
            if !may_act() {
                let detail = "the process was paused beyond its lease";
                return Err(AdapterError::new(
                    ErrorKind::Retry(None),
                    codes::NOT_TRUSTED,
                    detail,
                ));
            }
            match self.move_to(&name, overwrite) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(self.failed_publish(&cause)),
                Ok(()) => {
                    self.published = true;
                    return sync(&self.folder)
                        .map(|()| Some(name))
                        .map_err(AdapterError::doubtful);
                }
            }
        }
        Ok(None)
    }

    fn move_to(&self, name: &str, overwrite: Overwrite) -> io::Result<()> {
        match overwrite {
            Overwrite::Yes => self.folder.move_over(&self.name, name),
            Overwrite::No | Overwrite::Rename => {
                self.folder.move_new(&self.name, &self.folder, name)
            }
        }
    }

    /// A server of files that failed may have done it all the same; a refusal is certain.
    fn failed_publish(&self, cause: &io::Error) -> AdapterError {
        let error = error::of_folder(self.folder.path(), "publish a file in", cause);
        if error.code == codes::IO {
            error.doubtful()
        } else {
            error
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.folder.remove(&self.name)
        {
            tracing::debug!(file = self.name, %error, "a part could not be removed");
        }
    }
}

fn part_prefix(delivery: DeliveryId) -> String {
    format!(".quayside-{delivery}-")
}

/// Removes what dead attempts of `delivery` left.
fn remove_parts(folder: &Folder, delivery: DeliveryId) -> Result<(), AdapterError> {
    let prefix = part_prefix(delivery);
    let removed = folder.names().and_then(|mut names| {
        names.try_for_each(|entry| match entry?.0 {
            name if name.starts_with(&prefix) => {
                ignore(folder.remove(&name), io::ErrorKind::NotFound)
            }
            _ => Ok(()),
        })
    });
    removed.map_err(|cause| error::of_folder(folder.path(), "clean up", &cause))
}

fn open_base(settings: &SendSettings) -> Result<Folder, AdapterError> {
    let path = &settings.folder;
    let opened = if settings.create {
        Folder::open_or_create(path)
    } else {
        Folder::open(path)
    };
    opened.map_err(|cause| error::of_folder(path, "open", &cause))
}

fn open_below(folder: &Folder, name: &str) -> Result<Folder, AdapterError> {
    folder.below(name, true).map_err(|cause| {
        let path = folder.path().join(name);
        let mut error = error::of_folder(&path, "open", &cause);
        // What stands in the way of a folder that a message chose is no fault of the port.
        if error.code == codes::FOLDER_MISSING {
            (error.kind, error.code) = (ErrorKind::Rejected, codes::NAME_REFUSED);
        }
        error
    })
}

/// Opens what stands under `name`; `None` if nothing does.
async fn open_regular(place: &Place, name: &str) -> Result<Option<File>, AdapterError> {
    let (folder, name) = (place.folder.clone(), name.to_owned());
    blocking(move || match folder.open_file(&name) {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => match cause.raw_os_error().map(Errno::from_raw_os_error) {
            // A link, a socket: it stands there, and it is not the message.
            Some(Errno::LOOP | Errno::NXIO) => Err(exists_at(&folder, &name)),
            _ => Err(error::of_folder(&folder.path().join(&name), "open", &cause)),
        },
    })
    .await
}

/// Whether `file` holds the body, byte for byte.
async fn same_content(
    place: &Place,
    file: File,
    outbound: &Outbound,
) -> Result<bool, AdapterError> {
    let failed = |cause: io::Error| error::of_folder(place.folder.path(), "read in", &cause);
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.len() != outbound.message.body().content.len() {
        return Ok(false);
    }
    let mut body = outbound.body();
    let file = Arc::new(file);
    loop {
        let (pieces, last) = gather(&mut body).await?;
        let reader = file.clone();
        let same = blocking(move || same_bytes(&reader, &pieces))
            .await
            .map_err(failed)?;
        if !same || last {
            return Ok(same);
        }
    }
}

fn same_bytes(mut file: &File, pieces: &[Bytes]) -> io::Result<bool> {
    for piece in pieces {
        let mut found = vec![0; piece.len()];
        match file.read_exact(&mut found) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if found != piece[..] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The next pieces of a body, enough to be worth a write, and whether they are the last.
async fn gather(body: &mut Body) -> Result<(Vec<Bytes>, bool), AdapterError> {
    let (mut pieces, mut length) = (Vec::new(), 0);
    while length < WRITE_AT_ONCE {
        match body.next().await {
            Some(piece) => {
                let piece = piece?;
                length += piece.len();
                pieces.push(piece);
            }
            None => return Ok((pieces, true)),
        }
    }
    Ok((pieces, false))
}

fn sync(folder: &Folder) -> Result<(), AdapterError> {
    folder
        .sync()
        .map_err(|cause| error::of_folder(folder.path(), "make durable", &cause))
}

fn sent(place: &Place, name: &str) -> Sent {
    let path = place.folder.path().join(name);
    Sent {
        detail: Text::lossy(&path.to_string_lossy()),
        answer: None,
    }
}

fn exists(place: &Place, name: &str) -> AdapterError {
    exists_at(&place.folder, name)
}

fn exists_at(folder: &Folder, name: &str) -> AdapterError {
    let detail = format!(
        "{} exists and is not this message",
        folder.path().join(name).display()
    );
    AdapterError::new(ErrorKind::Rejected, codes::TARGET_EXISTS, detail)
}

fn test(settings: &SendSettings) -> Result<String, AdapterError> {
    let path = &settings.folder;
    if settings.create && !path.exists() {
        let there = path.ancestors().skip(1).find(|above| above.is_dir());
        let there = there.unwrap_or(std::path::Path::new("."));
        check_writable(there)?;
        return Ok(format!(
            "{} will be made at the first message",
            path.display()
        ));
    }
    let free = check_writable(path)?;
    Ok(format!(
        "{} can be written, {} MiB are free",
        path.display(),
        free >> 20
    ))
}

fn check_writable(path: &std::path::Path) -> Result<u64, AdapterError> {
    let checked = Folder::open(path).and_then(|folder| {
        folder.writable()?;
        folder.free_space()
    });
    checked.map_err(|cause| error::of_folder(path, "write to", &cause))
}
