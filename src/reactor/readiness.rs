//! Readiness: what is known about one source, and when that knowledge is spent.
//!
//! An essay, for this is where edge-triggered programs go wrong.
//!
//! **What the kernel tells.** `epoll` and `kqueue`, as mio sets them up, report an
//! *edge*: that something changed. Bytes arrive: an event. More bytes arrive while
//! the first ones still lie there: perhaps another event, perhaps not. No byte arrives
//! any more: never again an event, however many lie unread. asyncio's pollers report a
//! *level* instead, each time they are asked, and a callback that reads too little is
//! simply called again. What we build on edges must behave as if it were told levels.
//!
//! **So the last edge is remembered**, as a bit. The bit says: an event came, and since
//! then no operation told us that the source is exhausted. While the bit is clear,
//! a `WouldBlock` was seen since the last edge, so another edge will come and nothing
//! need be done. While it is set, no edge is promised, so somebody has to try again:
//! the loop queues a read, or reading is paused and whoever resumes it queues one (R6).
//!
//! **What clears it.** `WouldBlock`, always. And a *short read*, one that filled less
//! than it was offered: the kernel had no more, so the next byte will make an edge; it
//! spares the second `recv` of each request, half of what a small server spends. With
//! two exceptions:
//! * once the peer's end was reported ("read closed"), there is no next byte, and so
//!   no next edge; the end itself must be read, as a `recv` of zero bytes, and who
//!   clears the bit on the short read before it never sees it;
//! * mio's `poll(2)` back end makes its edges itself: it stops watching what it
//!   reported, and starts again when it sees a `WouldBlock` pass by. A short read
//!   passes by as a success, and nothing would ever be reported again.
//!
//! **On the way out** the same holds with the signs turned: a source counts as writable
//! until a `send` took less than it was offered.
//!
//! Hence the two functions below, and no other place that clears the bit.

/// Whether less than was asked for means that there is no more.
///
/// True on `epoll` and `kqueue`. On the `poll(2)` back end only `WouldBlock` arms
/// the source again, so a short read or write must be tried once more.
pub(crate) const SHORT_MEANS_EXHAUSTED: bool = !cfg!(mio_unsupported_force_poll_poll);

/// What the poller said of a source, and no operation has contradicted since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// A read is worth trying.
    pub(crate) readable: bool,
    /// The end of the stream was reported, or a hang-up, or an error: there will be no
    /// other edge.
    ///
    /// Invariant: never cleared.
    pub(crate) read_closed: bool,
    /// A write is worth trying again.
    pub(crate) writable: bool,
}

impl Readiness {
    /// What an event says. Errors and hang-ups wake both directions.
    #[inline]
    pub(crate) fn of(event: &mio::event::Event) -> Readiness {
        let broken = event.is_error() || (event.is_read_closed() && event.is_write_closed());
        Readiness {
            readable: event.is_readable() || event.is_read_closed() || broken,
            read_closed: event.is_read_closed() || broken,
            writable: event.is_writable() || event.is_write_closed() || broken,
        }
    }

    /// Takes in what an event says.
    #[inline]
    pub(crate) fn add(&mut self, news: Readiness) {
        self.readable |= news.readable;
        self.read_closed |= news.read_closed;
        self.writable |= news.writable;
    }

    /// Takes in that a read brought `got` bytes of the `offered`; `None` is `WouldBlock`.
    pub(crate) fn after_read(&mut self, got: Option<usize>, offered: usize) {
        match got {
            None => self.readable = false,
            Some(n) if n < offered && SHORT_MEANS_EXHAUSTED => {
                // R6: once "read closed" was reported, no edge announces the end.
                self.readable = self.read_closed;
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable() -> Readiness {
        Readiness {
            readable: true,
            ..Readiness::default()
        }
    }

    fn readable_to_the_end() -> Readiness {
        Readiness {
            read_closed: true,
            ..readable()
        }
    }

    #[test]
    fn would_block_spends_the_edge() {
        for mut readiness in [readable(), readable_to_the_end()] {
            readiness.after_read(None, 100);
            assert!(!readiness.readable);
        }
    }

    #[test]
    fn a_full_read_leaves_the_bit_set() {
        let mut readiness = readable();
        readiness.after_read(Some(100), 100);
        assert!(readiness.readable);
    }

    #[test]
    fn a_short_read_spends_the_edge_where_the_kernel_makes_edges() {
        let mut readiness = readable();
        readiness.after_read(Some(99), 100);
        assert_eq!(readiness.readable, !SHORT_MEANS_EXHAUSTED);
    }

    #[test]
    fn a_short_read_before_the_end_leaves_the_bit_set() {
        let mut readiness = readable_to_the_end();
        readiness.after_read(Some(1), 100);
        assert!(readiness.readable, "the end is still to be read");
    }
}
