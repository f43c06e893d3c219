//! Whether a queue is as it should be, and making it.
//!
//! AMQP has no question for the arguments of a queue. A declaration that differs is refused with the first
//! difference and changes nothing, so the difference is noted, taken over, and the declaration repeated
//! until the broker agrees.

use lapin::options::QueueDeclareOptions;
use quayside_adapter_api::AdapterError;

use super::{PRECONDITION_FAILED, Session, failed, leave, name, reply, within};
use crate::{
    declare::{Argument, Arguments, Difference, Wanted, read_refusal, table},
    error,
};

/// More differences than a queue can have.
const MOST: usize = 40;

/// How a queue stands to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is not there.
    Missing,
    /// It is as it should be.
    Equal,
    /// It differs.
    Different(Vec<Difference>),
    /// It differs, and the broker says no more than this.
    Unread(String),
}

/// A declaration of a queue.
#[derive(Debug, Clone)]
struct Declaration {
    durable: bool,
    auto_delete: bool,
    arguments: Arguments,
}

impl Session {
    /// How the queue stands to what is wanted. Changes nothing.
    ///
    /// # Errors
    /// That the broker does not say it; a user that may not configure the queue is refused.
    pub async fn compare(&self, wanted: &Wanted) -> Result<Standing, AdapterError> {
        if self.look(&wanted.name).await?.is_none() {
            return Ok(Standing::Missing);
        }
        let mut asked = Declaration::of(wanted);
        let mut differences: Vec<Difference> = Vec::new();
        for _ in 0..MOST {
            // Should the queue be deleted in this moment, it is made as it was.
            let Some(refusal) = self.declare(&wanted.name, &asked).await? else {
                // Of another type it can hardly be the same in anything else.
                differences.sort_by_key(|known| known.argument != "x-queue-type");
                return Ok(match differences.is_empty() {
                    true => Standing::Equal,
                    false => Standing::Different(differences),
                });
            };
            let Some((argument, there)) = read_refusal(&refusal) else {
                return Ok(Standing::Unread(refusal));
            };
            if differences.iter().any(|known| known.argument == argument) {
                return Ok(Standing::Unread(refusal));
            }
            differences.push(Difference {
                wanted: asked.value(&argument),
                there: there.clone(),
                argument: argument.clone(),
            });
            asked.take_over(argument, there);
        }
        Ok(Standing::Different(differences))
    }

    /// Makes the queue.
    ///
    /// # Errors
    /// That the broker refuses it, with its words.
    pub async fn create(&self, wanted: &Wanted) -> Result<(), AdapterError> {
        let asked = Declaration::of(wanted);
        match self.declare(&wanted.name, &asked).await? {
            None => Ok(()),
            Some(refusal) => {
                let detail = format!("making `{}`: {refusal}", wanted.name);
                let kind = quayside_adapter_api::ErrorKind::Config;
                Err(AdapterError::new(kind, crate::codes::DIFFERS, detail))
            }
        }
    }

    /// The arguments of `queue`, guessed as `guess` at first. `None` if the broker does not tell them.
    pub(super) async fn arguments(
        &self,
        queue: &str,
        guess: Option<&Wanted>,
    ) -> Result<Option<Arguments>, AdapterError> {
        let blank = Wanted {
            name: queue.to_owned(),
            kind: crate::declare::Kind::Admin,
            arguments: Arguments::new(),
        };
        let guess = guess.unwrap_or(&blank);
        let mut asked = Declaration::of(guess);
        match self.compare(guess).await? {
            Standing::Equal => {}
            Standing::Different(differences) => {
                for difference in differences {
                    asked.take_over(difference.argument, difference.there);
                }
            }
            Standing::Missing | Standing::Unread(_) => return Ok(None),
        }
        Ok(Some(asked.arguments))
    }

    /// Declares a queue; the words of a refusal, if it is one.
    async fn declare(
        &self,
        queue: &str,
        asked: &Declaration,
    ) -> Result<Option<String>, AdapterError> {
        let options = QueueDeclareOptions {
            durable: asked.durable,
            auto_delete: asked.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let channel = self.channel().await?;
        let declaring = channel.queue_declare(name(queue)?, options, table(&asked.arguments));
        match within("declaring the queue", declaring).await? {
            Ok(_) => {
                leave(channel).await;
                Ok(None)
            }
            Err(error) if reply(&error) == Some(PRECONDITION_FAILED) => {
                Ok(Some(error::words(&error)))
            }
            Err(error) => Err(failed(&format!("declaring `{queue}`"), &error)),
        }
    }
}

impl Declaration {
    fn of(wanted: &Wanted) -> Self {
        Self {
            durable: true,
            auto_delete: false,
            arguments: wanted.arguments.clone(),
        }
    }

    fn value(&self, argument: &str) -> Option<Argument> {
        match argument {
            "durable" => Some(Argument::Flag(self.durable)),
            "auto_delete" => Some(Argument::Flag(self.auto_delete)),
            argument => self.arguments.get(argument).cloned(),
        }
    }

    fn take_over(&mut self, argument: String, there: Option<Argument>) {
        match (argument.as_str(), there) {
            ("durable", there) => self.durable = there == Some(Argument::Flag(true)),
            ("auto_delete", there) => self.auto_delete = there == Some(Argument::Flag(true)),
            (_, Some(there)) => {
                self.arguments.insert(argument, there);
            }
            (_, None) => {
                self.arguments.remove(&argument);
            }
        }
    }
}
