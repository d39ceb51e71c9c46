//! Lets sessions end a few at a time: when thousands of connections are cut at once, what the thread has for everybody
//! else goes on in between. Each end is mostly the kernel's work: the last read, leaving the event loop, closing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

/// How many sessions end between two turns of everybody else. Without this the others of a thread waited for 100 ms and
/// more when 10,000 of it were cut at once, and with it for 20 (medians of the longest wait; one worker, a busy machine).
const ENDS_PER_ROUND: usize = 16;

/// Those of one thread.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    in_round: Cell<usize>,
    waiting: RefCell<VecDeque<Waker>>,
    has_rounds: Cell<bool>,
}

impl Departures {
    /// Whether so many have ended just now that the next should [wait](Self::wait).
    pub(crate) fn are_many(&self) -> bool {
        self.in_round.get() >= ENDS_PER_ROUND
    }

    /// The session of this task is woken when it may end, or sooner for other reasons.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.waiting.borrow_mut().push_back(cx.waker().clone());
    }

    /// A session ends.
    pub(crate) fn count(self: &Rc<Self>) {
        self.in_round.set(self.in_round.get() + 1);
        if !self.has_rounds.replace(true) {
            actix_rt::spawn(Rc::clone(self).rounds());
        }
    }

    /// Wakes the next few when everybody else has had a turn, until nobody ends any more.
    async fn rounds(self: Rc<Self>) {
        loop {
            tokio::task::yield_now().await;
            let ended = self.in_round.take();
            let mut waiting = self.waiting.borrow_mut();
            if ended == 0 && waiting.is_empty() {
                // Of a storm nothing is to be left.
                *waiting = VecDeque::new();
                break self.has_rounds.set(false);
            }
            let few = waiting.len().min(ENDS_PER_ROUND);
            waiting.drain(..few).for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::net::UnixStream;
    use topichub_protocol::codec::Codec;

    use super::*;
    use crate::actors::session::{Session, Visitor};
    use crate::embed::Hub;
    use crate::settings::Settings;
    use crate::transport::link::{Link, Terms};
    use crate::transport::source::Source;

    /// How many end between one turn of this task and the next, until nobody is left.
    async fn ends_in_each_turn(left: impl Fn() -> usize) -> Vec<usize> {
        let mut ends = Vec::new();
        while left() > 0 {
            let before = left();
            tokio::task::yield_now().await;
            ends.push(before - left());
        }
        ends
    }

    #[actix_rt::test]
    async fn a_few_end_between_two_turns_of_the_others_until_all_have() {
        let (departures, left) = (Rc::<Departures>::default(), Rc::new(Cell::new(200)));
        for _ in 0..left.get() {
            let (departures, left) = (Rc::clone(&departures), Rc::clone(&left));
            actix_rt::spawn(poll_fn(move |cx| {
                if departures.are_many() {
                    departures.wait(cx);
                    return Poll::Pending;
                }
                departures.count();
                left.set(left.get() - 1);
                Poll::Ready(())
            }));
        }
        let ends = ends_in_each_turn(|| left.get()).await;
        assert!(ends.iter().all(|ends| *ends <= 2 * ENDS_PER_ROUND), "{ends:?}");
        while departures.has_rounds.get() {
            tokio::task::yield_now().await;
        }
        assert!(!departures.are_many() && departures.waiting.borrow().capacity() == 0);
    }

    #[actix_rt::test]
    async fn sessions_that_are_cut_all_at_once_end_a_few_at_a_time() {
        let hub = Hub::start(Settings::default()).unwrap();
        let worker = hub.worker();
        let mut peers = Vec::new();
        for _ in 0..200 {
            let (socket, peer) = UnixStream::pair().unwrap();
            let terms = Terms { codec: Codec::Json, deflate: None, message_bytes_max: 1000 };
            let link = Link::socket(socket.into(), &terms, Rc::clone(&worker.outboxes));
            let visitor = Visitor { ticket: None, address: None, identity: None };
            Session::begin(Rc::clone(&worker), link, Source::socket(b""), visitor, Default::default());
            peers.push(peer);
        }
        // Each has said its welcome and waits for commands.
        for peer in &peers {
            peer.readable().await.unwrap();
        }
        tokio::task::yield_now().await;
        drop(peers);
        let ends = ends_in_each_turn(|| hub.sessions()).await;
        assert!(ends.iter().all(|ends| *ends <= 2 * ENDS_PER_ROUND), "{ends:?}");
    }
}
