//! What is different about the link of an event stream or a long poll: how it begins, what becomes of messages on the
//! way out, and the socket that it gets once the head of the answer is out.

use std::rc::Rc;
use std::task::{Context, Poll};

use topichub_protocol::code::CloseCode;
use topichub_protocol::command::{Command, CommandError};

use super::super::admission::Ticket;
use super::super::event_stream::{EventStream, readdressed};
use super::super::exit::Exit;
use super::super::socket::Socket;
use super::{Ending, Link, Phase, Side, Speech, State};
use crate::hub::joined::Joined;
use crate::hub::outbox::{Outboxes, Part};
use crate::metrics::figure::Figure;

impl Link {
    /// An event stream for a session that gives these commands. What it says waits until it [inherits](Self::inherit) a
    /// socket, or is read as the body of an answer.
    pub(crate) fn events(commands: &[Command], outboxes: Rc<Outboxes>) -> Rc<Self> {
        Self::of(EventStream::new(commands), outboxes)
    }

    /// A long poll that is answered with so many messages at most.
    pub(crate) fn poll(commands: &[Command], limit: u64, outboxes: Rc<Outboxes>) -> Rc<Self> {
        Self::of(EventStream::answer(commands, limit), outboxes)
    }

    fn of(stream: EventStream, outboxes: Rc<Outboxes>) -> Rc<Self> {
        Self::new(stream.class(), Speech::Events(Box::new(stream)), outboxes, Exit::body())
    }

    /// Whether anything comes of what was asked for: `Ready` once all commands are carried out, or one is refused.
    pub(crate) fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<Result<(), CommandError>> {
        match &mut self.state.borrow_mut().speech {
            Speech::Events(stream) => stream.poll_begun(cx),
            Speech::WebSocket(_) => Poll::Ready(Ok(())),
        }
    }

    /// From here on all goes to this socket, and the place among the connections is this one's.
    pub(crate) fn inherit(&self, socket: Socket, ticket: Option<Ticket>) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Ended {
            return;
        }
        if let Speech::Events(stream) = &mut state.speech {
            stream.ticket = ticket;
        }
        state.exit.become_socket(socket);
        state.wake_session();
    }

    /// Waits for the end of a socket from which nothing is heard. `Ready(0)` is the end.
    pub(crate) fn poll_silence(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<usize> {
        let mut state = self.state.borrow_mut();
        if state.exit.is_socket() { state.exit.poll_read(cx, scratch) } else { Poll::Pending }
    }

    /// Sends messages of a stream of several topics: each gets the id of the stream so far.
    pub(super) fn write_events(&self, parts: &[Part<'_>]) {
        self.while_open(|state| {
            let State { exit, speech: Speech::Events(stream), .. } = state else { return Ok(()) };
            readdressed::send(stream.places(), parts, |own| {
                exit.send_parts(&[Part::whole(own)], &self.outboxes).map(|()| own.messages())
            })
            .map(drop)
        });
    }

    /// Offers messages of a stream of several topics. Only what the peer takes counts for the ids that follow.
    pub(super) fn offer_events(&self, messages: &Joined) -> usize {
        let mut taken = messages.messages();
        self.while_open(|state| {
            let State { exit, speech: Speech::Events(stream), .. } = state else { return Ok(()) };
            let offer = |own: &Joined| exit.offer(own, &self.outboxes);
            taken = readdressed::send(stream.places(), &[Part::whole(messages)], offer)?;
            Ok(())
        });
        taken
    }

    /// Collects events to an answer, as far as it holds them.
    pub(super) fn collect<'a>(&self, events: impl Iterator<Item = &'a [u8]>) {
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open {
            return;
        }
        let State { exit, speech: Speech::Events(stream), .. } = &mut *state else { return };
        for event in events {
            if let Some(map) = stream.collect(event) {
                exit.collect(&map, &self.outboxes);
            }
        }
        if stream.is_full() {
            stream.complete();
        }
        state.wake_session();
    }

    /// Nothing of the past is still to come.
    pub(crate) fn has_caught_up(&self) {
        let state = self.state.borrow();
        if let Speech::Events(_) = state.speech {
            state.wake_session();
        }
    }

    /// Whether it is time to [`complete`](Self::complete) an answer if nothing of the past is still to come.
    pub(crate) fn awaits_end_of_past(&self) -> bool {
        matches!(&self.state.borrow().speech, Speech::Events(stream) if stream.has_answer())
    }

    /// The answer is what there is.
    pub(crate) fn complete(&self) {
        if let Speech::Events(stream) = &mut self.state.borrow_mut().speech {
            stream.complete();
        }
    }

    /// An answer need not wait any longer for something to come.
    pub(crate) fn hurry(&self) {
        let mut state = self.state.borrow_mut();
        if let Speech::Events(stream) = &mut state.speech {
            stream.hurry();
        }
        state.wake_session();
    }

    pub(crate) fn poll_complete(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state.borrow_mut().speech {
            Speech::Events(stream) => stream.poll_complete(cx),
            Speech::WebSocket(_) => Poll::Ready(()),
        }
    }

    /// The answer, with which the session ends, and behind what to ask next.
    pub(crate) fn take_answer(&self) -> (Vec<u8>, Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let (mut answer, mut place) = (Vec::new(), Vec::new());
        while let Some(bytes) = state.exit.pop() {
            answer.extend_from_slice(&bytes);
        }
        if answer.is_empty() {
            answer.push(b'[');
        }
        answer.push(b']');
        self.outboxes.tally.add(Figure::BYTES_OUT, answer.len() as u64);
        if let Speech::Events(stream) = &mut state.speech {
            place.extend_from_slice(stream.places().text());
        }
        state.ending.get_or_insert(Ending { code: CloseCode::Normal.as_u16(), by: Side::Server });
        state.end();
        (answer, place)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::future::poll_fn;
    use std::io::Read;

    use socket2::SockRef;
    use topichub_protocol::codec::Codec;
    use topichub_protocol::websocket::Connection;

    use super::*;
    use crate::hub::outbox::OutboxLimits;

    #[test]
    fn that_there_are_event_streams_costs_a_websocket_no_memory() {
        assert_eq!(size_of::<Speech>(), size_of::<Connection>());
    }

    /// A link of a stream of two topics whose kernel takes little, and its peer.
    async fn narrow() -> (Rc<Link>, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
        let commands = Codec::Json.decode_subscribes(br#"[{"topics": ["a", "b"]}]"#).unwrap();
        let link = Link::events(&commands, Outboxes::new(OutboxLimits { bytes: 1 << 20, messages: 1 << 10 }));
        link.inherit(Socket::Tcp(stream), None);
        (link, peer)
    }

    #[actix_rt::test]
    async fn an_id_names_nothing_that_was_offered_and_not_taken() {
        const MESSAGES: usize = 200;
        let (link, mut peer) = narrow().await;
        // Of each topic the place that stands in an id is that of the message before.
        let topics = ["a", "b"];
        let data = "x".repeat(500);
        let event = |number: usize| format!("id: {} 7:{number}\ndata: {data}\n\n", topics[number % 2]);
        let mut expected = format!("id: b 7:1\ndata: {data}\n\n");
        for number in 2..=MESSAGES {
            let (before, now) = (topics[(number - 1) % 2], topics[number % 2]);
            let _ = write!(expected, "id: {before} 7:{} {now} 7:{number}\ndata: {data}\n\n", number - 1);
        }
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            String::from_utf8(got).unwrap()
        });
        let (mut next, mut offers) = (1, 0);
        while next <= MESSAGES {
            let mut messages = Joined::default();
            (next..=MESSAGES).for_each(|number| messages.push(event(number).as_bytes()));
            next += link.offer(&messages);
            offers += 1;
            poll_fn(|cx| {
                link.poll_flush(cx);
                if next > MESSAGES || link.takes_more(cx) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        assert!(offers > 1, "the kernel has taken all at once");
        poll_fn(|cx| {
            link.poll_flush(cx);
            if link.waiting_bytes() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        link.peer_has_gone();
        let got = reader.join().unwrap();
        assert!(got == expected, "{}", different(&got, &expected));
    }

    /// Where two texts begin to differ.
    fn different(got: &str, expected: &str) -> String {
        let at = got.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
        let from = |text: &str| text[at.saturating_sub(30)..].chars().take(60).collect::<String>();
        format!("at {at}: {:?} instead of {:?}", from(got), from(expected))
    }
}
