//! The feed: what a protocol of your own feeds a reader by.

use std::fmt;
use std::rc::Rc;

use crate::contract::EofKind;
use crate::error::ConnError;

use super::state::StreamState;

/// The feeding side of a [`StreamReader`](crate::StreamReader), for protocols of your own.
///
/// # asyncio
/// The methods `feed_data`, `feed_eof`, `set_exception` of the reader itself, which here
/// a pending read borrows.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{StreamReader, get_running_loop, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut reader = StreamReader::new();
///     let feed = reader.feeder();
///     get_running_loop()?.call_soon(move || feed.feed_data(b"later\n"))?;
///     assert_eq!(reader.readline().await?, b"later\n");
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct StreamFeed {
    state: Rc<StreamState>,
}

impl StreamFeed {
    pub(super) fn new(state: Rc<StreamState>) -> StreamFeed {
        StreamFeed { state }
    }

    /// Adds bytes, and wakes the read that waits.
    ///
    /// If more than twice the limit is unread then, the reader's transport is paused.
    /// No bytes have no effect. Bytes after [`feed_eof`](Self::feed_eof) are a mistake:
    /// they are dropped, and in debug builds this panics.
    ///
    /// # asyncio
    /// `StreamReader.feed_data`.
    pub fn feed_data(&self, data: &[u8]) {
        let transport = self.state.readers_transport().map(|transport| &**transport);
        self.state.feed_data(transport, data);
    }

    /// Ends the stream, and wakes the read that waits. Again has no effect.
    ///
    /// # asyncio
    /// `StreamReader.feed_eof`.
    pub fn feed_eof(&self) {
        self.state.feed_eof(EofKind::Clean);
    }

    /// Has the read that waits fail, and all that follow.
    ///
    /// # asyncio
    /// `StreamReader.set_exception`.
    pub fn set_exception(&self, error: impl Into<ConnError>) {
        self.state.set_exception(error.into());
    }
}

impl fmt::Debug for StreamFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamFeed").finish_non_exhaustive()
    }
}
