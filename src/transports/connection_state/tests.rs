//! The rules of a connection, without a socket.
//!
//! Each test is a ladder: a state, and then what is asked on the left, what is answered
//! on the right. The constructors are states.

use super::super::water_marks::HIGH_WATER;
use super::*;

use Admission::{Dropped, Empty, Misused, Queue, QueueForStepEnd, SendNow};
use Next::{AwaitWritable, Lose, Nothing, SendNextTurn, ShutDownWriting};

// ── the order in which a write is judged ────────────────────────────

#[test]
fn the_first_write_of_a_step_is_queued_for_its_end_and_the_others_join_it() {
    let mut c = open();
    assert_eq!(c.writes(b"a"), QueueForStepEnd);
    assert_eq!(c.writes(b"b"), Queue);
    assert_eq!(c.writes(b"c"), Queue);
    assert_eq!(c.queued(), b"abc");
    assert!(c.wants_to_send(), "the end of the step sends");
    assert_eq!(c.kernel_takes(3), Nothing);
    assert!(!c.wants_to_send(), "nothing is left");
}

#[test]
fn a_small_write_joins_one_of_the_same_step() {
    let mut c = open();
    assert_eq!(c.writes_small(b"a"), Small::First);
    assert_eq!(c.writes_small(b"b"), Small::Joined);
    assert_eq!(
        c.writes_small(b""),
        Small::IsNone,
        "an empty one is not queued"
    );
    assert_eq!(
        c.writes_small(&[0; LARGE_WRITE]),
        Small::IsNone,
        "a large one leaves at once"
    );
    assert_eq!(c.queued(), b"ab");
    assert_eq!(c.kernel_takes(2), Nothing);
    assert_eq!(c.writes_small(b"c"), Small::First, "that step is over");
}

#[test]
fn a_small_write_waits_for_no_step_where_there_is_none_to_wait_for() {
    let pool = BufferPool::default();
    let mut c = open();
    assert_eq!(
        c.queue_small(b"a", false, &pool),
        Small::IsNone,
        "outside of any step"
    );
    c.set_write_policy(WritePolicy::Immediate);
    assert_eq!(c.writes_small(b"a"), Small::IsNone);
    let mut c = open();
    assert_eq!(c.end_output(), ShutDownWriting);
    assert_eq!(c.writes_small(b"a"), Small::IsNone, "misused");
    let mut c = open();
    assert_eq!(c.close(), Lose);
    assert_eq!(c.writes_small(b"a"), Small::IsNone, "too late");
}

#[test]
fn a_write_that_would_pass_the_high_mark_does_not_join() {
    let mut c = open_with_marks(10, 2);
    assert_eq!(c.writes_small(&[0; 11]), Small::IsNone);
    assert_eq!(c.writes_small(&[0; 9]), Small::First);
    assert_eq!(c.writes_small(&[0; 2]), Small::IsNone);
    assert_eq!(
        c.writes_small(&[0; 1]),
        Small::Joined,
        "up to the mark is not past it"
    );
    assert!(!c.is_writing_paused());
}

#[test]
fn a_write_does_not_join_what_waits_for_the_kernel() {
    let mut c = blocked(b"x");
    assert_eq!(c.writes_small(b"y"), Small::IsNone);
    assert!(c.became_writable());
    assert_eq!(
        c.writes_small(b"y"),
        Small::IsNone,
        "the next turn sends, and not the end of this step"
    );
}

#[test]
fn a_write_of_a_later_step_is_queued_for_the_end_of_that_one() {
    let mut c = open();
    assert_eq!(c.writes(b"a"), QueueForStepEnd);
    assert_eq!(c.kernel_takes(1), Nothing);
    assert_eq!(c.writes(b"b"), QueueForStepEnd);
}

#[test]
fn a_write_outside_of_any_step_is_sent_now() {
    let mut c = open();
    assert_eq!(c.admit(Call::Write, 1, false), SendNow);
    assert_same_state(&c, &open());
}

#[test]
fn with_the_policy_immediate_each_write_is_sent_now() {
    let mut c = open();
    c.set_write_policy(WritePolicy::Immediate);
    assert_eq!(c.writes(b"a"), SendNow);
    c.set_write_policy(WritePolicy::AtStepEnd);
    assert_eq!(c.writes(b"a"), QueueForStepEnd);
}

#[test]
fn a_write_of_four_kilobytes_is_sent_now_and_one_byte_less_is_not() {
    assert_eq!(open().admit(Call::Write, LARGE_WRITE, true), SendNow);
    assert_eq!(
        open().admit(Call::Write, LARGE_WRITE - 1, true),
        QueueForStepEnd
    );
}

#[test]
fn a_write_that_would_pass_the_high_mark_is_sent_now_with_what_is_queued() {
    let mut c = open_with_marks(10, 2);
    assert_eq!(c.writes(&[0; 9]), QueueForStepEnd);
    assert_eq!(c.admit(Call::Write, 2, true), SendNow);
    assert_eq!(
        c.admit(Call::Write, 1, true),
        Queue,
        "up to the mark is not past it"
    );
}

#[test]
fn while_the_kernel_is_full_every_write_is_queued_however_large() {
    let mut c = blocked(b"x");
    for len in [1, LARGE_WRITE, HIGH_WATER + 1] {
        assert_eq!(c.admit(Call::Write, len, true), Queue);
        assert_eq!(c.admit(Call::Write, len, false), Queue);
    }
    c.set_write_policy(WritePolicy::Immediate);
    assert_eq!(c.admit(Call::Write, 1, true), Queue);
}

#[test]
fn an_empty_write_has_no_effect_in_any_state_but_after_write_eof() {
    for make in [open, closing, lost] {
        let mut c = make();
        assert_eq!(c.admit(Call::Write, 0, true), Empty);
        assert_eq!(c.admit(Call::WriteLines, 0, true), Empty);
        assert_same_state(&c, &make());
    }
    assert!(matches!(
        half_closed().admit(Call::Write, 0, true),
        Misused(_)
    ));
}

#[test]
fn an_empty_write_does_not_count_as_dropped() {
    let mut c = lost();
    for _ in 0..10 {
        assert_eq!(c.admit(Call::Write, 0, true), Empty);
    }
    assert_eq!(c.writes(b"x"), Dropped { warn: false });
}

#[test]
fn d27_a_write_after_write_eof_is_a_misuse_that_is_remembered() {
    let mut c = half_closed();
    assert_eq!(c.misuse(), None);
    assert_eq!(c.writes(b"x"), Misused(Misuse::WriteAfterEof));
    assert_eq!(c.misuse(), Some("Cannot call write() after write_eof()"));
    assert_eq!(c.buffered(), 0, "what comes too late is not queued");
}

#[test]
fn d27_writelines_after_write_eof_is_named_as_such() {
    let mut c = half_closed();
    assert_eq!(
        c.admit(Call::WriteLines, 0, true),
        Misused(Misuse::WritelinesAfterEof)
    );
    assert_eq!(
        c.misuse(),
        Some("Cannot call writelines() after write_eof()")
    );
}

#[test]
fn d27_the_misuse_is_judged_before_the_loss() {
    let mut c = half_closed();
    assert!(c.force_close());
    assert_eq!(c.writes(b"x"), Misused(Misuse::WriteAfterEof));
}

#[test]
fn d27_it_holds_while_the_bytes_before_the_end_are_still_on_their_way() {
    let mut c = blocked(b"last");
    assert_eq!(c.end_output(), Nothing);
    assert_eq!(c.writes(b"x"), Misused(Misuse::WriteAfterEof));
    assert_eq!(c.queued(), b"last");
}

#[test]
fn trn_15_writes_to_a_lost_connection_are_dropped_and_from_the_fifth_on_warned_of() {
    let mut c = lost();
    let warned: Vec<bool> = (0..10)
        .map(|_| c.writes(b"x") == Dropped { warn: true })
        .collect();
    assert_eq!(
        warned,
        [
            false, false, false, false, true, true, true, true, true, true
        ]
    );
    assert_eq!(c.buffered(), 0);
    assert_eq!(c.misuse(), None);
}

#[test]
fn d7_writes_after_close_are_dropped_and_counted_and_do_not_disturb_the_flush() {
    let mut c = closing();
    for _ in 0..4 {
        assert_eq!(c.writes(b"late"), Dropped { warn: false });
    }
    assert_eq!(c.writes(b"late"), Dropped { warn: true });
    assert_same_state(&c, &closing());
    assert_eq!(c.became_writable_and_takes(UNSENT.len()), Lose);
}

// ── what follows a send (R6) ──────────────────────────────────

#[test]
fn less_taken_than_offered_waits_for_the_next_edge() {
    let mut c = open();
    assert_eq!(c.writes(b"abcd"), QueueForStepEnd);
    assert_eq!(c.kernel_takes(1), AwaitWritable);
    assert_eq!(c.queued(), b"bcd");
    assert!(
        !c.wants_to_send(),
        "the end of a step sends nothing: the kernel is full"
    );
}

#[test]
fn what_was_left_out_of_the_offer_makes_no_edge_so_the_next_turn_sends_it() {
    let mut c = open();
    c.queue_owned(b"offered".to_vec(), &BufferPool::default());
    c.queue_owned(b"not offered".to_vec(), &BufferPool::default());
    assert_eq!(c.kernel_takes_without_being_full(7), SendNextTurn);
    assert_eq!(c.queued(), b"not offered");
    assert!(c.wants_to_send());
}

#[test]
fn room_in_the_kernel_is_worth_a_send_only_if_something_is_queued() {
    let mut c = blocked(b"abc");
    assert!(c.became_writable());
    assert!(c.wants_to_send());
    assert_eq!(c.kernel_takes(3), Nothing);
    assert!(!c.became_writable(), "an edge that nobody waits for");
    assert_same_state(&c, &open());
}

#[test]
fn room_in_the_kernel_is_nothing_to_a_lost_connection() {
    let mut c = blocked(b"abc");
    assert!(c.force_close());
    assert!(!c.became_writable());
    assert!(!c.wants_to_send());
}

#[test]
fn a_spurious_edge_changes_nothing() {
    let mut c = blocked(b"abc");
    assert_eq!(c.became_writable_and_takes(0), AwaitWritable);
    assert_same_state(&c, &blocked(b"abc"));
}

#[test]
fn partial_sends_keep_the_order_of_bytes_with_writes_in_between() {
    let mut c = blocked(b"abc");
    assert_eq!(c.became_writable_and_takes(2), AwaitWritable);
    assert_eq!(c.writes(b"de"), Queue);
    c.queue_owned(b"fgh".to_vec(), &BufferPool::default());
    assert_eq!(c.queued(), b"cdefgh");
    assert_eq!(c.became_writable_and_takes(4), AwaitWritable);
    assert_eq!(c.became_writable_and_takes(2), Nothing);
}

// ── flow control ────────────────────────────────────────────────────

#[test]
fn trn_24_the_marks_are_completed_from_what_is_given() {
    for (high, low, marks) in [
        (Some(100), None, (25, 100)),
        (Some(1000), None, (250, 1000)),
        (None, Some(10), (10, 40)),
        (None, Some(1000), (1000, 4000)),
        (Some(100), Some(10), (10, 100)),
        (Some(7), Some(7), (7, 7)),
        (Some(0), None, (0, 0)),
        (Some(0), Some(0), (0, 0)),
        (None, None, (16_384, 65_536)),
        (None, Some(usize::MAX), (usize::MAX, usize::MAX)),
    ] {
        let mut c = open_with_marks(3, 2);
        assert_eq!(c.set_write_limits(high, low), Ok(()));
        assert_eq!(c.write_limits(), marks, "high {high:?}, low {low:?}");
    }
}

#[test]
fn trn_24_marks_in_the_wrong_order_are_refused_and_nothing_is_changed() {
    let mut c = open_with_marks(100, 10);
    let refused = c.set_write_limits(Some(10), Some(20));
    assert_eq!(refused, Err(WriteLimitsError { high: 10, low: 20 }));
    assert_eq!(
        refused.map_err(|e| e.to_string()),
        Err("high (10) must be >= low (20) must be >= 0".to_owned())
    );
    assert_eq!(c.write_limits(), (10, 100));
    assert!(c.set_write_limits(Some(0), Some(1)).is_err());
}

#[test]
fn trn_24_the_default_marks_are_64_and_16_kilobytes() {
    assert_eq!(open().write_limits(), (16_384, 65_536));
}

#[test]
fn trn_25_writing_pauses_above_the_high_mark_and_resumes_at_the_low_one() {
    let mut c = blocked_with_marks(100, 10);
    c.queues(99);
    assert!(!c.is_writing_paused(), "100 bytes are the mark");
    c.queues(1);
    assert!(c.is_writing_paused(), "101 bytes are above it");
    assert_eq!(c.became_writable_and_takes(90), AwaitWritable);
    assert!(c.is_writing_paused(), "11 bytes are above the low mark");
    assert_eq!(c.became_writable_and_takes(1), AwaitWritable);
    assert!(!c.is_writing_paused(), "10 bytes are the low mark");
}

#[test]
fn between_the_marks_it_stays_as_it_was() {
    let mut c = blocked_with_marks(100, 10);
    c.queues(60);
    assert!(!c.is_writing_paused());
    c.queues(60);
    assert_eq!(c.became_writable_and_takes(60), AwaitWritable);
    assert!(c.is_writing_paused());
}

#[test]
fn with_a_high_mark_of_zero_any_queued_byte_pauses() {
    let mut c = open_with_marks(0, 0);
    assert_eq!(
        c.admit(Call::Write, 1, true),
        SendNow,
        "nothing may wait for the end"
    );
    c.queues(1);
    assert!(c.is_writing_paused());
    assert_eq!(c.kernel_takes(1), Nothing);
    assert!(!c.is_writing_paused());
}

#[test]
fn trn_47_a_lower_high_mark_pauses_at_once_and_a_higher_one_does_not_resume() {
    let mut c = blocked(&[0; 50]);
    assert_eq!(c.set_write_limits(Some(40), None), Ok(()));
    assert!(c.is_writing_paused());
    assert_eq!(c.set_write_limits(None, None), Ok(()));
    assert!(c.is_writing_paused(), "only a flush resumes");
    assert_eq!(c.became_writable_and_takes(1), AwaitWritable);
    assert!(
        !c.is_writing_paused(),
        "49 bytes are below the new low mark"
    );
}

// ── the end of writing ──────────────────────────────────────────────────────────

#[test]
fn write_eof_with_nothing_queued_shuts_down_at_once() {
    let mut c = open();
    assert_eq!(c.end_output(), ShutDownWriting);
    assert_eq!(c.end_output(), Nothing, "once");
    assert!(!c.is_closing());
    assert!(c.is_reading());
}

#[test]
fn write_eof_with_bytes_queued_shuts_down_behind_the_last_one() {
    let mut c = blocked(b"ab");
    assert_eq!(c.end_output(), Nothing);
    assert_eq!(c.end_output(), Nothing);
    assert_eq!(c.became_writable_and_takes(1), AwaitWritable);
    assert_eq!(c.became_writable_and_takes(1), ShutDownWriting);
    assert!(!c.became_writable());
    assert_same_state(&c, &half_closed());
}

#[test]
fn trn_18_write_eof_on_a_closing_or_lost_connection_does_nothing() {
    for make in [closing, lost] {
        let mut c = make();
        assert_eq!(c.end_output(), Nothing);
        assert_same_state(&c, &make());
        assert_eq!(c.writes(b"x"), Dropped { warn: false }, "no misuse, either");
    }
}

#[test]
fn close_behind_a_write_eof_that_still_flushes_ends_without_a_shutdown() {
    let mut c = blocked(b"ab");
    assert_eq!(c.end_output(), Nothing);
    assert_eq!(c.close(), Nothing);
    assert_eq!(
        c.became_writable_and_takes(2),
        Lose,
        "the close says it, too"
    );
}

// ── reading ─────────────────────────────────────────────────────────────────────

#[test]
fn reading_pauses_and_resumes_and_each_of_them_is_idempotent() {
    let mut c = open();
    assert!(c.is_reading());
    assert!(!c.resume_reading(), "it was not paused");
    c.pause_reading();
    c.pause_reading();
    assert!(!c.is_reading());
    assert!(c.resume_reading());
    assert!(!c.resume_reading());
    assert!(c.is_reading());
}

#[test]
fn d5_after_the_end_nothing_resumes_reading() {
    for paused_before in [false, true] {
        let mut c = open();
        if paused_before {
            c.pause_reading();
        }
        c.end_input();
        assert!(!c.is_reading());
        c.pause_reading();
        assert!(!c.resume_reading());
        assert!(!c.is_reading());
        assert!(!c.is_closing(), "writing goes on");
    }
}

#[test]
fn a_closing_connection_neither_reads_nor_pauses_nor_resumes() {
    for make in [closing, lost] {
        let mut c = make();
        assert!(!c.is_reading());
        c.pause_reading();
        assert!(!c.resume_reading());
        assert!(!c.is_reading());
    }
    let mut c = open();
    c.pause_reading();
    assert_eq!(c.close(), Lose);
    assert!(!c.resume_reading(), "paused before, and closed since");
}

// ── the end ─────────────────────────────────────────────────────────────────────

#[test]
fn close_with_nothing_queued_ends_at_once() {
    let mut c = open();
    assert_eq!(c.close(), Lose);
    assert!(c.is_closing());
    assert!(c.is_lost());
    assert_eq!(c.close(), Nothing, "once");
    assert_same_state(&c, &lost());
}

#[test]
fn close_with_bytes_queued_ends_behind_the_last_one() {
    let mut c = blocked(b"abc");
    assert_eq!(c.close(), Nothing);
    assert!(c.is_closing());
    assert!(!c.is_lost());
    assert_eq!(c.close(), Nothing);
    assert_eq!(c.became_writable_and_takes(2), AwaitWritable);
    assert_eq!(c.became_writable_and_takes(1), Lose);
    assert!(c.is_lost());
    assert!(!c.has_discarded());
}

#[test]
fn an_abort_ends_at_once_and_says_whether_bytes_were_thrown_away() {
    let mut c = blocked(b"abc");
    assert!(c.force_close());
    assert!(c.is_lost());
    assert_eq!(c.buffered(), 0);
    assert!(c.has_discarded());
    let mut c = open();
    assert!(c.force_close());
    assert!(!c.has_discarded());
}

#[test]
fn an_abort_works_behind_a_close_that_still_flushes() {
    let mut c = closing();
    assert!(c.force_close());
    assert!(c.has_discarded());
    assert!(!c.became_writable());
}

#[test]
fn the_end_comes_once_by_whatever_road() {
    let roads: [fn() -> Machine; 3] = [
        || {
            let mut c = open();
            assert_eq!(c.close(), Lose);
            c
        },
        || {
            let mut c = open();
            assert!(c.force_close());
            c
        },
        || {
            let mut c = closing();
            assert_eq!(c.became_writable_and_takes(UNSENT.len()), Lose);
            c
        },
    ];
    for road in roads {
        let mut c = road();
        assert_same_state(&c, &lost());
        assert!(!c.force_close());
        assert_eq!(c.close(), Nothing);
        assert_eq!(c.end_output(), Nothing);
    }
}

#[test]
fn a_loss_does_not_lift_the_pause() {
    let mut c = blocked_with_marks(10, 2);
    c.queues(20);
    assert!(c.force_close());
    assert!(c.is_writing_paused(), "nothing was sent that could resume");
}

// ── states ──────────────────────────────────────────────────────────────────────

/// The machine, and what its transport does with its answers.
struct Machine {
    state: ConnectionState,
    pool: BufferPool,
}

/// What the constructors leave unsent.
const UNSENT: &[u8] = b"unsent";

fn open() -> Machine {
    Machine {
        state: ConnectionState::new(),
        pool: BufferPool::default(),
    }
}

fn open_with_marks(high: usize, low: usize) -> Machine {
    let mut c = open();
    assert_eq!(c.set_write_limits(Some(high), Some(low)), Ok(()));
    c
}

/// The kernel has taken nothing of `unsent`, and will say when it does.
fn blocked(unsent: &[u8]) -> Machine {
    let mut c = open();
    assert_eq!(c.writes(unsent), QueueForStepEnd);
    assert_eq!(c.kernel_takes(0), AwaitWritable);
    c
}

/// One byte is queued, and the marks are as given.
fn blocked_with_marks(high: usize, low: usize) -> Machine {
    let mut c = blocked(b"x");
    assert_eq!(c.set_write_limits(Some(high), Some(low)), Ok(()));
    c
}

/// `close` was called, and `UNSENT` is still to be sent.
fn closing() -> Machine {
    let mut c = blocked(UNSENT);
    assert_eq!(c.close(), Nothing);
    c
}

/// `write_eof` was called, and everything had been sent.
fn half_closed() -> Machine {
    let mut c = open();
    assert_eq!(c.end_output(), ShutDownWriting);
    c
}

fn lost() -> Machine {
    let mut c = open();
    assert!(c.force_close());
    c
}

impl Machine {
    /// A write of a step, queued if it is admitted to the queue.
    fn writes(&mut self, bytes: &[u8]) -> Admission {
        let admission = self.state.admit(Call::Write, bytes.len(), true);
        if matches!(admission, Queue | QueueForStepEnd) {
            self.state.queue(bytes, &self.pool);
        }
        admission
    }

    /// A write of a step that is queued if that is all there is to do.
    fn writes_small(&mut self, bytes: &[u8]) -> Small {
        self.state.queue_small(bytes, true, &self.pool)
    }

    /// Bytes come into the queue, however they were admitted.
    fn queues(&mut self, len: usize) {
        self.state.queue(&vec![0; len], &self.pool);
    }

    /// A send of all that is queued, of which the kernel takes `taken` bytes.
    fn kernel_takes(&mut self, taken: usize) -> Next {
        let full = taken < self.buffered();
        self.state.sent(taken, &self.pool);
        self.state.after_send(full)
    }

    /// A send of a part of what is queued, all of which the kernel takes.
    fn kernel_takes_without_being_full(&mut self, taken: usize) -> Next {
        self.state.sent(taken, &self.pool);
        self.state.after_send(false)
    }

    fn became_writable_and_takes(&mut self, taken: usize) -> Next {
        assert!(self.became_writable());
        assert!(self.wants_to_send());
        self.kernel_takes(taken)
    }

    fn queued(&self) -> Vec<u8> {
        let mut offer = [IoSlice::new(&[]); 16];
        let filled = self.state.fill_offer(&mut offer);
        assert_eq!(filled, self.state.queued_chunks());
        offer[..filled].iter().flat_map(|s| s.to_vec()).collect()
    }
}

impl std::ops::Deref for Machine {
    type Target = ConnectionState;

    fn deref(&self) -> &ConnectionState {
        &self.state
    }
}

impl std::ops::DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut ConnectionState {
        &mut self.state
    }
}

/// Two roads to the same state, but for what only counts: dropped writes, and whether
/// bytes were thrown away on the way.
fn assert_same_state(one: &Machine, other: &Machine) {
    let facts = |c: &Machine| {
        (
            (c.phase, c.output, c.sender),
            c.is_reading(),
            c.is_writing_paused(),
            c.queued(),
            c.write_limits(),
            c.misuse(),
        )
    };
    assert_eq!(facts(one), facts(other));
    for c in [one, other] {
        let nobody = c.sender == Sender::Nobody;
        assert_eq!(c.buffered() == 0, nobody, "the buffer's invariant");
    }
}
