//! The rules of a TLS connection, without keys and without a transport.

use super::*;

use Admission::{Admitted, Dropped, Empty, Misused};

#[test]
fn the_phases_follow_each_other_and_nothing_else_does() {
    let mut s = handshaking();
    assert!(!s.close(), "a handshake is aborted, not closed");
    assert_eq!(s.wrap(), App::Unmet);
    assert_eq!((s.phase(), s.app()), (Phase::Wrapped, App::Met));
    assert!(s.close());
    assert!(!s.close(), "again");
    assert_eq!(s.phase(), Phase::Flushing);
    assert!(s.is_to_notify());
    assert_eq!(s.phase(), Phase::Shutdown);
    assert!(!s.is_to_notify(), "once");
    assert!(!s.is_done(true));
    assert!(s.is_done(false), "nobody is waited for");
    s.peer_closed();
    assert!(s.is_done(true));
    assert!(s.unwrap());
    assert!(!s.unwrap(), "again");
}

#[test]
fn a_close_notify_waits_for_what_is_not_encrypted() {
    let mut s = wrapped();
    s.queue(b"last words", &BufferPool::default());
    assert!(s.close());
    assert!(!s.is_to_notify());
    let _ = s.take_unencrypted();
    assert!(s.is_to_notify());
}

#[test]
fn writing_pauses_at_the_mark_counting_what_lies_below() {
    let mut s = wrapped();
    assert_eq!(s.set_write_limits(Some(100), Some(20), 0), Ok(()));
    s.queue(&[b'x'; 60], &BufferPool::default());
    s.grew(39);
    assert_eq!(s.is_writing_paused(), Some(false));
    s.grew(40);
    assert_eq!(
        s.is_writing_paused(),
        Some(true),
        "at the mark, not above it"
    );
    let _ = s.take_unencrypted();
    s.shrank(21);
    assert_eq!(s.is_writing_paused(), Some(true));
    s.shrank(20);
    assert_eq!(s.is_writing_paused(), Some(false));
}

#[test]
fn a_high_mark_of_zero_pauses_only_while_something_is_queued() {
    let mut s = wrapped();
    assert_eq!(s.set_write_limits(Some(0), None, 0), Ok(()));
    assert_eq!(s.is_writing_paused(), Some(false));
    s.grew(1);
    assert_eq!(s.is_writing_paused(), Some(true));
}

#[test]
fn writes_after_the_end_are_dropped_and_the_fifth_warns() {
    let mut s = wrapped();
    assert_eq!(s.admit(Call::Write, 1), Admitted);
    assert_eq!(s.admit(Call::Write, 0), Empty);
    assert!(s.close());
    for warn in [false, false, false, false, true, true] {
        assert_eq!(s.admit(Call::Write, 1), Dropped { warn });
    }
    assert!(s.has_discarded());
}

#[test]
fn a_write_after_the_end_of_writing_is_a_misuse_until_all_is_closing() {
    let mut s = wrapped();
    s.end_output();
    assert!(s.is_to_notify());
    assert_eq!(s.admit(Call::WriteLines, 0), Misused(WRITELINES_AFTER_EOF));
    assert_eq!(s.misuse(), Some(WRITELINES_AFTER_EOF));
    assert!(s.close());
    assert!(!s.is_to_notify(), "it was sent when writing ended");
    assert_eq!(s.phase(), Phase::Shutdown);
    assert_eq!(s.admit(Call::Write, 1), Dropped { warn: false });
}

#[test]
fn the_end_of_the_bytes_below_is_a_truncation_unless_the_peer_spoke_first() {
    let mut s = wrapped();
    assert_eq!(s.peer_end(), None);
    s.raw_ended();
    assert_eq!(s.peer_end(), Some(EofKind::Truncated));
    let mut s = wrapped();
    s.peer_closed();
    s.raw_ended();
    assert_eq!(s.peer_end(), Some(EofKind::Clean));
}

#[test]
fn nothing_is_read_and_nobody_resumed_after_the_end() {
    let mut s = wrapped();
    s.pause_reading();
    s.tell_end();
    assert!(!s.resume_reading(), "D5");
    assert!(!s.is_reading());
}

#[test]
fn the_socket_is_stopped_at_one_mark_and_started_at_another() {
    let mut s = wrapped();
    assert_eq!(s.weigh_input(READ_HIGH_WATER - 1), Intake::Unchanged);
    assert_eq!(s.weigh_input(READ_HIGH_WATER), Intake::Pause);
    assert_eq!(s.weigh_input(READ_HIGH_WATER), Intake::Unchanged);
    assert_eq!(s.weigh_input(READ_LOW_WATER + 1), Intake::Unchanged);
    assert_eq!(s.weigh_input(READ_LOW_WATER), Intake::Resume);
    assert_eq!(s.weigh_input(0), Intake::Unchanged);
}

#[test]
fn what_is_lost_by_force_resumes_nobody() {
    let mut s = wrapped();
    s.grew(HIGH_WATER);
    assert!(s.unwrap());
    assert_eq!(s.is_writing_paused(), None);
}

fn handshaking() -> TlsState {
    TlsState::new(App::Unmet)
}

fn wrapped() -> TlsState {
    let mut s = handshaking();
    let _ = s.wrap();
    s
}
