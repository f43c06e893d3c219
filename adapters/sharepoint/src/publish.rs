//! Sending as a sequence of questions: stage, stamp, publish, and a look after every outcome that is not known.
//!
//! Pure: it says what to do next and is told what became of it. The document lies under a name of its own in the
//! staging folder until it is whole and has its columns; publishing is one move, which the farm does whole or not at
//! all. The id of the document survives the move, so a look at it tells what a lost answer would have told.

use quayside_adapter_api::{AdapterError, ErrorKind};

use crate::{codes, config::Overwrite, names::MAX_NUMBERED};

/// How often a step is made again within one attempt when its answer was lost.
const TRIES: u32 = 4;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Look who has the name with this number.
    LookAt(u32),
    /// Put the whole document into the staging folder.
    Stage,
    /// Set its columns.
    Stamp,
    /// Check in what the library keeps checked out until it has its columns.
    CheckIn,
    /// Give it the name with this number in its folder.
    Move(u32),
    /// Look where the staged document is by now.
    Find,
    /// Take the staged document away: the message is published already.
    Discard,
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Told {
    /// The name is free.
    Free,
    /// This message has it.
    Ours,
    /// Something else has it.
    Other,
    /// It is staged; `kept`: and checked out to this account by the library's rules.
    Staged { kept: bool },
    /// It is done.
    Done,
    /// The staged document was found.
    At(Place),
    /// It failed.
    Failed(Trouble, AdapterError),
}

/// Where a staged document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it was staged.
    Staging,
    /// Somewhere else, where only its publication can have brought it.
    Published,
    /// Nowhere.
    Gone,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The name is taken.
    Taken,
    /// It may be done, or it passes: the same step can be made again.
    Unknown,
    /// The farm said no, and would say it again.
    Lasting,
    /// The farm was not asked: surely nothing is done.
    NotAsked,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Do this.
    Do(Ask),
    /// It is published under the name with this number.
    Sent(u32),
    /// The attempt failed.
    Fail(AdapterError),
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Publish {
    overwrite: Overwrite,
    has_columns: bool,
    at: Ask,
    number: u32,
    tries: u32,
    /// How often the move to this name was begun.
    moves: u32,
    staged: bool,
    kept: bool,
    /// Why the last move failed.
    failed: Option<(Trouble, AdapterError)>,
    /// Whether a staged document may have come, or come late, besides the one that is published.
    stray: bool,
    /// Whether a move got no answer: it may be done late, whatever a look has shown since.
    blind: bool,
}

impl Publish {
    /// Begins. `in_doubt`: an earlier attempt may have published it.
    pub(crate) fn new(overwrite: Overwrite, has_columns: bool, in_doubt: bool) -> Self {
        Self {
            overwrite,
            has_columns,
            at: if in_doubt { Ask::LookAt(1) } else { Ask::Stage },
            number: 1,
            tries: 0,
            moves: 0,
            staged: false,
            kept: false,
            failed: None,
            stray: in_doubt,
            blind: false,
        }
    }

    /// What to do first.
    pub(crate) fn first(&self) -> Ask {
        self.at
    }

    /// Whether a document lies in the staging folder that a failed attempt should take away.
    pub(crate) fn is_staged(&self) -> bool {
        self.staged
    }

    /// Says what comes next.
    pub(crate) fn told(&mut self, told: Told) -> Next {
        match self.decide(told) {
            Next::Fail(error) => Next::Fail(self.end(error)),
            next => next,
        }
    }

    /// The error that the attempt ends with, now that it cannot go on for this one.
    pub(crate) fn end(&self, error: AdapterError) -> AdapterError {
        if self.blind { error.doubtful() } else { error }
    }

    fn decide(&mut self, told: Told) -> Next {
        match (self.at, told) {
            (Ask::LookAt(number), told) => self.looked(number, told),
            (Ask::Stage, Told::Staged { kept }) => {
                (self.staged, self.kept) = (true, kept);
                if self.has_columns {
                    self.go(Ask::Stamp)
                } else {
                    self.stamped()
                }
            }
            (Ask::Stamp, Told::Done) => self.stamped(),
            (Ask::CheckIn, Told::Done) => self.publish(),
            (Ask::Move(_), Told::Done) => self.sent(),
            (Ask::Move(_), Told::Failed(Trouble::NotAsked, error)) => Next::Fail(error),
            (Ask::Move(_), Told::Failed(trouble, error)) => {
                self.blind |= trouble == Trouble::Unknown;
                self.failed = Some((trouble, error));
                self.go(Ask::Find)
            }
            (Ask::Find, told) => self.found(told),
            // What is left there is taken away by nobody, but nobody reads it either.
            (Ask::Discard, _) => Next::Sent(self.number),
            (ask, Told::Failed(Trouble::Unknown, error)) => {
                self.stray |= ask == Ask::Stage;
                self.again(ask, error)
            }
            (_, Told::Failed(_, error)) => Next::Fail(error),
            (ask, told) => Next::Fail(confused(ask, &told)),
        }
    }

    /// It is published. What a call left that got no answer is taken away.
    fn sent(&mut self) -> Next {
        if self.stray {
            self.go(Ask::Discard)
        } else {
            Next::Sent(self.number)
        }
    }

    fn go(&mut self, ask: Ask) -> Next {
        if ask != self.at {
            self.tries = 0;
        }
        self.at = ask;
        Next::Do(ask)
    }

    /// The same step once more, if there were not too many.
    fn again(&mut self, ask: Ask, error: AdapterError) -> Next {
        self.tries += 1;
        if self.tries >= TRIES {
            return Next::Fail(error);
        }
        self.at = ask;
        Next::Do(ask)
    }

    fn stamped(&mut self) -> Next {
        if self.kept {
            self.go(Ask::CheckIn)
        } else {
            self.publish()
        }
    }

    /// Moves the document, if that was not tried too often under this name.
    fn publish(&mut self) -> Next {
        self.moves += 1;
        match self.failed.take() {
            Some((_, error)) if self.moves > TRIES => Next::Fail(error),
            _ => self.go(Ask::Move(self.number)),
        }
    }

    fn looked(&mut self, number: u32, told: Told) -> Next {
        match told {
            Told::Ours => {
                self.number = number;
                if self.staged {
                    self.go(Ask::Discard)
                } else {
                    Next::Sent(number)
                }
            }
            Told::Free => self.take(number),
            Told::Other => match self.overwrite {
                Overwrite::Yes => self.take(number),
                Overwrite::Rename if number < MAX_NUMBERED => {
                    (self.number, self.moves) = (number + 1, 0);
                    // A name that an earlier attempt may have chosen is looked at before it is chosen.
                    self.go(Ask::LookAt(number + 1))
                }
                _ => {
                    let farm = self.failed.take();
                    let farm =
                        farm.map_or(String::new(), |(_, error)| format!("; {}", error.detail));
                    let detail =
                        format!("a document of this name exists and is not this message{farm}");
                    Next::Fail(AdapterError::new(
                        ErrorKind::Rejected,
                        codes::TARGET_EXISTS,
                        detail,
                    ))
                }
            },
            Told::Failed(Trouble::Unknown, error) => self.again(Ask::LookAt(number), error),
            Told::Failed(_, error) => Next::Fail(error),
            told => Next::Fail(confused(self.at, &told)),
        }
    }

    /// Goes on with a name that is free, or that may be replaced.
    fn take(&mut self, number: u32) -> Next {
        self.number = number;
        if self.staged {
            self.publish()
        } else {
            self.go(Ask::Stage)
        }
    }

    /// What a look at the staged document says of a move that failed.
    fn found(&mut self, told: Told) -> Next {
        let trouble = self.failed.as_ref().map(|(trouble, _)| *trouble);
        match told {
            Told::At(Place::Published) => self.sent(),
            Told::At(Place::Staging) if trouble == Some(Trouble::Taken) => {
                self.go(Ask::LookAt(self.number))
            }
            Told::At(Place::Staging) if trouble == Some(Trouble::Unknown) => self.publish(),
            Told::At(Place::Staging) => Next::Fail(self.why()),
            // Published and taken away by a reader, or cleaned away: nobody can tell, so it is said to be in doubt.
            Told::At(Place::Gone) => Next::Fail(self.why().doubtful()),
            Told::Failed(Trouble::Unknown, error) => match self.again(Ask::Find, error) {
                Next::Fail(error) => Next::Fail(error.doubtful()),
                next => next,
            },
            Told::Failed(_, error) => Next::Fail(error.doubtful()),
            told => Next::Fail(confused(self.at, &told).doubtful()),
        }
    }

    /// Why the last move failed.
    fn why(&mut self) -> AdapterError {
        let lost = || {
            let kind = ErrorKind::Retry(None);
            AdapterError::new(kind, codes::OUTCOME_UNKNOWN, "publishing the document")
        };
        self.failed.take().map_or_else(lost, |(_, error)| error)
    }
}

fn confused(ask: Ask, told: &Told) -> AdapterError {
    let detail = format!("{ask:?} cannot end with {told:?}");
    AdapterError::new(ErrorKind::Retry(None), codes::BAD_ANSWER, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind) -> AdapterError {
        AdapterError::new(kind, codes::FARM_BUSY, "no")
    }

    fn lost() -> Told {
        Told::Failed(Trouble::Unknown, error(ErrorKind::Retry(None)))
    }

    fn taken() -> Told {
        Told::Failed(Trouble::Taken, error(ErrorKind::Rejected))
    }

    fn staged() -> Told {
        Told::Staged { kept: false }
    }

    /// Tells all of it and gives what was asked, and the end in words.
    fn run(mut publish: Publish, told: Vec<Told>) -> (Vec<Ask>, String) {
        let mut asked = vec![publish.first()];
        for told in told {
            match publish.told(told) {
                Next::Do(ask) => asked.push(ask),
                Next::Sent(number) => return (asked, format!("sent {number}")),
                Next::Fail(error) => {
                    let doubt = if error.in_doubt { " in doubt" } else { "" };
                    return (asked, format!("{:?}{doubt}", error.kind));
                }
            }
        }
        (asked, "open".to_owned())
    }

    fn new(overwrite: Overwrite, in_doubt: bool) -> Publish {
        Publish::new(overwrite, true, in_doubt)
    }

    #[test]
    fn it_is_staged_stamped_and_published() {
        let told = vec![staged(), Told::Done, Told::Done];
        let (asked, end) = run(new(Overwrite::No, false), told);
        assert_eq!(asked, [Ask::Stage, Ask::Stamp, Ask::Move(1)]);
        assert_eq!(end, "sent 1");
        let told = vec![
            Told::Staged { kept: true },
            Told::Done,
            Told::Done,
            Told::Done,
        ];
        let (asked, end) = run(new(Overwrite::No, false), told);
        assert_eq!(asked, [Ask::Stage, Ask::Stamp, Ask::CheckIn, Ask::Move(1)]);
        assert_eq!(end, "sent 1");
        let plain = Publish::new(Overwrite::No, false, false);
        let (asked, _) = run(plain, vec![staged(), Told::Done]);
        assert_eq!(asked, [Ask::Stage, Ask::Move(1)]);
    }

    #[test]
    fn a_lost_answer_of_the_move_is_followed_by_a_look() {
        let so_far = || vec![staged(), Told::Done, lost()];
        for (place, end, more) in [
            (Place::Published, "sent 1", None),
            (Place::Staging, "open", Some(Ask::Move(1))),
            (Place::Gone, "Retry(None) in doubt", None),
        ] {
            let mut told = so_far();
            told.push(Told::At(place));
            let (asked, found) = run(new(Overwrite::No, false), told);
            assert_eq!(found, end);
            assert_eq!(asked[2..4], [Ask::Move(1), Ask::Find]);
            assert_eq!(asked.get(4).copied(), more);
        }
        let mut told = so_far();
        told.extend((0..TRIES).map(|_| lost()));
        let (_, end) = run(new(Overwrite::No, false), told);
        assert_eq!(end, "Retry(None) in doubt", "nobody answers the look");
    }

    #[test]
    fn a_move_that_never_gets_through_ends_in_doubt() {
        let mut told = vec![staged(), Told::Done];
        for _ in 0..TRIES {
            told.extend([lost(), Told::At(Place::Staging)]);
        }
        let (asked, end) = run(new(Overwrite::No, false), told);
        let moves = asked.iter().filter(|ask| **ask == Ask::Move(1)).count();
        // Each of them may be done late.
        let want = (TRIES as usize, "Retry(None) in doubt");
        assert_eq!((moves, end.as_str()), want);
        let told = vec![staged(), Told::Done, lost(), Told::At(Place::Staging)];
        let mut told = told;
        told.push(taken());
        told.extend([Told::At(Place::Staging), Told::Other]);
        assert_eq!(run(new(Overwrite::No, false), told).1, "Rejected in doubt");
    }

    #[test]
    fn steps_before_the_move_are_made_again_when_their_answer_is_lost() {
        let done = || Told::Done;
        let told = vec![lost(), staged(), lost(), done(), done(), done()];
        let (asked, end) = run(new(Overwrite::No, false), told);
        // The first one may have been done after the second one, and the move.
        let (stage, stamp) = (Ask::Stage, Ask::Stamp);
        let want = [stage, stage, stamp, stamp, Ask::Move(1), Ask::Discard];
        assert_eq!(asked, want);
        assert_eq!(end, "sent 1");
        let told = (0..TRIES).map(|_| lost()).collect();
        assert_eq!(run(new(Overwrite::No, false), told).1, "Retry(None)");
    }

    #[test]
    fn a_farm_that_cannot_be_reached_leaves_nothing_in_doubt() {
        let away = || Told::Failed(Trouble::NotAsked, error(ErrorKind::Retry(None)));
        for told in [
            vec![away()],
            vec![staged(), away()],
            vec![staged(), Told::Done, away()],
        ] {
            assert_eq!(run(new(Overwrite::No, false), told).1, "Retry(None)");
        }
        let told = vec![staged(), Told::Done, lost(), away()];
        let (_, end) = run(new(Overwrite::No, false), told);
        assert_eq!(end, "Retry(None) in doubt", "the move may be done");
    }

    #[test]
    fn a_taken_name_is_looked_at() {
        let so_far = || vec![staged(), Told::Done, taken(), Told::At(Place::Staging)];
        let mut told = so_far();
        told.extend([Told::Ours, Told::Done]);
        let (asked, end) = run(new(Overwrite::No, false), told);
        assert_eq!(
            asked[2..],
            [Ask::Move(1), Ask::Find, Ask::LookAt(1), Ask::Discard]
        );
        assert_eq!(end, "sent 1");
        let mut told = so_far();
        told.push(Told::Other);
        assert_eq!(run(new(Overwrite::No, false), told).1, "Rejected");
        let mut told = so_far();
        told.extend([Told::Other, Told::Free, Told::Done]);
        let (asked, end) = run(new(Overwrite::Rename, false), told);
        assert_eq!(asked[4..], [Ask::LookAt(1), Ask::LookAt(2), Ask::Move(2)]);
        assert_eq!(end, "sent 2");
        // A folder has the name: a look at documents finds nothing there.
        let mut told = so_far();
        for _ in 0..TRIES {
            told.extend([Told::Free, taken(), Told::At(Place::Staging)]);
        }
        assert_eq!(run(new(Overwrite::No, false), told).1, "Rejected");
    }

    #[test]
    fn an_attempt_after_one_in_doubt_looks_first() {
        let (asked, end) = run(new(Overwrite::No, true), vec![Told::Ours]);
        assert_eq!((asked, end.as_str()), (vec![Ask::LookAt(1)], "sent 1"));
        let told = vec![Told::Other, Told::Ours];
        let (_, end) = run(new(Overwrite::Rename, true), told);
        assert_eq!(end, "sent 2");
        for (overwrite, next) in [(Overwrite::No, "Rejected"), (Overwrite::Yes, "open")] {
            assert_eq!(run(new(overwrite, true), vec![Told::Other]).1, next);
        }
        let (asked, _) = run(new(Overwrite::No, true), vec![Told::Free]);
        assert_eq!(asked, [Ask::LookAt(1), Ask::Stage]);
    }

    #[test]
    fn a_late_owner_takes_nothing_back() {
        // Its successor has published the same document, so the move of the same id finds it elsewhere.
        let told = vec![staged(), Told::Done, taken(), Told::At(Place::Published)];
        assert_eq!(run(new(Overwrite::Rename, false), told).1, "sent 1");
    }
}
