//! The water marks: when a protocol is to write no more, and when again.
//!
//! ```text
//!   size > high ──► paused ──► size <= low ──► not paused
//! ```

use crate::contract::WriteLimitsError;

/// Bytes above which writing is paused, unless set.
pub(super) const HIGH_WATER: usize = 64 * 1024;

/// The marks, and on which side of them what is queued was last.
pub(super) struct WaterMarks {
    /// `None`: the marks that nobody set. In a box, for few are, and connections are many.
    set: Option<Box<Marks>>,
    /// What is true: the size grew above `high`, and has not shrunk to `low` since.
    /// What the protocol was told, its cell knows (R4).
    paused: bool,
}

/// Invariant: `low <= high`.
#[derive(Clone, Copy)]
struct Marks {
    high: usize,
    low: usize,
}

const UNLESS_SET: Marks = Marks {
    high: HIGH_WATER,
    low: HIGH_WATER / 4,
};

impl WaterMarks {
    pub(super) fn new() -> WaterMarks {
        WaterMarks {
            set: None,
            paused: false,
        }
    }

    #[inline]
    fn marks(&self) -> Marks {
        match &self.set {
            None => UNLESS_SET,
            Some(marks) => **marks,
        }
    }

    /// More was queued: `size` bytes are, now.
    #[inline]
    pub(super) fn grew(&mut self, size: usize) {
        if size > self.marks().high {
            self.paused = true;
        }
    }

    /// Some was sent: `size` bytes are queued, now.
    #[inline]
    pub(super) fn shrank(&mut self, size: usize) {
        if size <= self.marks().low {
            self.paused = false;
        }
    }

    /// Says whether the protocol is to write no more.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Says whether so many bytes would pause it.
    #[inline]
    pub(super) fn are_passed_by(&self, size: usize) -> bool {
        size > self.marks().high
    }

    /// Returns the low mark and the high one.
    pub(super) fn limits(&self) -> (usize, usize) {
        let Marks { high, low } = self.marks();
        (low, high)
    }

    /// Sets the marks. A lower high mark may pause, with `size` bytes queued; a higher one
    /// does not resume: the next flush does.
    ///
    /// # Errors
    /// If the high mark is below the low one; nothing is changed then.
    pub(super) fn set(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
        size: usize,
    ) -> Result<(), WriteLimitsError> {
        let high = high.unwrap_or_else(|| match low {
            Some(low) => low.saturating_mul(4),
            None => HIGH_WATER,
        });
        let low = low.unwrap_or(high / 4);
        if high < low {
            return Err(WriteLimitsError { high, low });
        }
        self.set = Some(Box::new(Marks { high, low }));
        self.grew(size);
        Ok(())
    }
}
