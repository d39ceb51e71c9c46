//! One published item as it has come, read as far as anybody wants it read.

use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use topichub_protocol::message::{Extras, Meta};
use topichub_protocol::{Codec, Epoch, Payload, Position, Push, ReplyTo, ServerMessage, Topic};

use crate::codec;
use crate::error::Error;

/// One published item. Cheap to clone.
///
/// Its data is read when it is asked for, so that it is read once: of JSON that is broken inside of the data, for which
/// there is no reason but a broken server, the error is told there.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic it was published to, also when a pattern brought it.
    pub topic: Topic,
    /// Its index in the topic, from 1.
    pub offset: u64,
    /// Which incarnation of the topic's log the offset belongs to; `None` if the server has not told us yet, which
    /// happens only in queue groups and with patterns too wide for a replay.
    pub epoch: Option<Epoch>,
    /// Whether it was published before we asked: it comes from history.
    pub replayed: bool,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Read(Content),
    Unread(Unread),
}

/// All that a message says beside its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) payload: Payload,
    pub(crate) extras: Option<Arc<Extras>>,
}

/// A message in JSON of which only the place has been read.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    text: Arc<str>,
    /// Where the data begins.
    data: usize,
    read: OnceLock<Result<Box<Content>, Arc<str>>>,
}

impl Unread {
    /// Of which the data begins at this byte.
    pub(crate) fn new(text: &str, data: usize) -> Self {
        Self { text: text.into(), data, read: OnceLock::new() }
    }

    /// What stands between the beginning of the data and the end of the message, if that is nothing but one value.
    fn data<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text.get(self.data..)?.strip_suffix('}')?).ok()
    }

    fn content(&self) -> Result<&Content, Error> {
        let read = self.read.get_or_init(|| match codec::decode(Codec::Json, self.text.as_bytes()) {
            Ok(Some(ServerMessage::Push(Push::Message { payload, extras, .. }))) => {
                Ok(Box::new(Content { payload, extras }))
            }
            Ok(_) => Err("not a message".into()),
            Err(error) => Err(error.to_string().into()),
        });
        match read {
            Ok(content) => Ok(content),
            Err(why) => Err(Error::Unreadable(Arc::clone(why))),
        }
    }
}

impl Message {
    /// Reads the data as `T`, whichever codec brought it. Data that is bytes reads as `bytes::Bytes` and its like only.
    ///
    /// # Errors
    /// [`Error::Payload`] if it has not the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if let Body::Unread(unread) = &self.body
            && let Some(value) = unread.data()
        {
            return Ok(value);
        }
        // There are other keys behind the data, or it has another shape.
        Ok(self.payload()?.deserialize()?)
    }

    /// Its data, as the bytes it came as: to be looked at, or published elsewhere.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is not what the protocol says.
    pub fn payload(&self) -> Result<&Payload, Error> {
        self.content().map(|content| &content.payload)
    }

    /// Where it stands in its topic; what [`Subscribe::after`](crate::Subscribe::after) goes on from.
    pub fn position(&self) -> Option<Position> {
        self.epoch.map(|epoch| Position { epoch, offset: self.offset })
    }

    /// Which of the topic's things it is about.
    pub fn key(&self) -> Option<&str> {
        self.extras()?.key.as_deref()
    }

    /// What the publisher passed along.
    pub fn meta(&self) -> Option<&Meta> {
        self.extras()?.meta.as_ref()
    }

    /// Where an answer goes, if the publisher waits for one; see [`Hub::reply`](crate::Hub::reply).
    pub fn reply_to(&self) -> Option<ReplyTo> {
        self.extras()?.reply_to
    }

    fn extras(&self) -> Option<&Extras> {
        self.content().ok()?.extras.as_deref()
    }

    fn content(&self) -> Result<&Content, Error> {
        match &self.body {
            Body::Read(content) => Ok(content),
            Body::Unread(unread) => unread.content(),
        }
    }
}

/// Whether they say the same at the same place, however far they have been read.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let head = |message: &Self| (message.offset, message.epoch, message.replayed);
        head(self) == head(other) && self.topic == other.topic && self.content().ok() == other.content().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let plain = codec::Plain::read(text).unwrap();
        let topic = Topic::parse(plain.topic).unwrap();
        let (offset, epoch, body) = (plain.offset, plain.epoch, Body::Unread(plain.unread));
        Message { topic, offset, epoch, replayed: false, body }
    }

    #[test]
    fn data_is_read_wherever_it_stands_in_the_message() {
        let short = message(r#"{"op":"message","topic":"a","offset":2,"data":{"b":[1,2]}}"#);
        let long =
            message(r#"{"op":"message","topic":"a","offset":2,"data": 1.5 ,"key":"k","meta":{"m":"n"}}"#);
        assert_eq!(short.json::<serde_json::Value>().unwrap(), serde_json::json!({"b": [1, 2]}));
        assert_eq!((short.key(), short.meta().is_none()), (None, true));
        assert_eq!(short.payload().unwrap().as_bytes().as_ref(), br#"{"b":[1,2]}"#);
        assert_eq!((long.json::<f64>().unwrap(), long.key()), (1.5, Some("k")));
        assert_eq!(long.meta().unwrap().iter().collect::<Vec<_>>(), [("m", "n")]);
        assert!(short != long && short == short.clone());
    }

    #[test]
    fn what_is_broken_inside_is_told_to_whoever_reads_it() {
        for data in ["1}", "{\"a\":}", "1,\"key\":2", "1 2", "\"\\ud800\"", "[1", ""] {
            let broken = message(&format!(r#"{{"op":"message","topic":"a","offset":2,"data":{data}}}"#));
            assert!(broken.json::<serde_json::Value>().is_err(), "{data}");
            assert!(matches!(broken.payload(), Err(Error::Unreadable(_))), "{data}");
            assert_eq!(broken.key(), None);
        }
        let other = message(r#"{"op":"message","topic":"a","offset":2,"data":"text"}"#);
        assert!(matches!(other.json::<u64>(), Err(Error::Payload(_))));
        assert_eq!(other.json::<String>().unwrap(), "text");
    }
}
