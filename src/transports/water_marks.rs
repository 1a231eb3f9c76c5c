//! The water marks: when a protocol is to write no more, and when again.
//!
//! ```text
//!   size > high ──► paused ──► size <= low ──► not paused
//! ```

use crate::contract::WriteLimitsError;

/// Bytes above which writing is paused, unless set.
pub(super) const HIGH_WATER: usize = 64 * 1024;

/// The marks. On which side of them what is queued was last, their owner knows.
///
/// Invariant: `low <= high`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaterMarks {
    high: usize,
    low: usize,
}

/// Those that nobody set.
impl Default for WaterMarks {
    #[inline]
    fn default() -> WaterMarks {
        WaterMarks {
            high: HIGH_WATER,
            low: HIGH_WATER / 4,
        }
    }
}

impl WaterMarks {
    /// Completes what was given of the two.
    ///
    /// # Errors
    /// If the high mark is below the low one.
    pub(super) fn new(
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<WaterMarks, WriteLimitsError> {
        let high = high.unwrap_or_else(|| match low {
            Some(low) => low.saturating_mul(4),
            None => HIGH_WATER,
        });
        let low = low.unwrap_or(high / 4);
        if high < low {
            return Err(WriteLimitsError { high, low });
        }
        Ok(WaterMarks { high, low })
    }

    /// Says whether writing pauses when what is queued has grown to so many bytes.
    #[inline]
    pub(super) fn pause_at(self, size: usize) -> bool {
        size > self.high
    }

    /// Says whether writing resumes when what is queued has shrunk to so many bytes.
    #[inline]
    pub(super) fn resume_at(self, size: usize) -> bool {
        size <= self.low
    }

    /// Returns the low mark and the high one.
    pub(super) fn limits(self) -> (usize, usize) {
        (self.low, self.high)
    }
}
