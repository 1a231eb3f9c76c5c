//! The shutdown: how a server stops without dropping a reply, in bounded time.
//!
//! ```text
//!   close ─► grace: they end by themselves ─► close_clients ─► flush time ─► abort_clients
//!            (connections and handlers)                                        ─► cancel
//! ```

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::time::timeout;

use super::server_core::ServerCore;

/// How long connections that were closed may take to send what they hold, unless set.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A server that is to be stopped: set what is to be set, then await it.
///
/// Made by [`Server::shutdown`](crate::Server::shutdown), which has the whole story.
#[must_use = "a server is shut down only when this is awaited"]
pub struct Shutdown {
    core: Rc<ServerCore>,
    grace: Duration,
    flush_time: Duration,
}

/// How many connections and handlers ended in which phase of a
/// [`Server::shutdown`](crate::Server::shutdown).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// Connections that ended by themselves within the grace.
    pub finished: usize,
    /// Connections that were closed then, and sent in time what they held.
    pub closed: usize,
    /// Connections that were aborted: what they held is lost.
    pub aborted: usize,
    /// Handlers that still ran then and were cancelled.
    pub cancelled: usize,
}

impl Shutdown {
    pub(super) fn new(core: Rc<ServerCore>, grace: Duration) -> Shutdown {
        Shutdown {
            core,
            grace,
            flush_time: FLUSH_TIME,
        }
    }

    /// Sets how long the connections that are closed when the grace is over may take to send
    /// what they hold, and their handlers to end: one second unless set.
    pub fn flush_time(mut self, flush_time: Duration) -> Self {
        self.flush_time = flush_time;
        self
    }

    async fn run(self) -> Stopped {
        let core = &self.core;
        // A handler that awaits this can't be waited for.
        let myself = core.handler_that_runs();
        let handlers = usize::from(myself.is_some());
        core.close();
        let at_first = core.attached.connections();
        // Out of time is as good as done: the next phase has its own means.
        let _ = timeout(self.grace, core.wait_quiet(handlers)).await;
        let after_grace = core.attached.connections();
        core.close_clients();
        let _ = timeout(self.flush_time, core.wait_quiet(handlers)).await;
        let aborted = core.attached.connections();
        core.abort_clients();
        core.wait_idle().await;
        let cancelled = core.cancel_handlers(myself);
        core.wait_quiet(handlers).await;
        Stopped {
            finished: at_first - after_grace,
            closed: after_grace - aborted,
            aborted,
            cancelled,
        }
    }
}

impl IntoFuture for Shutdown {
    type Output = Stopped;
    type IntoFuture = Pin<Box<dyn Future<Output = Stopped>>>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("server", &self.core)
            .field("grace", &self.grace)
            .field("flush_time", &self.flush_time)
            .finish()
    }
}
