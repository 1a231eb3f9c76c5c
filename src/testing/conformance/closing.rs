//! How a connection ends: close, abort, from inside and from outside, and what comes after.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::contract::Transport;

use super::super::recorder::Recorder;
use super::super::trace::Told::{ConnectionLost, ConnectionMade, DataReceived, EofReceived, Noted};
use super::Scenario;
use super::scene::{Scene, assert_same_bytes, pattern};

pub(super) const SCENARIOS: &[Scenario] = &[
    (
        "close shows at once, and connection_lost comes later, never inside it",
        close_is_never_synchronous,
    ),
    ("close sends first what was written", close_flushes),
    (
        "closing twice, and aborting after it, ends once",
        closing_twice,
    ),
    (
        "close inside connection_made is honoured",
        close_in_connection_made,
    ),
    (
        "close before connection_made still tells both, in order",
        close_before_connection_made,
    ),
    (
        "after close inside data_received nothing more is received",
        close_in_data_received,
    ),
    (
        "after close, writes are dropped, and reading is neither paused nor resumed",
        closing_does_nothing_else,
    ),
    (
        "abort drops what was written and ends without an error",
        abort_drops,
    ),
    (
        "abort ends a close whose peer does not read",
        abort_behind_close,
    ),
    (
        "abort inside data_received ends with one connection_lost",
        abort_in_data_received,
    ),
    (
        "when the peer aborts, the survivor is told once",
        peer_aborts,
    ),
    (
        "a writer that is stuck, and does not read, is told that the peer is gone",
        peer_of_a_stuck_writer_aborts,
    ),
    (
        "anything may be called inside connection_lost",
        calls_inside_connection_lost,
    ),
    (
        "anything may be called after connection_lost, and does nothing",
        calls_after_connection_lost,
    ),
    (
        "a transport without handles goes on, for the loop owns it",
        handles_are_dropped,
    ),
    (
        "a protocol that holds its transport is freed when the connection is lost",
        cycle_is_cut,
    ),
    (
        "a panic in connection_lost leaves nothing behind",
        panic_in_connection_lost,
    ),
    (
        "a panic in the drop of a protocol leaves nothing behind",
        panic_in_drop,
    ),
    ("a loop that closes calls no protocol any more", loop_closes),
];

fn close_is_never_synchronous(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    assert!(!one.transport.is_closing());
    one.transport.close();
    assert!(one.transport.is_closing());
    assert!(!one.transport.is_reading());
    assert_eq!(one.trace.told(), [ConnectionMade], "not inside close");
    scene.until_lost(&[&one, &other])?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert_eq!(
        other.trace.told(),
        [ConnectionMade, EofReceived, ConnectionLost(None)]
    );
    Ok(())
}

fn close_flushes(scene: &Scene<'_>) -> io::Result<()> {
    let sent = pattern(1 << 20, 11);
    let (one, other) = scene.connects_plainly()?;
    one.transport.write(&sent);
    one.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_same_bytes(&other.trace.received(), &sent);
    assert_eq!(one.trace.told().last(), Some(&ConnectionLost(None)));
    assert!(!one.transport.has_discarded());
    Ok(())
}

fn closing_twice(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    one.transport.close();
    one.transport.close();
    one.transport.abort();
    scene.until_lost(&[&one, &other])?;
    one.transport.close();
    one.transport.abort();
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    Ok(())
}

fn close_in_connection_made(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| {
            r.on_connection_made(|t| {
                t.write(b"bye");
                t.close();
            })
        },
        |r| r.on_connection_made(|t| t.write(b"not read any more")),
    )?;
    scene.until_lost(&[&one])?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    scene.until_lost(&[&other])
}

fn close_before_connection_made(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(|r| r, |r| r)?;
    one.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    Ok(())
}

fn close_in_data_received(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(|r| r.on_data_received(|t, _| t.close()), |r| r)?;
    other.transport.write(&pattern(1 << 20, 12));
    scene.until_lost(&[&one])?;
    let data = one.trace.count(|t| matches!(t, DataReceived(_)));
    assert_eq!(data, 1, "calls of data_received");
    scene.until_lost(&[&other])
}

fn closing_does_nothing_else(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let sent = scene.fills(&one, &other)?;
    one.transport.close();
    let queued = one.transport.get_write_buffer_size();
    assert!(queued > 0, "closing has to wait for the peer");
    one.transport.write(b"late");
    one.transport.writelines(&[IoSlice::new(b"late")]);
    one.transport.write_eof();
    one.transport.resume_reading();
    assert!(!one.transport.is_reading());
    assert_eq!(one.transport.get_write_buffer_size(), queued, "D7");
    assert_eq!(one.transport.misuse(), None);
    other.transport.resume_reading();
    scene.until_lost(&[&one, &other])?;
    assert_same_bytes(&other.trace.received(), &sent);
    Ok(())
}

fn abort_drops(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    scene.fills(&one, &other)?;
    assert!(!one.transport.has_discarded());
    one.transport.abort();
    assert!(one.transport.is_closing());
    assert_eq!(one.transport.get_write_buffer_size(), 0);
    assert!(one.transport.has_discarded());
    assert!(!one.trace.is_lost(), "not inside abort");
    other.transport.resume_reading();
    scene.until_lost(&[&one, &other])?;
    assert_eq!(one.trace.told().last(), Some(&ConnectionLost(None)));
    Ok(())
}

fn abort_behind_close(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    scene.fills(&one, &other)?;
    one.transport.close();
    scene.settles()?;
    assert!(!one.trace.is_lost());
    one.transport.abort();
    scene.until_lost(&[&one])?;
    assert_eq!(one.trace.told().last(), Some(&ConnectionLost(None)));
    other.transport.resume_reading();
    scene.until_lost(&[&other])
}

fn abort_in_data_received(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| {
            let notes = r.trace().clone();
            r.on_data_received(move |t, _| {
                t.abort();
                t.abort();
                t.close();
                notes.note("returned");
            })
        },
        |r| r.on_connection_made(|t| t.write(b"x")),
    )?;
    scene.until_lost(&[&one, &other])?;
    assert_eq!(
        one.trace.told(),
        [
            ConnectionMade,
            DataReceived(b"x".to_vec()),
            Noted("returned"),
            ConnectionLost(None)
        ]
    );
    Ok(())
}

fn peer_aborts(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(Recorder::keeps_open, |r| r)?;
    scene.until("connection_made", || other.trace.has(&ConnectionMade))?;
    other.transport.abort();
    scene.until("a word of it", || {
        // A reset where the network knows one, else the end, after which writing fails.
        one.transport.write(b"is anybody there?");
        one.trace.is_lost()
    })?;
    scene.settles()?;
    let lost = one.trace.count(|t| matches!(t, ConnectionLost(_)));
    assert_eq!(lost, 1);
    Ok(())
}

fn peer_of_a_stuck_writer_aborts(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    scene.fills(&one, &other)?;
    one.transport.pause_reading();
    other.transport.abort();
    scene.until_lost(&[&one])?;
    let told = one.trace.told();
    assert!(
        matches!(told.last(), Some(ConnectionLost(Some(_)))),
        "bytes are lost, and that is an error: {told:?}"
    );
    assert!(one.transport.has_discarded());
    Ok(())
}

fn calls_inside_connection_lost(scene: &Scene<'_>) -> io::Result<()> {
    let successor = scene.trace();
    let (one, other) = scene.connects(
        |r| {
            let kept: Rc<RefCell<Option<Rc<dyn Transport>>>> = Rc::default();
            let keep = kept.clone();
            r.on_connection_made(move |t| drop(keep.replace(Some(t.clone()))))
                .on_connection_lost(move |_| {
                    let transport = kept.take().expect("connection_made comes first");
                    use_in_every_way(&*transport);
                    transport.set_protocol(Box::new(Recorder::successor(&successor)));
                })
        },
        |r| r,
    )?;
    scene.until("connection_made", || one.trace.has(&ConnectionMade))?;
    one.transport.close();
    drop(one.transport);
    scene.until("connection_lost", || one.trace.is_lost())?;
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    scene.until_lost(&[&other])
}

fn calls_after_connection_lost(scene: &Scene<'_>) -> io::Result<()> {
    let successor = scene.trace();
    let (one, other) = scene.connects_plainly()?;
    one.transport.close();
    scene.until_lost(&[&one, &other])?;
    for _ in 0..10 {
        use_in_every_way(&*one.transport);
    }
    one.transport
        .set_protocol(Box::new(Recorder::successor(&successor)));
    assert_eq!(one.transport.get_write_buffer_size(), 0);
    assert!(one.transport.is_closing());
    assert!(!one.transport.is_reading());
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert!(!successor.is_lost());
    Ok(())
}

fn use_in_every_way(transport: &dyn Transport) {
    transport.write(b"x");
    transport.write_owned(vec![b'x'; 100_000]);
    transport.writelines(&[IoSlice::new(b"x"), IoSlice::new(b"y")]);
    transport.flush();
    let flushed = transport.poll_flushed(&mut Context::from_waker(Waker::noop()));
    assert_eq!(flushed, Poll::Ready(()), "nothing is left to be flushed");
    if transport.can_write_eof() {
        transport.write_eof();
    }
    transport.pause_reading();
    transport.resume_reading();
    let read = transport.try_read(&mut [0; 10]);
    assert!(read.is_err(), "bytes from a connection that is over");
    let set = transport.set_write_buffer_limits(Some(0), None);
    assert_eq!(set, Ok(()));
    transport.close();
    transport.abort();
}

fn handles_are_dropped(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    drop(one.transport);
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade]);
    other.transport.write(b"still there?");
    scene.until("the bytes", || one.trace.received() == b"still there?")?;
    other.transport.close();
    scene.until("connection_lost", || one.trace.is_lost())
}

fn cycle_is_cut(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| {
            let kept = Cell::new(None);
            r.on_connection_made(move |t| kept.set(Some(t.clone())))
        },
        |r| r,
    )?;
    let weak = Rc::downgrade(&one.transport);
    drop(one.transport);
    scene.until("connection_made", || one.trace.has(&ConnectionMade))?;
    assert!(weak.upgrade().is_some(), "open, and held by its protocol");
    other.transport.close();
    scene.until("connection_lost", || one.trace.is_lost())?;
    scene.settles()?;
    assert_eq!(one.trace.recorders_dropped(), 1);
    assert!(weak.upgrade().is_none(), "the transport leaks");
    Ok(())
}

fn panic_in_connection_lost(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r.on_connection_lost(|_| panic!("on purpose")),
        |r| r.on_connection_made(|t| t.close()),
    )?;
    scene.until_lost(&[&one, &other])?;
    scene.settles()?;
    assert_eq!(one.trace.recorders_dropped(), 1);
    scene.expects_report("Fatal error: protocol.connection_lost() call failed.");
    Ok(())
}

fn panic_in_drop(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r.on_drop(|| panic!("on purpose")),
        |r| r.on_connection_made(|t| t.close()),
    )?;
    scene.until_lost(&[&one, &other])?;
    scene.settles()?;
    assert_eq!(scene.event_loop.census().sources, 0);
    scene.expects_report("Exception in the drop of a protocol");
    Ok(())
}

fn loop_closes(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    other.transport.write(b"never delivered");
    one.transport.write(&pattern(1 << 20, 15));
    scene.event_loop.close()?;
    for end in [&one, &other] {
        assert!(!end.trace.is_lost(), "connection_lost, too, is a call");
        assert_eq!(end.trace.received_len(), 0);
        assert_eq!(end.trace.recorders_dropped(), 1, "R1");
        assert!(end.transport.is_closing());
        use_in_every_way(&*end.transport);
    }
    Ok(())
}
