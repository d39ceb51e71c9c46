//! The messages to publish: one argument, or the lines of standard input, read on a thread of their own.

use std::io::{self, BufRead, IsTerminal, Read};

use bytes::Bytes;
use tokio::sync::mpsc;
use topichub::Payload;
use topichub::protocol::PayloadError;
use topichub::protocol::codec::syntax::SyntaxError;

/// The longest line; far beyond what servers take, and a limit all the same.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The lines that are read ahead.
const LINES_AHEAD: usize = 256;

/// How DATA and lines are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    Json,
    /// Text that becomes a JSON string.
    Text,
}

/// One message to be, and the line it stands in.
pub(crate) struct Line {
    pub(crate) number: i64,
    /// Or what is wrong with it.
    pub(crate) payload: Result<Payload, String>,
}

/// Where the messages come from, one by one.
pub(crate) enum Lines {
    /// The command line.
    Argument(Option<Line>),
    /// Standard input.
    Input(mpsc::Receiver<io::Result<Line>>),
}

impl Lines {
    /// `-` and nothing mean standard input.
    pub(crate) fn of(argument: Option<&str>, notation: Notation) -> Self {
        match argument {
            None | Some("-") => Self::of_input(notation),
            Some(text) => {
                let payload = notation.read(text.as_bytes());
                Self::Argument(Some(Line { number: 1, payload }))
            }
        }
    }

    fn of_input(notation: Notation) -> Self {
        if io::stdin().is_terminal() {
            eprintln!("one message a line; Ctrl-D ends");
        }
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        // A plain thread: the runtime would wait at its end for a blocking read that nothing ends.
        std::thread::spawn(move || {
            if let Err(error) =
                read_lines(&mut io::stdin().lock(), notation, |line| sender.blocking_send(Ok(line)).is_ok())
            {
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self::Input(lines)
    }

    /// The next message. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        match self {
            Self::Argument(line) => Ok(line.take()),
            Self::Input(lines) => lines.recv().await.transpose(),
        }
    }

    /// What a message is called in errors.
    pub(crate) fn name(&self, number: i64) -> String {
        match self {
            Self::Argument(_) => "the message".to_owned(),
            Self::Input(_) => format!("line {number}"),
        }
    }
}

impl Notation {
    fn read(self, text: &[u8]) -> Result<Payload, String> {
        match self {
            Self::Json => Payload::from_json(Bytes::copy_from_slice(text)).map_err(|error| match error {
                PayloadError::Syntax(SyntaxError::NotJson { .. }) => {
                    format!("{error}; text goes in double quotes, or use --string")
                }
                error => error.to_string(),
            }),
            Self::Text => {
                let text = std::str::from_utf8(text).map_err(|error| format!("not UTF-8: {error}"))?;
                Payload::of(text).map_err(|error| error.to_string())
            }
        }
    }
}

/// Reads until the end, or until `take` wants no more.
fn read_lines(
    input: &mut impl BufRead,
    notation: Notation,
    mut take: impl FnMut(Line) -> bool,
) -> io::Result<()> {
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(());
        }
        if text.ends_with(b"\n") {
            text.pop();
            text.pop_if(|last| *last == b'\r');
        } else if read as u64 == LINE_BYTES_MAX {
            return Err(io::Error::other(format!("line {number} is longer than {LINE_BYTES_MAX} bytes")));
        }
        if notation == Notation::Json && text.trim_ascii().is_empty() {
            continue;
        }
        let payload = notation.read(&text);
        if !take(Line { number, payload }) {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, notation: Notation, expected: &[(i64, &str)]) {
        let mut got = Vec::new();
        read_lines(&mut input.as_bytes(), notation, |line| {
            let mut text = Vec::new();
            match line.payload {
                Ok(payload) => payload.write_json(&mut text),
                Err(_) => text.extend_from_slice(b"error"),
            }
            got.push((line.number, String::from_utf8(text).unwrap()));
            true
        })
        .unwrap();
        let expected: Vec<_> = expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect();
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn lines_are_json_and_blank_ones_are_passed_over() {
        check(
            "1\n\n {\"a\":2} \r\nword\n[3]",
            Notation::Json,
            &[(1, "1"), (3, "{\"a\":2}"), (4, "error"), (5, "[3]")],
        );
    }

    #[test]
    fn lines_of_text_are_taken_as_they_are() {
        check("a \"b\"\r\n\nc", Notation::Text, &[(1, "\"a \\\"b\\\"\""), (2, "\"\""), (3, "\"c\"")]);
    }
}
