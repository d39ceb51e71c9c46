//! Lets newcomers in a few at a time: when thousands connect at once, they take a third of a thread and leave the rest to
//! everybody else on it. Who may come in at all is decided by admission.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How many newcomers begin at a time. One costs a tenth of a millisecond or so until it is subscribed, and as much again
/// if it has missed a hundred messages: with eight at a time others notice (`topichub bench recover`).
const NEWCOMERS_PER_ROUND: usize = 4;

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_millis(1);

/// One for each thread.
pub(crate) struct Turnstile {
    permits: Semaphore,
    waiting: Cell<usize>,
    turns: Cell<bool>,
}

impl Turnstile {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { permits: Semaphore::new(0), waiting: Cell::new(0), turns: Cell::new(false) })
    }

    /// Returns when it is this newcomer's turn: in order, and at once if nobody has come just before.
    pub(crate) async fn pass(self: &Rc<Self>) {
        if !self.turns.replace(true) {
            actix_rt::spawn(Rc::clone(self).turn());
            return;
        }
        let _waiting = Waiting::begin(&self.waiting);
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
    }

    /// Lets the next few in after each pause, until nobody waits.
    async fn turn(self: Rc<Self>) {
        // Whoever was ready before comes before this goes on.
        tokio::task::yield_now().await;
        while self.waiting.get() > 0 {
            let unused = self.permits.available_permits();
            self.permits.add_permits(NEWCOMERS_PER_ROUND.saturating_sub(unused));
            tokio::time::sleep(PAUSE).await;
        }
        self.permits.forget_permits(self.permits.available_permits());
        self.turns.set(false);
    }
}

/// Counts one who waits, also if the connection ends meanwhile.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[actix_rt::test]
    async fn a_few_come_in_between_two_turns_of_the_others_in_their_order() {
        let (turnstile, story) = (Turnstile::new(), Rc::new(RefCell::new(Vec::new())));
        for newcomer in 0..50 {
            let (turnstile, story) = (Rc::clone(&turnstile), Rc::clone(&story));
            actix_rt::spawn(async move {
                turnstile.pass().await;
                story.borrow_mut().push(newcomer);
            });
        }
        let mut in_one_turn = Vec::new();
        while story.borrow().len() < 50 {
            let before = story.borrow().len();
            tokio::task::yield_now().await;
            in_one_turn.push(story.borrow().len() - before);
        }
        assert_eq!(*story.borrow(), (0..50).collect::<Vec<_>>());
        let most = in_one_turn.iter().max().copied();
        assert!(most <= Some(2 * NEWCOMERS_PER_ROUND), "{in_one_turn:?}");
        while turnstile.turns.get() {
            tokio::task::yield_now().await;
        }
        turnstile.pass().await;
    }

    #[actix_rt::test]
    async fn who_hangs_up_while_waiting_is_not_waited_for() {
        let turnstile = Turnstile::new();
        turnstile.pass().await;
        let waiting = actix_rt::spawn({
            let turnstile = Rc::clone(&turnstile);
            async move { turnstile.pass().await }
        });
        waiting.abort();
        while turnstile.turns.get() {
            tokio::task::yield_now().await;
        }
        assert_eq!((turnstile.waiting.get(), turnstile.permits.available_permits()), (0, 0));
    }
}
