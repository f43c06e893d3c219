//! What the broker sends, made fit for the protocol library: pure.
//!
//! A broker passes properties on as their sender wrote them. The library gives a connection up over a short text
//! that is no UTF-8, and overflows its stack over tables within tables: one message of any sender would keep a
//! location from all that stands behind it, or end the process, each time it is delivered. So what the library
//! could not read is rewritten before it sees it; everything else passes as it is.

use std::fmt::Write as _;

use bytes::{Buf as _, BytesMut};
use sha2::{Digest as _, Sha256};

/// How deep tables and lists may stand within each other; what is deeper is left out. The broker's own
/// go two deep.
const MAX_DEPTH: usize = 32;

/// The longest short text, in bytes.
const MAX_SHORT: usize = 255;

/// The longest frame that every peer takes, in bytes: what holds until the broker names its own.
const MIN_FRAME: usize = 4096;

/// What is longer is no frame that is looked into. No broker puts so much into one that holds no body.
const MAX_LOOK: usize = 4 << 20;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
/// The first letter of the answer of a peer that speaks another version.
const PROTOCOL: u8 = b'A';

/// Type, channel and length of a frame.
const HEAD: usize = 7;

/// Class and method.
const TUNE: (u16, u16) = (10, 30);
const DELIVER: (u16, u16) = (60, 60);
const GET_OK: (u16, u16) = (60, 71);

/// Lets frames through, in their order.
#[derive(Debug)]
pub(crate) struct Sieve {
    /// The beginning of a frame whose rest has not come.
    held: BytesMut,
    /// How many bytes of the frame that is under way pass unseen.
    passing: usize,
    ready: BytesMut,
    /// The longest frame that the library takes.
    frame_max: usize,
    rewritten: u64,
    scratch: Vec<u8>,
}

impl Sieve {
    pub(crate) fn new() -> Self {
        Self {
            held: BytesMut::new(),
            passing: 0,
            ready: BytesMut::new(),
            frame_max: MIN_FRAME,
            rewritten: 0,
            scratch: Vec::new(),
        }
    }

    /// What may be read now. Whoever reads it advances it.
    pub(crate) fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }

    /// How many frames had to be rewritten.
    pub(crate) fn rewritten(&self) -> u64 {
        self.rewritten
    }

    /// Takes what came over the connection.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (pass, rest) = bytes.split_at(bytes.len().min(self.passing));
                self.ready.extend_from_slice(pass);
                self.passing -= pass.len();
                bytes = rest;
                continue;
            }
            let wanted = match self.held.get(..HEAD) {
                Some(head) => HEAD + length(head) + 1,
                None => HEAD,
            };
            let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.held.len()));
            self.held.extend_from_slice(more);
            bytes = rest;
            if self.held.len() == wanted {
                self.look();
            }
        }
    }

    /// Looks at what is held: the head of a frame, or all of one.
    fn look(&mut self) {
        let (kind, length) = (self.held[0], length(&self.held));
        let is_looked_into = (kind == METHOD || kind == HEADER) && length <= MAX_LOOK;
        if !is_looked_into {
            self.passing = match kind {
                PROTOCOL => usize::MAX,
                _ => length + 1,
            };
        } else if self.held.len() == HEAD {
            return;
        } else {
            self.rewrite(kind);
        }
        self.ready.extend_from_slice(&self.held);
        self.held.clear();
    }

    /// Rewrites the frame that is held, if need be.
    fn rewrite(&mut self, kind: u8) {
        let payload = &self.held[HEAD..self.held.len() - 1];
        let scratch = &mut self.scratch;
        // What is copied has to fit with what the copy tells beside.
        let most = self.frame_max - self.frame_max / 8;
        let is_other = match (kind, method(payload)) {
            (HEADER, _) => Copying::of(payload, scratch, |copy| copy.header(most)),
            (_, Some(DELIVER)) => Copying::of(payload, scratch, Copying::deliver),
            (_, Some(GET_OK)) => Copying::of(payload, scratch, Copying::get_ok),
            (_, Some(TUNE)) => {
                self.frame_max = frame_max(payload).unwrap_or(MIN_FRAME);
                false
            }
            _ => false,
        };
        if !is_other {
            return;
        }
        let Ok(length) = u32::try_from(scratch.len()) else {
            return;
        };
        let end = self.held[self.held.len() - 1];
        self.held.truncate(HEAD);
        self.held[3..].copy_from_slice(&length.to_be_bytes());
        self.held.extend_from_slice(scratch);
        self.held.extend_from_slice(&[end]);
        self.rewritten += 1;
    }
}

/// The length of the payload of a frame with this head.
fn length(head: &[u8]) -> usize {
    (&head[3..HEAD]).get_u32() as usize
}

/// Which method a payload is.
fn method(mut payload: &[u8]) -> Option<(u16, u16)> {
    Some((payload.try_get_u16().ok()?, payload.try_get_u16().ok()?))
}

/// The longest frame that the broker names; 0 stands for any.
fn frame_max(mut tune: &[u8]) -> Option<usize> {
    let _class_method_channels = tune.split_off(..6)?;
    match tune.try_get_u32().ok()? {
        0 => Some(usize::MAX),
        bytes => Some((bytes as usize).max(MIN_FRAME)),
    }
}

/// The copy of a payload without what the library cannot read. What is not understood comes to `None`, and is left
/// to the library: no broker sends it.
struct Copying<'a> {
    rest: &'a [u8],
    out: &'a mut Vec<u8>,
    /// How long it may become by a header of the message: what goes beyond is left out.
    most: usize,
    /// Whether it differs.
    is_other: bool,
}

impl<'a> Copying<'a> {
    /// Whether the copy of `payload` in `out` is to take its place.
    fn of(
        payload: &'a [u8],
        out: &'a mut Vec<u8>,
        write: impl FnOnce(&mut Self) -> Option<()>,
    ) -> bool {
        out.clear();
        let mut copy = Self {
            rest: payload,
            out,
            most: usize::MAX,
            is_other: false,
        };
        write(&mut copy).is_some() && copy.is_other
    }

    /// The header of a message, with as many headers of its own as fit into `most` bytes. The texts beside them fit into
    /// any frame.
    fn header(&mut self, most: usize) -> Option<()> {
        // Class, weight and length of the body.
        self.bytes(12)?;
        let mut flags = self.rest;
        let flags = flags.try_get_u16().ok()?;
        self.bytes(2)?;
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => {
                    let mut length = self.rest;
                    let length = length.try_get_u32().ok()? as usize;
                    let behind = self.rest.len().checked_sub(4 + length)?;
                    // A text may double its length.
                    self.most = most.saturating_sub(2 * behind);
                    self.table(MAX_DEPTH)?;
                    self.most = usize::MAX;
                }
                12 | 11 => self.bytes(1)?,
                6 => self.bytes(8)?,
                _ => self.short()?,
            }
        }
        self.end()
    }

    fn deliver(&mut self) -> Option<()> {
        self.bytes(4)?;
        self.short()?;
        // Its number, and whether it was delivered before.
        self.bytes(9)?;
        self.short()?;
        self.short()?;
        self.end()
    }

    fn get_ok(&mut self) -> Option<()> {
        self.bytes(4 + 9)?;
        self.short()?;
        self.short()?;
        self.bytes(4)?;
        self.end()
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.rest.split_off(..count)
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        let bytes = self.take(count)?;
        self.out.extend_from_slice(bytes);
        Some(())
    }

    fn short(&mut self) -> Option<()> {
        let length = self.take(1)?[0];
        let bytes = self.take(length.into())?;
        let text;
        let bytes = match std::str::from_utf8(bytes) {
            Ok(_) => bytes,
            Err(_) => {
                self.is_other = true;
                text = readable(bytes);
                text.as_bytes()
            }
        };
        self.out.push(u8::try_from(bytes.len()).ok()?);
        self.out.extend_from_slice(bytes);
        Some(())
    }

    /// A table, with what stands in it if it may be so `deep`.
    fn table(&mut self, deep: usize) -> Option<()> {
        self.inside(deep, |copy| {
            copy.short()?;
            copy.value(deep - 1)
        })
    }

    fn list(&mut self, deep: usize) -> Option<()> {
        self.inside(deep, |copy| copy.value(deep - 1))
    }

    fn inside(&mut self, deep: usize, one: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        let length = self.take(4)?.get_u32() as usize;
        let inside = self.take(length)?;
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        if deep == 0 {
            self.is_other |= length > 0;
            return Some(());
        }
        let behind = std::mem::replace(&mut self.rest, inside);
        while !self.rest.is_empty() {
            let before = self.out.len();
            one(self)?;
            if self.out.len() > self.most {
                self.out.truncate(before);
                self.is_other = true;
            }
        }
        self.rest = behind;
        let length = u32::try_from(self.out.len() - at - 4).ok()?;
        self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn value(&mut self, deep: usize) -> Option<()> {
        let kind = *self.rest.first()?;
        self.bytes(1)?;
        match kind {
            b'F' => self.table(deep),
            b'A' => self.list(deep),
            b'S' | b'x' => {
                let mut length = self.rest;
                let length = length.try_get_u32().ok()? as usize;
                self.bytes(4 + length)
            }
            b'V' => Some(()),
            b't' | b'b' | b'B' => self.bytes(1),
            b's' | b'U' | b'u' => self.bytes(2),
            b'I' | b'i' | b'f' => self.bytes(4),
            b'D' => self.bytes(5),
            b'L' | b'l' | b'd' | b'T' => self.bytes(8),
            _ => None,
        }
    }
}

/// Another spelling of a text that is no UTF-8: as Latin-1, and two that differ stay apart as they may be ids.
fn readable(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().copied().map(char::from).collect();
    if text.len() <= MAX_SHORT {
        return text;
    }
    let digest = Sha256::digest(bytes);
    let mut end = MAX_SHORT - 33;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push('#');
    for byte in &digest[..16] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a length");
        let head = [&[kind, 0, 1][..], &length.to_be_bytes()].concat();
        [&head, payload, &[0xce]].concat()
    }

    fn short(bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("a length");
        [&[length], bytes].concat()
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("a length");
        [&length.to_be_bytes(), bytes].concat()
    }

    /// The header of a message with this id and these headers.
    fn header(id: &[u8], headers: &[u8]) -> Vec<u8> {
        let head = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        // Content type, headers, delivery mode, id, timestamp and type.
        let flags = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5;
        let parts = [
            &head[..],
            &u16::to_be_bytes(flags),
            &short(b"text/plain"),
            &long(headers),
            &[2],
            &short(id),
            &7_u64.to_be_bytes(),
            &short("größe".as_bytes()),
        ];
        frame(HEADER, &parts.concat())
    }

    fn deliver(routing_key: &[u8]) -> Vec<u8> {
        let parts = [
            &[0, 60, 0, 60][..],
            &short(b"tag"),
            &[0; 9],
            &short(b""),
            &short(routing_key),
        ];
        frame(METHOD, &parts.concat())
    }

    fn tune(frame_max: u32) -> Vec<u8> {
        let parts = [
            &[0, 10, 0, 30, 7, 255][..],
            &frame_max.to_be_bytes(),
            &[0, 60],
        ];
        frame(METHOD, &parts.concat())
    }

    fn sieved(frames: &[&[u8]]) -> (Vec<u8>, u64) {
        let mut sieve = Sieve::new();
        frames.iter().for_each(|frame| sieve.push(frame));
        (sieve.ready().to_vec(), sieve.rewritten())
    }

    /// One header of every type.
    fn every_type() -> Vec<u8> {
        let values: [(u8, &[u8]); 18] = [
            (b't', &[1]),
            (b'b', &[255]),
            (b'B', &[255]),
            (b's', &[0; 2]),
            (b'U', &[0; 2]),
            (b'u', &[0; 2]),
            (b'I', &[0; 4]),
            (b'i', &[0; 4]),
            (b'L', &[0; 8]),
            (b'l', &[0; 8]),
            (b'f', &[0; 4]),
            (b'd', &[0; 8]),
            (b'D', &[0; 5]),
            (b'S', &[0, 0, 0, 2, 0xff, 0xfe]),
            (b'x', &[0, 0, 0, 2, 0xff, 0xfe]),
            (b'T', &[0; 8]),
            (b'V', &[]),
            (b'A', &[0, 0, 0, 2, b't', 0]),
        ];
        let one = |(kind, value): &(u8, &[u8])| [&short(b"k"), &[*kind][..], value].concat();
        values.iter().map(one).collect::<Vec<_>>().concat()
    }

    fn nested(kind: u8, depth: usize) -> Vec<u8> {
        let mut inside = Vec::new();
        for _ in 1..depth {
            let name = if kind == b'F' {
                short(b"k")
            } else {
                Vec::new()
            };
            inside = [name, vec![kind], long(&inside)].concat();
        }
        match kind {
            b'F' => inside,
            _ => [short(b"k"), inside].concat(),
        }
    }

    #[test]
    fn what_the_library_can_read_passes_as_it_is() {
        let body = frame(3, &[0xff; 300]);
        let frames: [&[u8]; 7] = [
            &tune(131_072),
            &deliver("schlüssel".as_bytes()),
            &header("größe".as_bytes(), &every_type()),
            &body,
            &header(b"", &nested(b'F', MAX_DEPTH)),
            &header(b"", &nested(b'A', MAX_DEPTH)),
            &frame(8, &[]),
        ];
        assert_eq!(sieved(&frames), (frames.concat(), 0));
    }

    #[test]
    fn texts_that_are_no_utf_8_are_read_as_latin_1() {
        let name = [&short(b"gr\xf6\xdfe"), &[b'V'][..]].concat();
        let found = sieved(&[&header(b"\xfc", &name), &deliver(b"\xfc\xff")]);
        let name = [&short("größe".as_bytes()), &[b'V'][..]].concat();
        let expected = [header("ü".as_bytes(), &name), deliver("üÿ".as_bytes())].concat();
        assert_eq!(found, (expected, 2));
    }

    #[test]
    fn ids_that_differ_stay_apart_and_short() {
        let mut one = vec![0xe4; MAX_SHORT];
        let (first, again) = (readable(&one), readable(&one));
        assert_eq!(first, again);
        assert!(first.len() <= MAX_SHORT && first.starts_with("ää"));
        one[MAX_SHORT - 1] = 0xe5;
        assert_ne!(readable(&one), first);
        assert_eq!(readable(&one[..127]), "ä".repeat(127));
    }

    #[test]
    fn what_stands_too_deep_is_left_out() {
        let deepest = |kind| header(b"m", &nested(kind, MAX_DEPTH));
        for kind in [b'F', b'A'] {
            for depth in [MAX_DEPTH + 2, MAX_DEPTH + 3, 15_000] {
                let (found, count) = sieved(&[&header(b"m", &nested(kind, depth))]);
                let at = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == kind).count();
                assert_eq!((at(&found), count), (at(&deepest(kind)) + 1, 1), "{depth}");
            }
        }
    }

    #[test]
    fn headers_that_do_not_fit_are_left_out() {
        let text = |length: usize| [&short(b"k"), &[b'S'][..], &long(&vec![b'x'; length])].concat();
        let (first, too_long, last) = (text(100), text(131_000), text(5));
        let all = header(b"m", &[&first[..], &too_long, &last].concat());
        let rest = header(b"m", &[&first[..], &last].concat());
        let told = tune(131_072);
        assert_eq!(sieved(&[&told, &all]), ([told, rest].concat(), 1));
        // What grows by being rewritten too.
        let names = [&short(&[0xe4; 200]), &[b'V'][..]].concat().repeat(500);
        for frame_max in [MIN_FRAME, 16_384] {
            let told = tune(u32::try_from(frame_max).expect("a length"));
            let (found, _) = sieved(&[&told, &header(b"m", &names)]);
            let length = found.len() - told.len();
            assert!(length <= frame_max && length > frame_max / 2, "{length}");
        }
    }

    #[test]
    fn another_version_of_the_protocol_is_left_to_the_library() {
        let words: [&[u8]; 2] = [b"AMQP\0\0\x09\x02", &header(b"\xfc", &[])];
        assert_eq!(sieved(&words), (words.concat(), 0));
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_come(
            ids in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..9),
            sizes in prop::collection::vec(1usize..50, 1..9)
        ) {
            let frames: Vec<_> = ids
                .iter()
                .flat_map(|id| [deliver(id), header(id, &every_type()), frame(3, id)])
                .collect();
            let stream = frames.concat();
            let whole = sieved(&[&stream]);
            let mut sieve = Sieve::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                let (now, then) = rest.split_at((*size).min(rest.len()));
                sieve.push(now);
                rest = then;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&sieve.ready()[..], &whole.0[..]);
            prop_assert!(sieve.held.is_empty());
        }

        #[test]
        fn nothing_that_comes_is_too_much(stream in prop::collection::vec(any::<u8>(), 0..400)) {
            let (found, rewritten) = sieved(&[&stream]);
            prop_assert!(rewritten > 0 || stream.starts_with(&found));
        }

        #[test]
        fn no_header_is_too_much(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            let payload = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], &payload].concat();
            let (found, rewritten) = sieved(&[&frame(HEADER, &payload)]);
            prop_assert!(rewritten > 0 || found == frame(HEADER, &payload));
        }
    }
}
