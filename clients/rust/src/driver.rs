//! The one task of a Hub: hands over to the session what happens, and carries out what it decides. The only place that
//! reads a clock and throws dice.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use topichub_protocol::{Filter, Operation, Reply, SubscribeOptions};

use crate::backlog::Pushed;
use crate::error::Error;
use crate::event::Event;
use crate::hub::State;
use crate::orders::{Order, Ticket};
use crate::session::{Options, Output, ReaderId, Refusal, Served, Session};
use crate::subscription::Mailbox;
use crate::transport::{Incoming, Settings, Transport};

/// From our close frame to the server's.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most that is taken from the connection before others have their turn.
const BATCH: usize = 64;

/// How long the program may look for a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The jobs that are taken on before others have their turn.
const JOBS: usize = 256;

/// What the program wants.
pub(crate) enum Job {
    Subscribe { reader: ReaderId, filter: Filter, options: SubscribeOptions, mailbox: Arc<Mailbox> },
    Unsubscribe(ReaderId),
    Change(ReaderId, Served, Answering),
    Order(Operation, Answering),
    Close,
}

/// Where the outcome of a command goes; its place among those that may wait is free again when it has.
pub(crate) struct Answering {
    pub(crate) answer: oneshot::Sender<Result<Option<Reply>, Error>>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

type Opening = Pin<Box<dyn Future<Output = Result<Transport, Refusal>> + Send>>;
pub(crate) type Fetching = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Where tokens come from.
pub(crate) type TokenSource = Arc<dyn Fn() -> Fetching + Send + Sync>;

enum Link {
    None,
    Opening(Opening),
    Open(Box<Transport>),
}

/// What has happened on the link.
enum News {
    Opened(Box<Transport>),
    Refused(Refusal),
    /// Of the connection itself.
    Incoming,
}

/// What a driver needs from the beginning.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) options: Options,
    pub(crate) tokens: Option<TokenSource>,
    pub(crate) jobs: mpsc::UnboundedReceiver<Job>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) room: Arc<Notify>,
}

pub(crate) struct Driver {
    session: Session,
    began: Instant,
    settings: Arc<Settings>,
    tokens: Option<TokenSource>,
    jobs: mpsc::UnboundedReceiver<Job>,
    state: watch::Sender<State>,
    link: Link,
    /// Connections that we have closed and the server has not, each with the end of our patience.
    closing: Vec<(Box<Transport>, Pin<Box<Sleep>>)>,
    fetching: Option<Fetching>,
    mailboxes: BTreeMap<ReaderId, Arc<Mailbox>>,
    orders: HashMap<Ticket, Answering>,
    last_ticket: Ticket,
    /// Those in whose way nothing is read, and what tells us when one of them has room.
    full: Vec<Arc<Mailbox>>,
    room: Arc<Notify>,
}

#[allow(clippy::disallowed_methods, reason = "here the time is read")]
fn clock() -> Instant {
    Instant::now()
}

impl Driver {
    /// Lives until the Hub is closed, or until nobody holds it any more.
    pub(crate) async fn run(parts: Parts) {
        let Parts { settings, options, tokens, jobs, state, room } = parts;
        let mut driver = Self {
            session: Session::start(options, Box::new(dice()), Duration::ZERO),
            began: clock(),
            settings: Arc::new(settings),
            tokens,
            jobs,
            state,
            link: Link::None,
            closing: Vec::new(),
            fetching: None,
            mailboxes: BTreeMap::new(),
            orders: HashMap::new(),
            last_ticket: 0,
            full: Vec::new(),
            room,
        };
        driver.carry_out();
        while !driver.session.is_closed() {
            driver.turn().await;
            driver.carry_out();
        }
        driver.finish().await;
    }

    fn now(&self) -> Duration {
        clock().duration_since(self.began)
    }

    /// Waits for the next thing to happen, and hands it over.
    async fn turn(&mut self) {
        self.full.retain(|mailbox| mailbox.is_in_the_way());
        let reads = self.full.is_empty();
        if !reads {
            // Who does not listen has no business calling it silence.
            let now = self.now();
            self.session.heard(now);
        }
        let deadline = self.session.deadline().map(|deadline| self.began + deadline);
        let Self { link, closing, jobs, fetching, room, .. } = self;
        tokio::select! {
            news = poll_fn(|cx| link.poll(cx, reads)) => self.take(news).await,
            job = jobs.recv() => {
                let now = self.now();
                match job {
                    Some(job) => self.take_jobs(job, now),
                    None => self.session.close(),
                }
            }
            token = poll_fn(|cx| poll_token(fetching, cx)) => {
                let now = self.now();
                self.session.token(token, now);
            }
            () = room.notified(), if !reads => {}
            () = until(deadline) => {
                let now = self.now();
                self.session.tick(now);
            }
            () = poll_fn(|cx| poll_closing(closing, cx)), if !closing.is_empty() => {}
        }
    }

    async fn take(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Opened(transport) => {
                self.link = Link::Open(transport);
                self.session.opened(now);
            }
            News::Refused(refusal) => {
                self.link = Link::None;
                self.session.refused(refusal, now);
            }
            News::Incoming => self.take_incoming(now).await,
        }
    }

    async fn take_incoming(&mut self, now: Duration) {
        for _ in 0..BATCH {
            let Link::Open(transport) = &mut self.link else { return };
            match transport.next() {
                Some(Incoming::Text(text)) => self.session.text(&text, now),
                Some(Incoming::Binary(bytes)) => self.session.binary(&bytes, now),
                Some(Incoming::Sign) => self.session.heard(now),
                Some(Incoming::End(end)) => {
                    self.hang_up();
                    self.session.ended(end, now);
                }
                None => break,
            }
        }
        self.carry_out();
        if matches!(&self.link, Link::Open(transport) if transport.has_news()) {
            // The readers are to have their turn before it.
            tokio::task::yield_now().await;
        }
    }

    /// There is no connection any more; what we have to say about that is still said.
    fn hang_up(&mut self) {
        if let Link::Open(transport) = std::mem::replace(&mut self.link, Link::None) {
            self.closing.push((transport, Box::pin(sleep(CLOSE_TIMEOUT))));
        }
    }

    fn take_jobs(&mut self, first: Job, now: Duration) {
        let mut next = Some(first);
        for _ in 0..JOBS {
            let Some(job) = next else { return };
            self.take_job(job, now);
            next = self.jobs.try_recv().ok();
        }
        if let Some(job) = next {
            self.take_job(job, now);
        }
    }

    fn take_job(&mut self, job: Job, now: Duration) {
        match job {
            Job::Subscribe { reader, filter, options, mailbox } => {
                self.mailboxes.insert(reader, mailbox);
                self.session.subscribe(reader, filter, options, now);
            }
            Job::Unsubscribe(reader) => {
                self.mailboxes.remove(&reader);
                self.session.unsubscribe(reader);
            }
            Job::Change(reader, served, answering) => {
                let ticket = self.ticket(answering);
                self.session.change(reader, served, ticket);
            }
            Job::Order(operation, answering) => {
                let ticket = self.ticket(answering);
                self.session.order(Order { ticket, operation });
            }
            Job::Close => self.session.close(),
        }
    }

    fn ticket(&mut self, answering: Answering) -> Ticket {
        self.last_ticket += 1;
        self.orders.insert(self.last_ticket, answering);
        self.last_ticket
    }

    /// Does what the session has decided.
    fn carry_out(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Deliver(reader, event) => self.deliver(reader, event),
                Output::End(reader, why) => {
                    if let Some(mailbox) = self.mailboxes.remove(&reader) {
                        mailbox.end(why);
                    }
                }
                Output::Settle(ticket, outcome) => {
                    if let Some(answering) = self.orders.remove(&ticket) {
                        let _ = answering.answer.send(outcome); // or nobody waits for it any more
                    }
                }
                Output::Send(bytes) => {
                    if let Link::Open(transport) = &mut self.link {
                        transport.send(&bytes);
                    }
                }
                Output::Connect => {
                    self.link = Link::Opening(Box::pin(Transport::open(Arc::clone(&self.settings))));
                }
                Output::Disconnect(code) => {
                    if let (Link::Open(transport), Some(code)) = (&mut self.link, code) {
                        transport.close(code);
                        self.hang_up();
                    }
                    self.link = Link::None;
                }
                Output::FetchToken => {
                    if let Some(tokens) = &self.tokens {
                        let fetching = tokens();
                        self.fetching = Some(Box::pin(async {
                            let late = |_| Error::Token("the program has not answered in time".into());
                            timeout(TOKEN_TIMEOUT, fetching).await.map_err(late)?
                        }));
                    }
                }
                Output::State(state) => {
                    self.state.send_replace(state);
                }
            }
        }
    }

    /// Brings a reader this event and those that come to the same one behind it.
    fn deliver(&mut self, reader: ReaderId, first: Event) {
        let Self { session, mailboxes, full, .. } = self;
        let Some(mailbox) = mailboxes.get(&reader) else { return };
        let events = std::iter::once(first).chain(std::iter::from_fn(|| session.poll_delivery(reader)));
        match mailbox.push(events) {
            Pushed::Fine => {}
            Pushed::Filled => full.push(Arc::clone(mailbox)),
            Pushed::Overflow => self.overflow(reader),
        }
    }

    fn overflow(&mut self, reader: ReaderId) {
        if let Some(mailbox) = self.mailboxes.remove(&reader)
            && let Some(filter) = self.session.filter_of(reader)
        {
            let max = mailbox.capacity();
            mailbox.end(Some(Error::Overflow { filter, max }));
        }
        self.session.unsubscribe(reader);
    }

    /// Refuses what is still asked, and closes the connection in order.
    async fn finish(mut self) {
        self.fetching = None;
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            let now = self.now();
            self.take_job(job, now);
            self.carry_out();
        }
        let closing = &mut self.closing;
        while !closing.is_empty() {
            poll_fn(|cx| poll_closing(closing, cx)).await;
        }
    }
}

impl Link {
    fn poll(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<News> {
        match self {
            Self::None => Poll::Pending,
            Self::Opening(opening) => opening.as_mut().poll(cx).map(|opened| match opened {
                Ok(transport) => News::Opened(Box::new(transport)),
                Err(refusal) => News::Refused(refusal),
            }),
            Self::Open(transport) if reads => transport.poll(cx).map(|()| News::Incoming),
            Self::Open(transport) => {
                transport.poll_write(cx);
                Poll::Pending
            }
        }
    }
}

fn poll_token(fetching: &mut Option<Fetching>, cx: &mut Context<'_>) -> Poll<Result<String, Error>> {
    let Some(future) = fetching else { return Poll::Pending };
    let token = std::task::ready!(future.as_mut().poll(cx));
    *fetching = None;
    Poll::Ready(token)
}

/// Ready when one of the connections that are being closed is done with.
fn poll_closing(closing: &mut Vec<(Box<Transport>, Pin<Box<Sleep>>)>, cx: &mut Context<'_>) -> Poll<()> {
    let before = closing.len();
    closing.retain_mut(|(transport, patience)| {
        transport.poll_end(cx).is_pending() && patience.as_mut().poll(cx).is_pending()
    });
    if closing.len() < before { Poll::Ready(()) } else { Poll::Pending }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Numbers of [0, 1), other ones in each process and Hub: for spreading clients over time, not for secrets.
fn dice() -> impl FnMut() -> f64 + Send {
    let seed = RandomState::new();
    let mut thrown = 0_u64;
    move || {
        thrown += 1;
        let mut hasher = seed.build_hasher();
        hasher.write_u64(thrown);
        (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
