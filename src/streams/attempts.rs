//! The attempts: what a read does without waiting.
//!
//! ```text
//!   owned      home ──take──► Vec
//!   borrowing  home ══swap══► lent ──► &[u8]
//!   must wait  lent ══back══► home
//! ```
//!
//! Each returns its result, or how long that is, or `None` if it takes more bytes; bytes are
//! removed only with a result (S4). None of them waits, so none of them can be dropped half-way.

use std::mem;

use crate::buffer::ReadBuffer;
use crate::error::{IncompleteReadError, LimitOverrunError, ReadError};
use crate::step::has_budget;

use super::find::find_byte;
use super::reader::{ErrorPolicy, OverlongPolicy, StreamReader};
use super::search::{FOUND_TOO_LATE, NEWLINE, ScannedFor, Search, Separators, line_end, search};

impl StreamReader {
    #[inline]
    pub(super) fn try_read(&mut self, n: usize) -> Result<Option<Vec<u8>>, ReadError> {
        if n == 0 {
            return Ok(Some(Vec::new()));
        }
        self.bring_home();
        if self.may_pull(self.state().room_expected()) {
            if let Some(taken) = self.pull_owned(n) {
                return Ok(Some(taken));
            }
        }
        let unread = self.state().unread();
        if unread > 0 {
            return Ok(Some(self.take_home(n.min(unread))));
        }
        Ok(self.is_at_the_end()?.then(Vec::new))
    }

    /// `None` also after a pull that found nothing, and mostly before the first: a read that
    /// finds nothing unread waits, and what the kernel has is left to it in the next turn.
    #[inline]
    pub(super) fn try_read_into(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ReadError> {
        if buffer.is_empty() {
            return Ok(Some(0));
        }
        self.bring_home();
        if self.may_pull(buffer.len()) || self.state().unread() > 0 {
            if let Some(taken) = self.take_into(buffer) {
                return Ok(Some(taken));
            }
        }
        Ok(self.is_at_the_end()?.then_some(0))
    }

    pub(super) fn try_read_all(&mut self, max: usize) -> Result<Option<Vec<u8>>, ReadError> {
        self.bring_home();
        let unread = self.state().unread();
        if unread > max {
            return Err(ReadError::LimitOverrun(LimitOverrunError {
                message: "Stream is longer than limit",
                consumed: unread,
            }));
        }
        Ok(self.is_at_the_end()?.then(|| self.take_home(unread)))
    }

    pub(super) fn try_readexactly(&mut self, n: usize) -> Result<Option<Vec<u8>>, ReadError> {
        if n == 0 {
            return Ok(Some(Vec::new()));
        }
        self.bring_home();
        let unread = self.state().unread();
        if unread >= n {
            return Ok(Some(self.take_home(n)));
        }
        if self.is_at_the_end()? {
            return Err(incomplete(self.take_home(unread), Some(n)));
        }
        Ok(None)
    }

    /// Where the line ends that a burst left at home, for a read that has nothing else to look
    /// at first. `None` may mean as much as `try_readline` can find out.
    pub(super) fn line_at_home(&self) -> Option<usize> {
        if !self.lent.is_empty() || !self.goes_on_with_lines() {
            return None;
        }
        let state = &self.state;
        let end = state.at_home(|home| line_end(home, state.limit()))?;
        has_budget().then_some(end)
    }

    /// Consumes the line that a burst left in what is lent, and returns its length: see
    /// [`line_at_home`](Self::line_at_home).
    pub(super) fn line_in_lent(&mut self) -> Option<usize> {
        if !self.goes_on_with_lines() {
            return None;
        }
        let end = line_end(&self.lent, self.state.limit())?;
        has_budget().then(|| self.consume_lent(end))
    }

    /// Says whether the last scan was for a newline, too, no error counts first, and no
    /// long line is to be discarded.
    #[inline]
    fn goes_on_with_lines(&self) -> bool {
        self.state.goes_on_with_lines()
    }

    pub(super) fn try_readline(&mut self, limit: usize) -> Result<Option<usize>, ReadError> {
        self.bring_home();
        if !self.try_discard_line()? {
            return Ok(None);
        }
        match self.try_find(NEWLINE, limit) {
            Ok(end) => Ok(end),
            Err(Unfound::TheEnd) => Ok(Some(self.state().unread())),
            Err(Unfound::TooLong(overrun)) => Err(self.drop_long_line(&overrun)),
            Err(Unfound::Lost(error)) => Err(error),
        }
    }

    pub(super) fn try_readuntil(
        &mut self,
        separators: &impl Separators,
        limit: usize,
    ) -> Result<Option<usize>, ReadError> {
        self.bring_home();
        self.try_find(separators, limit)
            .map_err(|unfound| self.no_record(unfound))
    }

    #[inline]
    pub(super) fn try_fill(&mut self, n: usize) -> Result<Option<()>, ReadError> {
        if !self.lent.is_empty() && self.lent.len() >= n {
            return Ok(Some(()));
        }
        self.bring_home();
        if self.state().unread() < n && !self.is_at_the_end()? {
            return Ok(None);
        }
        self.lend();
        Ok(Some(()))
    }

    pub(super) fn try_lend_line(&mut self, limit: usize) -> Result<Option<usize>, ReadError> {
        if self.is_discarding_line() {
            self.bring_home();
            if !self.try_discard_line()? {
                return Ok(None);
            }
        }
        match self.try_find_to_lend(NEWLINE, limit) {
            Ok(end) => Ok(end.map(|end| self.consume_lent(end))),
            Err(Unfound::TheEnd) => {
                let rest = self.lend();
                Ok(Some(self.consume_lent(rest)))
            }
            Err(Unfound::TooLong(overrun)) => Err(self.drop_long_line(&overrun)),
            Err(Unfound::Lost(error)) => Err(error),
        }
    }

    pub(super) fn try_lend_record(
        &mut self,
        separators: &impl Separators,
        limit: usize,
    ) -> Result<Option<usize>, ReadError> {
        match self.try_find_to_lend(separators, limit) {
            Ok(Some(end)) => {
                self.end_discarding(end);
                Ok(Some(self.consume_lent(end)))
            }
            Ok(None) => Ok(None),
            Err(unfound) => Err(self.no_record(unfound)),
        }
    }

    /// S5: before each wait, an error that came meanwhile counts, and then the end (D24).
    #[inline]
    pub(super) fn is_at_the_end(&self) -> Result<bool, ReadError> {
        let ended = self.state().eof().is_some();
        // D14: after the end, no more bytes are needed, whatever happened behind it.
        if !(ended && self.error_policy() == ErrorPolicy::DataFirst) {
            self.check_error()?;
        }
        Ok(ended)
    }

    #[inline]
    pub(super) fn check_error(&self) -> Result<(), ReadError> {
        if !self.state().has_failed() {
            return Ok(());
        }
        match self.state().exception() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Looks for a separator at home, and says where it ends.
    fn try_find(
        &mut self,
        separators: &impl Separators,
        limit: usize,
    ) -> Result<Option<usize>, Unfound> {
        self.prepare_scan(separators);
        let search_home = |separators: &ScannedFor| {
            let state = self.state();
            state.at_home(|home| search(home, separators, limit))
        };
        match self.state().scanning(search_home) {
            Search::Found(end) => Ok(Some(end)),
            Search::TooLong(overrun) => Err(Unfound::TooLong(overrun)),
            Search::NotYet => match self.is_at_the_end() {
                Ok(true) => Err(Unfound::TheEnd),
                Ok(false) => Ok(None),
                Err(error) => Err(Unfound::Lost(error)),
            },
        }
    }

    /// Looks for a separator in what is lent, then at home; what it finds is lent.
    fn try_find_to_lend(
        &mut self,
        separators: &impl Separators,
        limit: usize,
    ) -> Result<Option<usize>, Unfound> {
        if !self.lent.is_empty() {
            self.prepare_scan(separators);
            let lent = &mut self.lent;
            let search_lent = |separators: &ScannedFor| search(lent, separators, limit);
            if let Search::Found(end) = self.state.scanning(search_lent) {
                return Ok(Some(end));
            }
            // What is at home may hold the separator: together they decide.
        }
        self.bring_home();
        let end = self.try_find(separators, limit)?;
        if end.is_some() {
            self.lend();
        }
        Ok(end)
    }

    /// What `readuntil` fails with.
    fn no_record(&mut self, unfound: Unfound) -> ReadError {
        match unfound {
            Unfound::TheEnd => incomplete(self.take_home(self.state().unread()), None),
            Unfound::TooLong(overrun) => ReadError::LimitOverrun(overrun),
            Unfound::Lost(error) => error,
        }
    }

    /// A scan for the same separators goes on where it was; for others it begins anew.
    #[inline]
    fn prepare_scan(&mut self, separators: &impl Separators) {
        if !self.state.is_scanned_for(separators) {
            let scanned_for = ScannedFor::new(separators);
            self.state.habits_mut().scanned_for = scanned_for;
            self.lent.forget_scan();
            self.state().at_home(ReadBuffer::forget_scan);
        }
    }

    /// Drops what the policy says of a line that is too long.
    fn drop_long_line(&mut self, overrun: &LimitOverrunError) -> ReadError {
        let message = overrun.message;
        let ended = message == FOUND_TOO_LATE;
        let policy = self.state.habit(|habits| habits.overlong_policy);
        let dropped = match policy {
            OverlongPolicy::Keep => 0,
            _ if ended => overrun.consumed + NEWLINE.len(),
            OverlongPolicy::DropBuffer => self.state().unread(),
            OverlongPolicy::DiscardLine => {
                self.set_discarding_line(true);
                self.state().unread()
            }
        };
        self.drop_home(dropped);
        ReadError::LineTooLong { message, dropped }
    }

    /// The caller reads on by itself, what is left of a long line included: from here on,
    /// nobody knows any more where that line ends.
    #[inline]
    pub(super) fn end_discarding(&mut self, n: usize) {
        if n > 0 {
            self.set_discarding_line(false);
        }
    }

    #[inline]
    fn set_discarding_line(&mut self, discarding: bool) {
        if discarding != self.is_discarding_line() {
            self.state.habits_mut().discarding_line = discarding;
        }
    }

    /// D16: drops the rest of a line that was too long. False if more of it is to come.
    fn try_discard_line(&mut self) -> Result<bool, ReadError> {
        if !self.is_discarding_line() {
            return Ok(true);
        }
        let newline = self
            .state()
            .at_home(|home| find_byte(NEWLINE[0], home.unread()));
        match newline {
            Some(at) => {
                self.drop_home(at + NEWLINE.len());
                self.set_discarding_line(false);
                Ok(true)
            }
            None => {
                self.drop_home(self.state().unread());
                self.is_at_the_end()
            }
        }
    }

    /// Puts lent bytes back in front of those at home.
    #[inline]
    pub(super) fn bring_home(&mut self) {
        if self.lent.has_memory() {
            self.bring_lent_home();
        }
    }

    fn bring_lent_home(&mut self) {
        let state = &self.state;
        let pool = state.pool();
        self.lent.release_if_empty(pool);
        if self.lent.is_empty() {
            return;
        }
        let lent = &mut self.lent;
        state.at_home(|home| {
            lent.append(home.unread(), pool);
            mem::swap(home, lent);
            lent.consume(lent.len());
            lent.release_if_empty(pool);
        });
    }

    /// Swaps the bytes at home into the handle, and returns how many there are.
    #[inline]
    pub(super) fn lend(&mut self) -> usize {
        debug_assert!(self.lent.is_empty(), "lent bytes come before those at home");
        let lent = &mut self.lent;
        let pool = self.state.pool();
        lent.release_if_empty(pool);
        self.state.at_home(|home| mem::swap(home, lent));
        lent.len()
    }

    /// Takes `n` bytes at home as a vector.
    pub(super) fn take_home(&mut self, n: usize) -> Vec<u8> {
        let state = &self.state;
        let taken = state.at_home(|home| home.take(n, state.pool()));
        self.end_discarding(n);
        self.after_consuming(n);
        taken
    }

    /// Takes `n` bytes at home for a vector of the caller's: see
    /// [`ReadBuffer::take_boxed`].
    pub(super) fn take_boxed(&mut self, n: usize) -> Box<[u8]> {
        let state = &self.state;
        let taken = state.at_home(|home| home.take_boxed(n, state.pool()));
        self.end_discarding(n);
        self.after_consuming(n);
        taken
    }

    /// Drops `n` bytes at home.
    pub(super) fn drop_home(&mut self, n: usize) {
        self.consume_home(n);
        self.after_consuming(n);
    }

    /// Takes `n` bytes at home out, which [`after_consuming`](Self::after_consuming) is
    /// still to be told.
    pub(super) fn consume_home(&mut self, n: usize) {
        let state = &self.state;
        state.at_home(|home| {
            home.consume(n);
            home.release_if_empty(state.pool());
        });
    }

    /// Consumes the first `n` lent bytes, and returns `n`:
    /// [`just_consumed`](Self::just_consumed) lends them all the same.
    #[inline]
    fn consume_lent(&mut self, n: usize) -> usize {
        self.lent.consume(n);
        self.after_consuming(n);
        n
    }

    /// Lends the `n` bytes that were just consumed.
    #[inline]
    pub(super) fn just_consumed(&mut self, n: usize) -> &[u8] {
        self.lent.just_consumed(n)
    }

    /// S3.
    #[inline]
    pub(super) fn after_consuming(&self, n: usize) {
        let state = self.state();
        state.consumed(n);
        if state.is_paused() {
            self.resume_below_limit();
        }
    }

    #[cold]
    fn resume_below_limit(&self) {
        self.state().resume_below_limit(self.transport());
    }
}

/// Why a separator will not be found.
enum Unfound {
    /// The stream ended; what is left is at home.
    TheEnd,
    /// What is at home is longer than the limit.
    TooLong(LimitOverrunError),
    /// The connection was lost.
    Lost(ReadError),
}

/// The stream ended too early.
pub(super) fn incomplete(partial: Vec<u8>, expected: Option<usize>) -> ReadError {
    ReadError::Incomplete(IncompleteReadError { partial, expected })
}
