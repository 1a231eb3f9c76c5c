//! Data, its end, pausing and resuming, lent buffers, pulling.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use crate::contract::{AfterEof, PeerName, ReadInto, SockName};

use super::super::trace::Told::{ConnectionLost, ConnectionMade, DataReceived, EofReceived};
use super::Scenario;
use super::scene::{Scene, assert_same_bytes, pattern};

pub(super) const SCENARIOS: &[Scenario] = &[
    (
        "connection_made, data, the end and the loss come in this order, once each",
        calls_come_in_order,
    ),
    (
        "what is written in connection_made arrives after the peer's connection_made",
        written_in_connection_made,
    ),
    (
        "reading is on inside connection_made, and a pause there holds data back",
        paused_in_connection_made,
    ),
    (
        "a pause holds data and the end back, and resuming delivers both",
        paused_with_data_and_end,
    ),
    (
        "resuming delivers what came while paused, though nothing new comes",
        resumed_without_news,
    ),
    (
        "a pause inside data_received holds back what is left",
        paused_in_data_received,
    ),
    (
        "pausing and resuming again and again loses nothing",
        paused_many_times,
    ),
    (
        "pausing and resuming twice is doing it once",
        pausing_is_idempotent,
    ),
    (
        "the end is told once, also if reading is paused and resumed after it",
        the_end_is_told_once,
    ),
    (
        "bytes that were lent a buffer arrive in it, and the end after them",
        lent_buffers,
    ),
    (
        "who wants a few bytes at a time gets them so, and all of them",
        a_few_at_a_time,
    ),
    (
        "a buffer that was lent comes back unused before the end is told",
        lent_buffers_come_back,
    ),
    (
        "an empty buffer ends the connection",
        an_empty_buffer_is_fatal,
    ),
    (
        "bytes that are left for later are there for try_read, or for resume_reading",
        left_for_later,
    ),
    (
        "bytes that are left for later come with resume_reading, though it was not paused",
        resumed_without_a_pause,
    ),
    (
        "extra information stays known after the connection is lost",
        extra_info_stays,
    ),
    (
        "a panic in data_received ends that connection",
        panic_in_data_received,
    ),
    (
        "a panic in eof_received ends that connection",
        panic_in_eof_received,
    ),
    (
        "a panic in connection_made ends that connection",
        panic_in_connection_made,
    ),
];

fn calls_come_in_order(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    other.transport.write(b"a");
    other.transport.write(b"b");
    other.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_eq!(
        one.trace.told(),
        [
            ConnectionMade,
            DataReceived(b"ab".to_vec()),
            EofReceived,
            ConnectionLost(None)
        ]
    );
    assert_eq!(other.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    Ok(())
}

fn written_in_connection_made(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r.on_connection_made(|t| t.write(b"from one")),
        |r| r.on_connection_made(|t| t.write(b"from other")),
    )?;
    scene.until("the bytes of both", || {
        one.trace.received() == b"from other" && other.trace.received() == b"from one"
    })?;
    assert_eq!(one.trace.told()[0], ConnectionMade);
    assert_eq!(other.trace.told()[0], ConnectionMade);
    Ok(())
}

fn paused_in_connection_made(scene: &Scene<'_>) -> io::Result<()> {
    let was_reading = Rc::new(Cell::new(false));
    let saw = was_reading.clone();
    let (one, _other) = scene.connects(
        |r| {
            r.on_connection_made(move |t| {
                saw.set(t.is_reading());
                t.pause_reading();
            })
        },
        |r| r.on_connection_made(|t| t.write(b"waiting")),
    )?;
    scene.settles()?;
    assert!(was_reading.get(), "is_reading inside connection_made");
    assert!(!one.transport.is_reading());
    assert_eq!(one.trace.told(), [ConnectionMade]);
    one.transport.resume_reading();
    scene.until("the bytes", || one.trace.received() == b"waiting")
}

fn paused_with_data_and_end(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    one.transport.pause_reading();
    other.transport.write(b"12345");
    other.transport.close();
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade], "nothing while paused");
    one.transport.resume_reading();
    scene.until_lost(&[&one, &other])?;
    assert_eq!(
        one.trace.told(),
        [
            ConnectionMade,
            DataReceived(b"12345".to_vec()),
            EofReceived,
            ConnectionLost(None)
        ]
    );
    Ok(())
}

fn resumed_without_news(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    one.transport.pause_reading();
    other.transport.write(b"spent");
    scene.settles()?;
    one.transport.resume_reading();
    scene.until("the bytes", || one.trace.received() == b"spent")
}

fn paused_in_data_received(scene: &Scene<'_>) -> io::Result<()> {
    let sent = pattern(2 << 20, 1);
    let (one, other) = scene.connects(|r| r.on_data_received(|t, _| t.pause_reading()), |r| r)?;
    other.transport.write(&sent);
    let mut arrived = 0;
    while arrived < sent.len() {
        scene.until("more bytes", || one.trace.received_len() > arrived)?;
        arrived = one.trace.received_len();
        for _ in 0..3 {
            scene.event_loop.turn(Some(std::time::Duration::ZERO))?;
        }
        assert_eq!(one.trace.received_len(), arrived, "nothing while paused");
        one.transport.resume_reading();
    }
    assert_same_bytes(&one.trace.received(), &sent);
    Ok(())
}

fn paused_many_times(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let sent = pattern(1000, 2);
    for piece in sent.chunks(10) {
        one.transport.pause_reading();
        other.transport.write(piece);
        one.transport.resume_reading();
        one.transport.pause_reading();
        scene.event_loop.turn(Some(std::time::Duration::ZERO))?;
        one.transport.resume_reading();
    }
    scene.until("the bytes", || one.trace.received_len() == sent.len())?;
    assert_same_bytes(&one.trace.received(), &sent);
    Ok(())
}

fn pausing_is_idempotent(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    one.transport.resume_reading();
    assert!(one.transport.is_reading());
    one.transport.pause_reading();
    one.transport.pause_reading();
    assert!(!one.transport.is_reading());
    one.transport.resume_reading();
    one.transport.resume_reading();
    assert!(one.transport.is_reading());
    other.transport.write(b"once");
    scene.until("the bytes", || one.trace.received_len() > 0)?;
    scene.settles()?;
    assert_eq!(one.trace.received(), b"once");
    Ok(())
}

fn the_end_is_told_once(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_half_closing()?;
    if !other.transport.can_write_eof() {
        return Ok(());
    }
    other.transport.write_eof();
    scene.until("the end", || one.trace.has(&EofReceived))?;
    assert!(!one.transport.is_reading(), "D5");
    one.transport.pause_reading();
    one.transport.resume_reading();
    assert!(!one.transport.is_reading(), "D5");
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade, EofReceived]);
    Ok(())
}

fn lent_buffers(scene: &Scene<'_>) -> io::Result<()> {
    let sent = pattern(100 * 1024, 3);
    let (one, other) = scene.connects(
        |r| r.on_get_buffer(|_, _| ReadInto::Lent(vec![0; 700])),
        |r| r,
    )?;
    for piece in sent.chunks(1024) {
        other.transport.write(piece);
    }
    other.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_same_bytes(&one.trace.received(), &sent);
    let told = one.trace.told();
    assert_eq!(told[told.len() - 2..], [EofReceived, ConnectionLost(None)]);
    Ok(())
}

fn a_few_at_a_time(scene: &Scene<'_>) -> io::Result<()> {
    let sent = pattern(2000, 4);
    let (one, other) = scene.connects(
        |r| {
            r.on_get_buffer(|_, _| ReadInto::SharedUpTo(7))
                .on_data_received(|_, data| assert!(data.len() <= 7, "{} bytes", data.len()))
        },
        |r| r,
    )?;
    other.transport.write(&sent);
    other.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_same_bytes(&one.trace.received(), &sent);
    Ok(())
}

fn lent_buffers_come_back(scene: &Scene<'_>) -> io::Result<()> {
    let out = Rc::new(Cell::new(0_i32));
    let (lent, updated, unused, at_the_end) = (out.clone(), out.clone(), out.clone(), out.clone());
    let (one, other) = scene.connects(
        |r| {
            r.on_get_buffer(move |_, _| {
                lent.set(lent.get() + 1);
                ReadInto::Lent(vec![0; 16])
            })
            .on_buffer_updated(move |_| updated.set(updated.get() - 1))
            .on_buffer_unused(move |_| unused.set(unused.get() - 1))
            .on_eof_received(move |_| {
                assert_eq!(at_the_end.get(), 0, "buffers that are still lent");
                AfterEof::Close
            })
        },
        |r| r,
    )?;
    other.transport.write(b"some bytes");
    other.transport.close();
    scene.until_lost(&[&one])?;
    assert_eq!(out.get(), 0, "buffers that are still lent");
    assert_eq!(one.trace.received(), b"some bytes");
    Ok(())
}

fn an_empty_buffer_is_fatal(scene: &Scene<'_>) -> io::Result<()> {
    let (one, _other) = scene.connects(
        |r| r.on_get_buffer(|_, _| ReadInto::Lent(Vec::new())),
        |r| r.on_connection_made(|t| t.write(b"x")),
    )?;
    scene.until_lost(&[&one])?;
    assert_eq!(
        one.trace.told(),
        [ConnectionMade, ConnectionLost(Some(io::ErrorKind::Other))]
    );
    scene.expects_report("Fatal error: protocol.get_buffer() call failed.");
    Ok(())
}

fn left_for_later(scene: &Scene<'_>) -> io::Result<()> {
    let later = Rc::new(Cell::new(true));
    let asked = later.clone();
    let (one, other) = scene.connects(
        |r| {
            r.on_get_buffer(move |_, _| match asked.get() {
                true => ReadInto::Later,
                false => ReadInto::Shared,
            })
        },
        |r| r,
    )?;
    other.transport.write(b"pull me");
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade], "nothing until later");
    // A transport that can't pull says so, and the protocol gets it all.
    let mut pulled = [0; 4];
    let n = match one.transport.try_read(&mut pulled) {
        Ok(n) => n,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    later.set(false);
    one.transport.resume_reading();
    scene.until("what was left", || one.trace.received_len() + n == 7)?;
    let all = [&pulled[..n], &one.trace.received()].concat();
    assert_eq!(all, b"pull me");
    other.transport.close();
    scene.until_lost(&[&one, &other])
}

fn resumed_without_a_pause(scene: &Scene<'_>) -> io::Result<()> {
    let later = Rc::new(Cell::new(true));
    let asked = later.clone();
    let (one, other) = scene.connects(
        |r| {
            r.on_get_buffer(move |_, _| match asked.get() {
                true => ReadInto::Later,
                false => ReadInto::Shared,
            })
        },
        |r| r,
    )?;
    other.transport.write(b"later");
    scene.settles()?;
    assert_eq!(one.trace.told(), [ConnectionMade]);
    later.set(false);
    one.transport.resume_reading();
    scene.until("the bytes", || one.trace.received() == b"later")
}

fn extra_info_stays(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let peer = one.transport.get_extra_info(PeerName);
    let own = one.transport.get_extra_info(SockName);
    one.transport.close();
    scene.until_lost(&[&one, &other])?;
    assert_eq!(one.transport.get_extra_info(PeerName), peer);
    assert_eq!(one.transport.get_extra_info(SockName), own);
    Ok(())
}

fn panic_in_data_received(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r.on_data_received(|_, _| panic!("on purpose")),
        |r| r.on_connection_made(|t| t.write(b"x")),
    )?;
    scene.until_lost(&[&one, &other])?;
    expect_lost_to_panic(scene, &one.trace.told(), "data_received")
}

fn panic_in_eof_received(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r.on_eof_received(|_| panic!("on purpose")),
        |r| r.on_connection_made(|t| t.close()),
    )?;
    scene.until_lost(&[&one, &other])?;
    expect_lost_to_panic(scene, &one.trace.told(), "eof_received")
}

fn panic_in_connection_made(scene: &Scene<'_>) -> io::Result<()> {
    let seen = Rc::new(RefCell::new(String::new()));
    let lost_with = seen.clone();
    let (one, other) = scene.connects(
        |r| {
            r.on_connection_made(|_| panic!("on purpose"))
                .on_connection_lost(move |error| {
                    let error = error.map(ToString::to_string);
                    lost_with.replace(error.unwrap_or_default());
                })
        },
        |r| r,
    )?;
    scene.until_lost(&[&one, &other])?;
    assert_eq!(
        *seen.borrow(),
        "protocol.connection_made() panicked: on purpose"
    );
    expect_lost_to_panic(scene, &one.trace.told(), "connection_made")
}

fn expect_lost_to_panic(
    scene: &Scene<'_>,
    told: &[super::super::trace::Told],
    callback: &str,
) -> io::Result<()> {
    let last = ConnectionLost(Some(io::ErrorKind::Other));
    assert_eq!(told.last(), Some(&last));
    scene.expects_report(&format!("Fatal error: protocol.{callback}() call failed."));
    Ok(())
}
