//! Work that an orchestration has given to an outside program, which works on it under a lease.
//!
//! It is an exchange with a lease ([`NewExchange::lease`](crate::commit::NewExchange)): opened with the message that asks
//! the program, answered once, closed by the run. What it has beside other exchanges is a time until when the program
//! has it, which the program renews here, and a token that it shows, so that nobody else answers.
//!
//! A renewal is an update of one row: the run does not hear of it. It looks at its leases when it is claimed
//! ([`ClaimedRun::leases`](crate::runs::ClaimedRun)), at the latest when it believes that one is over. What is renewed is
//! not over, and what is over cannot be renewed: both by the store's clock.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use quayside_model::{ExchangeId, Part, Timestamp};

use crate::StoreError;

/// What programs say of the work that they have.
#[async_trait]
pub trait Works: Send + Sync {
    /// The program that has `ticket` works on it: its lease has its full length again, from now on. Until when.
    /// `None`: the lease is over or belongs to another attempt, or nobody waits for the work any more. Durable
    /// when it returns.
    async fn renew_work(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError>;

    /// Until when the program that has `ticket` has the work, as [`Works::renew_work`], but nothing changes.
    async fn work_until(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps the answer to the work of `ticket`, of whichever attempt, and wakes the run: the first one that comes
    /// counts, also when its lease is over. For [`TOLD`] after the run has taken it, a repeat of that answer
    /// is kept as well. Durable when it returns.
    async fn answer_work(
        &self,
        ticket: &Ticket,
        answer: &WorkAnswer,
    ) -> Result<WorkOutcome, StoreError>;
}

/// For how long a repeat of an answer is known after the run has taken it.
pub const TOLD: Duration = Duration::from_secs(900);

/// The lease of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLease {
    /// How long it is, from the commit and from each renewal.
    pub length: Duration,
    /// What a ticket has to show: random, and the same for all attempts of the exchange.
    pub token: [u8; 16],
    /// Which attempt has the lease from now on.
    pub attempt: u32,
}

/// A lease, as the run that has given it finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Until when the program has the work; `None`: it has answered.
    pub until: Option<Timestamp>,
    /// The token of all of its attempts.
    pub token: [u8; 16],
}

/// What a program shows. As a text: the exchange and the token in hexadecimal digits, and the attempt, with dots
/// between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The work.
    pub exchange: ExchangeId,
    /// The token of its lease.
    pub token: [u8; 16],
    /// The attempt.
    pub attempt: u32,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, token) = (self.exchange.to_bytes(), u128::from_be_bytes(self.token));
        let work = u128::from_be_bytes(work);
        write!(f, "{work:032x}.{token:032x}.{}", self.attempt)
    }
}

/// The text is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket")]
pub struct NotATicket;

impl FromStr for Ticket {
    type Err = NotATicket;

    fn from_str(text: &str) -> Result<Self, NotATicket> {
        let mut pieces = text.splitn(3, '.');
        let mut bytes = || {
            let piece = pieces.next().filter(|piece| piece.len() == 32)?;
            let small = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
            let number = piece
                .bytes()
                .all(small)
                .then(|| u128::from_str_radix(piece, 16));
            Some(number?.ok()?.to_be_bytes())
        };
        let (work, token) = (bytes(), bytes());
        let attempt = pieces.next().and_then(|piece| piece.parse().ok());
        let ticket = Self {
            exchange: ExchangeId::from_bytes(work.ok_or(NotATicket)?),
            token: token.ok_or(NotATicket)?,
            attempt: attempt.ok_or(NotATicket)?,
        };
        // One ticket has one text.
        (ticket.to_string() == text)
            .then_some(ticket)
            .ok_or(NotATicket)
    }
}

/// What a program has made of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkAnswer {
    /// As of a partner: from 400 on it has failed.
    pub status: u16,
    /// The result, or why it has failed, inline.
    pub body: Part,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkOutcome {
    /// It counts, or it repeats the one that does.
    Kept,
    /// Another answer counts, or nobody waits for one.
    Over,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_one_text() {
        let ticket = Ticket {
            exchange: ExchangeId::from_bytes([1; 16]),
            token: [0xfe; 16],
            attempt: 3,
        };
        let text = ticket.to_string();
        assert_eq!(text, format!("{}.{}.3", "01".repeat(16), "fe".repeat(16)));
        assert_eq!(text.parse(), Ok(ticket));
        for other in [
            "",
            "..",
            &text[1..],
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &text.replace(".3", ".03"),
            &text.replace(".3", ".+3"),
            &text.replace(".3", ".3.3"),
            &text.replace("01.", "+1."),
            &text.replace(".3", ".4294967296"),
        ] {
            assert_eq!(other.parse::<Ticket>(), Err(NotATicket), "{other}");
        }
    }
}
