//! Stages that bytes go through one after the other, a piece at a time.

use crate::{Invalid, codes};

/// How much comes out of a stage at a time, in bytes. One call may give up to 264 KiB more: what 256 bytes of
/// gzip become at most.
pub(crate) const PIECE: usize = 64 * 1024;

/// One stage at work.
pub(crate) trait Stage: std::fmt::Debug + Send {
    /// Takes bytes from the front of `bytes` and adds what they become to `out`, until all are taken or about
    /// [`PIECE`] bytes were added.
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid>;

    /// Ends the body, and adds what was held back.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid>;
}

/// Takes one body through its stages.
#[derive(Debug)]
pub(crate) struct Chain {
    /// How many bytes a body may have after each stage.
    limit: u64,
    /// Whether the first stage is one that comes before those that have numbers.
    has_front: bool,
    stages: Vec<Link>,
    /// How many stages were told that the body has ended.
    ended: usize,
}

/// A stage with what waits for it.
#[derive(Debug)]
struct Link {
    stage: Box<dyn Stage>,
    waiting: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// How many bytes went in and came out.
    before: u64,
    after: u64,
}

impl Chain {
    /// Takes a body through `stages`; after each it has `limit` bytes at most.
    pub(crate) fn new(stages: impl Iterator<Item = Box<dyn Stage>>, limit: u64) -> Self {
        Self::behind(None, stages, limit)
    }

    /// The same behind `front`, which has no number.
    pub(crate) fn behind(
        front: Option<Box<dyn Stage>>,
        stages: impl Iterator<Item = Box<dyn Stage>>,
        limit: u64,
    ) -> Self {
        let has_front = front.is_some();
        let stages = front.into_iter().chain(stages).map(|stage| Link {
            stage,
            waiting: Vec::new(),
            taken: 0,
            before: 0,
            after: 0,
        });
        Self {
            limit,
            has_front,
            stages: stages.collect(),
            ended: 0,
        }
    }

    /// Takes bytes from the front of `bytes` and adds about 64 KiB of what they become to `out`, or less.
    /// Whether it is to be called again, with the rest of `bytes`, before more bytes come.
    pub(crate) fn pull(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Invalid> {
        if self.stages.is_empty() {
            out.extend_from_slice(bytes);
            *bytes = &[];
            return Ok(false);
        }
        let had = out.len();
        loop {
            let busy = self
                .stages
                .iter()
                .rposition(|link| !link.waiting.is_empty());
            if busy.is_none() && bytes.is_empty() {
                return Ok(false);
            }
            self.step(busy, bytes, out)?;
            if out.len() - had >= PIECE {
                return Ok(true);
            }
        }
    }

    /// Ends the body, and adds to `out` as [`Chain::pull`] does. Whether it is to be called again.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool, Invalid> {
        if self.pull(&mut &[][..], out)? {
            return Ok(true);
        }
        let (no, has_front) = (self.ended, self.has_front);
        let Some((link, rest)) = self
            .stages
            .get_mut(no..)
            .and_then(<[Link]>::split_first_mut)
        else {
            return Ok(false);
        };
        self.ended += 1;
        let target = rest.first_mut().map_or(out, |next| &mut next.waiting);
        let had = target.len();
        link.stage
            .finish(target)
            .map_err(|invalid| named(no, has_front, invalid))?;
        link.after += (target.len() - had) as u64;
        link.check(self.limit)
            .map_err(|invalid| named(no, has_front, invalid))?;
        Ok(true)
    }

    /// Lets the stage `busy`, or the first one with the bytes that come, work.
    fn step(
        &mut self,
        busy: Option<usize>,
        bytes: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Invalid> {
        let (no, has_front) = (busy.unwrap_or(0), self.has_front);
        let (link, rest) = self.stages[no..]
            .split_first_mut()
            .expect("one of the stages");
        let target = rest.first_mut().map_or(out, |next| &mut next.waiting);
        let had = target.len();
        let pushed = if busy.is_some() {
            let mut input = &link.waiting[link.taken..];
            let pushed = link.stage.push(&mut input, target);
            let left = input.len();
            link.before += (link.waiting.len() - link.taken - left) as u64;
            link.taken = link.waiting.len() - left;
            if left == 0 {
                link.waiting.clear();
                link.taken = 0;
            }
            pushed
        } else {
            let length = bytes.len();
            let pushed = link.stage.push(bytes, target);
            link.before += (length - bytes.len()) as u64;
            pushed
        };
        link.after += (target.len() - had) as u64;
        pushed
            .and_then(|()| link.check(self.limit))
            .map_err(|invalid| named(no, has_front, invalid))
    }
}

impl Link {
    fn check(&self, limit: u64) -> Result<(), Invalid> {
        if self.after <= limit {
            return Ok(());
        }
        let detail = format!("the body has more than {limit} bytes behind it");
        Err(Invalid::new(codes::EXPANSION, self.before, detail))
    }
}

/// A fault of the stage with this number, from 0; its offset is one in what that stage got.
fn named(no: usize, has_front: bool, mut invalid: Invalid) -> Invalid {
    let number = no + usize::from(!has_front);
    if number > 0 {
        invalid.detail = format!("stage {number}: {}", invalid.detail);
    }
    invalid
}
