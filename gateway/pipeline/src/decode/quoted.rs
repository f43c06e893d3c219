//! quoted-printable (RFC 2045).

use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
};

/// Decodes quoted-printable.
#[derive(Debug, Default)]
pub(super) struct Quoted {
    state: State,
    offset: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Plain,
    /// Behind a `=`.
    Escape,
    /// Behind that and the first digit.
    Digit(u8),
    /// Behind a `=` and spaces: the line goes on with the next one.
    Soft,
    /// Behind that and a carriage return.
    Return,
}

impl Quoted {
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let digit = char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok());
        self.state = match (self.state, byte, digit) {
            (State::Plain, b'=', _) => State::Escape,
            (State::Plain, _, _) => {
                out.push(byte);
                State::Plain
            }
            (State::Escape, _, Some(digit)) => State::Digit(digit),
            (State::Digit(first), _, Some(digit)) => {
                out.push(first << 4 | digit);
                State::Plain
            }
            (State::Escape | State::Soft, b' ' | b'\t', _) => State::Soft,
            (State::Escape | State::Soft, b'\r', _) => State::Return,
            (State::Escape | State::Soft | State::Return, b'\n', _) => State::Plain,
            _ => {
                return Err(self.fault(
                    "a `=` that neither two hexadecimal digits nor the end of its line follow",
                ));
            }
        };
        Ok(())
    }

    fn fault(&self, detail: &str) -> Invalid {
        Invalid::new(codes::BASE64, self.offset, detail)
    }
}

impl Stage for Quoted {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE));
        *bytes = rest;
        for &byte in piece {
            self.byte(byte, out)?;
            self.offset += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), Invalid> {
        match self.state {
            // A soft line end may be the last thing: nothing goes on.
            State::Plain | State::Escape | State::Soft | State::Return => Ok(()),
            State::Digit(_) => Err(self.fault("the part ends behind one digit")),
        }
    }
}
