//! What the log says when connections end: one line for each, with why and what it has carried; beyond a few in a second
//! one line for all others together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use topichub_protocol::code::CloseCode;
use uuid::Uuid;

use crate::hub::published::Class;
use crate::metrics::figure::NO_CLOSE_FRAME;
use crate::transport::link::{Ending, Traffic};

/// By which they can be filtered: `info,topichub::sessions=off`.
const LOG_TARGET: &str = "topichub::sessions";

/// The most lines of one thread in a second.
const LINES_PER_SECOND_MAX: u32 = 50;

/// The longest name of a user that is written, in characters. They come from tokens and may be anything.
const USER_CHARS_MAX: usize = 64;

/// A session that is over.
pub(crate) struct Parting<'a> {
    pub(crate) session: Uuid,
    pub(crate) user: Option<&'a str>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) class: Class,
    pub(crate) lasted: Duration,
    pub(crate) ending: Ending,
    pub(crate) traffic: Traffic,
}

/// Those of one thread.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    told: u32,
    /// How many have not been told one by one, by code and who sent it.
    untold: BTreeMap<(String, &'static str), u32>,
}

impl Partings {
    pub(crate) fn tell(&mut self, parting: &Parting<'_>) {
        if !log::log_enabled!(target: LOG_TARGET, log::Level::Info) {
            return;
        }
        if self.told < LINES_PER_SECOND_MAX {
            self.told += 1;
            log::info!(target: LOG_TARGET, "{parting}");
        } else {
            let Ending { code, by } = parting.ending;
            *self.untold.entry((name_of(code), by.as_str())).or_default() += 1;
        }
    }

    /// A second is over.
    pub(crate) fn sum_up(&mut self) {
        self.told = 0;
        if !self.untold.is_empty() {
            log::info!(target: LOG_TARGET, "{}", summary(&std::mem::take(&mut self.untold)));
        }
    }
}

fn summary(untold: &BTreeMap<(String, &'static str), u32>) -> String {
    let count: u32 = untold.values().sum();
    let each: Vec<_> =
        untold.iter().map(|((code, by), count)| format!("code={code} by={by} {count}")).collect();
    format!("{count} more sessions ended: {}", each.join(", "))
}

/// Peers may close with any of some thousand codes.
fn name_of(code: u16) -> String {
    let known = CloseCode::from_u16(code).is_some() || code == 1005 || code == NO_CLOSE_FRAME;
    if known { code.to_string() } else { "other".to_owned() }
}

/// What a code means, in words.
fn reason_of(code: u16) -> &'static str {
    match CloseCode::from_u16(code) {
        Some(CloseCode::Normal) => "done",
        Some(CloseCode::GoingAway) => "going away",
        Some(CloseCode::ProtocolError) => "protocol error",
        Some(CloseCode::UnsupportedData) => "wrong frame type",
        Some(CloseCode::InvalidPayload) => "not UTF-8",
        Some(CloseCode::MessageTooBig) => "message too big",
        Some(CloseCode::InternalError) => "internal error",
        Some(CloseCode::ServiceRestart) => "restart",
        Some(CloseCode::Unauthorized) => "unauthorized",
        Some(CloseCode::Forbidden) => "forbidden",
        Some(CloseCode::TooManyConnections) => "too many connections",
        Some(CloseCode::Kicked) => "disconnected by an administrator",
        Some(CloseCode::HandshakeTimeout) => "did not authenticate in time",
        Some(CloseCode::Overloaded) => "overloaded",
        Some(CloseCode::RateLimited) => "rate limited",
        Some(CloseCode::NoPong) => "no answer to a ping",
        Some(CloseCode::SlowConsumer) => "slow consumer",
        Some(CloseCode::Drain) => "drain",
        Some(CloseCode::TokenExpired) => "token expired",
        Some(CloseCode::PositionLost) => "position lost",
        None if code == NO_CLOSE_FRAME => "hung up",
        None if code == 1005 => "no code",
        None => "a code of the client's own",
    }
}

impl fmt::Display for Parting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ending { code, by } = self.ending;
        let (reason, by) = (reason_of(code), by.as_str());
        write!(f, "session ended: code={code} why=\"{reason}\" by={by} session={}", self.session)?;
        if let Some(address) = self.address {
            write!(f, " address={address}")?;
        }
        if let Some(user) = self.user {
            let user: String = user.chars().take(USER_CHARS_MAX).collect();
            // With everything escaped that could look like a line of its own.
            write!(f, " user={user:?}")?;
        }
        let (protocol, deflate) = self.class.names();
        let Traffic { messages_in, messages_out, bytes_in, bytes_out, gaps } = self.traffic;
        write!(
            f,
            " protocol={protocol} deflate={deflate} seconds={:.3} messages_in={messages_in} bytes_in={bytes_in} \
             messages_out={messages_out} bytes_out={bytes_out} gaps={gaps}",
            self.lasted.as_secs_f64(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::figure::Side;

    fn parting(user: &str, ending: Ending) -> Parting<'_> {
        Parting {
            session: Uuid::from_u128(7),
            user: (!user.is_empty()).then_some(user),
            address: Some([192, 0, 2, 7].into()),
            class: Class::JsonDeflate,
            lasted: Duration::from_millis(12_345),
            ending,
            traffic: Traffic {
                messages_in: 3,
                messages_out: 1520,
                bytes_in: 230,
                bytes_out: 91_000,
                gaps: 2,
            },
        }
    }

    #[test]
    fn a_line_says_who_why_and_how_much() {
        let ending = Ending { code: 4104, by: Side::Server };
        insta::assert_snapshot!(parting("ada", ending).to_string(), @r#"session ended: code=4104 why="slow consumer" by=server session=00000000-0000-0000-0000-000000000007 address=192.0.2.7 user="ada" protocol=pubsub.json deflate=yes seconds=12.345 messages_in=3 bytes_in=230 messages_out=1520 bytes_out=91000 gaps=2"#);
    }

    #[test]
    fn a_name_cannot_write_lines_of_its_own() {
        let ending = Ending { code: 1000, by: Side::Client };
        let user = format!("x\n\u{1b}[31msession ended{}", "y".repeat(1000));
        let line = parting(&user, ending).to_string();
        assert!(!line.contains(['\n', '\u{1b}']) && line.len() < 500, "{line}");
    }

    #[test]
    fn beyond_a_few_in_a_second_they_are_summed_up() {
        let mut partings = Partings::default();
        let end = |partings: &mut Partings, code, by| {
            let parting = parting("", Ending { code, by });
            *partings.untold.entry((name_of(parting.ending.code), by.as_str())).or_default() += 1;
        };
        (0..3).for_each(|_| end(&mut partings, 4201, Side::Server));
        end(&mut partings, 1006, Side::Client);
        (3000..3100).for_each(|code| end(&mut partings, code, Side::Client));
        let summary = summary(&partings.untold);
        let expected =
            "104 more sessions ended: code=1006 by=client 1, code=4201 by=server 3, code=other by=client 100";
        assert_eq!(summary, expected);
    }
}
