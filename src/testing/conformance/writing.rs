//! The order of bytes, the marks, flow control, the end of writing.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::contract::{Transport, WriteLimitsError, WritePolicy};

use super::super::trace::Told::{
    self, ConnectionLost, ConnectionMade, DataReceived, EofReceived, Noted, PauseWriting,
    ResumeWriting,
};
use super::Scenario;
use super::scene::{Scene, assert_same_bytes, pattern};

pub(super) const SCENARIOS: &[Scenario] = &[
    (
        "whichever way bytes are written, they arrive in the order they were written in",
        all_ways_to_write,
    ),
    ("many pieces of one writelines arrive in order", many_pieces),
    ("what has no bytes has no effect", empty_writes),
    (
        "with the policy immediate, writes arrive all the same",
        written_immediately,
    ),
    (
        "a megabyte in both directions at once arrives byte by byte",
        both_ways_at_once,
    ),
    (
        "a writer that heeds pause_writing gets everything through, in order",
        heeding_flow_control,
    ),
    (
        "pausing comes once above the high mark, and resuming once at the low one",
        marks_are_kept,
    ),
    (
        "a pause that a callback provokes comes when the callback has returned",
        paused_in_a_callback,
    ),
    (
        "marks are completed from what is given, and refused in the wrong order",
        marks_are_set,
    ),
    (
        "lowering the high mark under what is queued pauses at once",
        marks_are_lowered,
    ),
    ("flushing waits until nothing is queued", flushing_waits),
    (
        "after write_eof the peer is told the end, and reading goes on",
        half_close,
    ),
    (
        "write_eof comes behind the last byte that was written",
        end_behind_bulk,
    ),
    (
        "a write after write_eof is dropped, and remembered as a misuse",
        write_after_eof,
    ),
];

fn all_ways_to_write(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r,
        |r| {
            r.on_connection_made(|t| {
                t.write(b"one ");
                t.write_owned(b"two ".to_vec());
                t.writelines(&[
                    IoSlice::new(b"thr"),
                    IoSlice::new(b""),
                    IoSlice::new(b"ee "),
                ]);
                t.write_owned(vec![b'.'; 5000]);
                t.write(b" four");
                t.flush();
                t.write(b" five");
                t.write(&[b'.'; 5000]);
                t.write(b" six");
            })
        },
    )?;
    let dots = ".".repeat(5000);
    let expected = format!("one two three {dots} four five{dots} six");
    scene.until("all bytes", || one.trace.received_len() == expected.len())?;
    assert_same_bytes(&one.trace.received(), expected.as_bytes());
    drop(other);
    Ok(())
}

fn many_pieces(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let sent = pattern(3 * 2500, 4);
    let pieces: Vec<IoSlice<'_>> = sent.chunks(3).map(IoSlice::new).collect();
    other.transport.writelines(&pieces);
    scene.until("all pieces", || one.trace.received_len() == sent.len())?;
    assert_same_bytes(&one.trace.received(), &sent);
    Ok(())
}

fn empty_writes(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    other.transport.write(b"");
    other.transport.write_owned(Vec::new());
    other.transport.writelines(&[]);
    other.transport.writelines(&[IoSlice::new(b"")]);
    assert_eq!(other.transport.get_write_buffer_size(), 0);
    other.transport.write(b"x");
    scene.until("the byte", || one.trace.received() == b"x")?;
    assert_eq!(other.trace.told(), [ConnectionMade]);
    Ok(())
}

fn written_immediately(scene: &Scene<'_>) -> io::Result<()> {
    let (one, _other) = scene.connects(
        |r| r,
        |r| {
            r.on_connection_made(|t| {
                t.write(b"at the step's end, ");
                t.set_write_policy(WritePolicy::Immediate);
                t.write(b"at once, ");
                t.set_write_policy(WritePolicy::AtStepEnd);
                t.write(b"at its end again");
            })
        },
    )?;
    let expected = b"at the step's end, at once, at its end again";
    scene.until("all bytes", || one.trace.received_len() == expected.len())?;
    assert_same_bytes(&one.trace.received(), expected);
    Ok(())
}

fn both_ways_at_once(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let (there, back) = (pattern(1 << 20, 5), pattern(1 << 20, 6));
    one.transport.write(&there);
    other.transport.write(&back);
    scene.until("a megabyte both ways", || {
        one.trace.received_len() == back.len() && other.trace.received_len() == there.len()
    })?;
    assert_same_bytes(&one.trace.received(), &back);
    assert_same_bytes(&other.trace.received(), &there);
    Ok(())
}

/// Writes `source` as long as nobody says pause: again and again, until somebody has said
/// so. A kernel that tunes its buffers may take megabytes before.
struct Pump {
    source: Vec<u8>,
    /// How many bytes were written.
    at: usize,
    paused: bool,
    /// It was paused at least once.
    has_been_stopped: bool,
}

/// Times that a pump writes its source at the most.
const MOST_TIMES: usize = 16;

impl Pump {
    /// R3: no borrow across a write, which may call `pause_writing`.
    fn runs(pump: &RefCell<Pump>, transport: &Rc<dyn Transport>) {
        loop {
            let piece = {
                let mut pump = pump.borrow_mut();
                if pump.paused || pump.is_done() {
                    return;
                }
                let begin = pump.at % pump.source.len();
                let end = (begin + 10_000).min(pump.source.len());
                let piece = pump.source[begin..end].to_vec();
                pump.at += piece.len();
                piece
            };
            transport.write(&piece);
        }
    }

    fn is_done(&self) -> bool {
        let times = if self.has_been_stopped { 1 } else { MOST_TIMES };
        self.at >= self.source.len() * times
    }

    fn pause(&mut self) {
        self.paused = true;
        self.has_been_stopped = true;
    }

    /// All that it has written.
    fn written(&self) -> Vec<u8> {
        self.source.iter().copied().cycle().take(self.at).collect()
    }
}

fn heeding_flow_control(scene: &Scene<'_>) -> io::Result<()> {
    let pump = Rc::new(RefCell::new(Pump {
        source: pattern(4 << 20, 7),
        at: 0,
        paused: false,
        has_been_stopped: false,
    }));
    let (at_pause, at_resume) = (pump.clone(), pump.clone());
    let (one, other) = scene.connects(
        |r| r,
        |r| {
            r.on_pause_writing(move |_| at_pause.borrow_mut().pause())
                .on_resume_writing(move |t| {
                    at_resume.borrow_mut().paused = false;
                    Pump::runs(&at_resume, t);
                })
        },
    )?;
    // Marks of its own, for a transport may have others.
    other
        .transport
        .set_write_buffer_limits(Some(64 * 1024), None)?;
    // From outside of any step, where pause_writing is called inside write.
    Pump::runs(&pump, &other.transport);
    scene.until("all bytes", || {
        let pump = pump.borrow();
        pump.is_done() && one.trace.received_len() == pump.at
    })?;
    assert_same_bytes(&one.trace.received(), &pump.borrow().written());
    assert!(other.trace.has(&PauseWriting), "the pump was never stopped");
    Ok(())
}

fn marks_are_kept(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r,
        |r| {
            // Above the mark, or, as on TLS, at it.
            r.on_pause_writing(|t| assert!(t.get_write_buffer_size() >= 20_000))
                .on_resume_writing(|t| assert!(t.get_write_buffer_size() <= 5_000))
        },
    )?;
    other
        .transport
        .set_write_buffer_limits(Some(20_000), Some(5_000))?;
    let mut written = scene.fills(&other, &one)?.len();
    for _ in 0..10 {
        other.transport.write(&[b'x'; 1000]);
        written += 1000;
    }
    scene.settles()?;
    assert_eq!(other.trace.told(), [ConnectionMade, PauseWriting]);
    one.transport.resume_reading();
    scene.until("resume_writing", || other.trace.has(&ResumeWriting))?;
    scene.until("all bytes", || one.trace.received_len() == written)?;
    assert_eq!(
        other.trace.told(),
        [ConnectionMade, PauseWriting, ResumeWriting]
    );
    Ok(())
}

fn paused_in_a_callback(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects(
        |r| r,
        |r| {
            let notes = r.trace().clone();
            r.on_data_received(move |t, _| {
                // The peer does not read, so at some time this passes the mark.
                let (_, high) = t.get_write_buffer_limits();
                while t.get_write_buffer_size() <= high {
                    t.write(&[b'x'; 10_000]);
                }
                notes.note("returned");
            })
        },
    )?;
    one.transport.pause_reading();
    one.transport.write(b"go");
    scene.until("pause_writing", || other.trace.has(&PauseWriting))?;
    // It may be resumed by now, where a callback's writes leave only when it returns.
    assert_eq!(
        other.trace.told()[..4],
        [
            ConnectionMade,
            DataReceived(b"go".to_vec()),
            Noted("returned"),
            PauseWriting
        ]
    );
    Ok(())
}

fn marks_are_set(scene: &Scene<'_>) -> io::Result<()> {
    let (one, _other) = scene.connects_plainly()?;
    let t = &one.transport;
    let unset = t.get_write_buffer_limits();
    assert_eq!(unset.0, unset.1 / 4);
    for (high, low, marks) in [
        (Some(100), None, (25, 100)),
        (None, Some(10), (10, 40)),
        (Some(100), Some(10), (10, 100)),
        (Some(0), None, (0, 0)),
        (None, None, unset),
    ] {
        t.set_write_buffer_limits(high, low)?;
        assert_eq!(t.get_write_buffer_limits(), marks);
    }
    let refused = t.set_write_buffer_limits(Some(10), Some(20));
    assert_eq!(refused, Err(WriteLimitsError { high: 10, low: 20 }));
    assert_eq!(t.get_write_buffer_limits(), unset);
    Ok(())
}

fn marks_are_lowered(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let written = scene.fills(&other, &one)?.len();
    let queued = other.transport.get_write_buffer_size();
    other
        .transport
        .set_write_buffer_limits(Some(queued * 8), None)?;
    assert_eq!(
        other.trace.told(),
        [ConnectionMade, PauseWriting],
        "a higher mark does not resume"
    );
    one.transport.resume_reading();
    scene.until("all bytes", || one.trace.received_len() == written)?;
    scene.until("resume_writing", || other.trace.has(&ResumeWriting))?;
    one.transport.pause_reading();
    while other.transport.get_write_buffer_size() < 1000 {
        other.transport.write(&[b'x'; 1000]);
        scene.event_loop.turn(Some(std::time::Duration::ZERO))?;
    }
    other.transport.set_write_buffer_limits(Some(10), None)?;
    let told = other.trace.told();
    assert_eq!(told.last(), Some(&PauseWriting), "{told:?}");
    Ok(())
}

fn flushing_waits(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_plainly()?;
    let written = scene.fills(&other, &one)?.len();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(other.transport.poll_flushed(&mut cx), Poll::Pending);
    one.transport.resume_reading();
    scene.until("an empty write buffer", || {
        other.transport.get_write_buffer_size() == 0
    })?;
    assert_eq!(other.transport.poll_flushed(&mut cx), Poll::Ready(()));
    scene.until("all bytes", || one.trace.received_len() == written)
}

fn half_close(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_half_closing()?;
    if !one.transport.can_write_eof() {
        return Ok(());
    }
    one.transport.write(b"last words");
    one.transport.write_eof();
    one.transport.write_eof();
    scene.until("the end", || other.trace.has(&EofReceived))?;
    assert_eq!(
        other.trace.told(),
        [
            ConnectionMade,
            DataReceived(b"last words".to_vec()),
            EofReceived
        ]
    );
    assert!(!one.transport.is_closing());
    assert!(!other.transport.is_closing());
    assert!(one.transport.is_reading());
    other.transport.write(b"answer");
    scene.until("the answer", || one.trace.received() == b"answer")?;
    other.transport.write_eof();
    scene.until("the other end", || one.trace.has(&EofReceived))?;
    one.transport.close();
    other.transport.close();
    scene.until_lost(&[&one, &other])?;
    for end in [&one, &other] {
        assert_eq!(end.trace.told().last(), Some(&ConnectionLost(None)));
    }
    Ok(())
}

fn end_behind_bulk(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_half_closing()?;
    if !one.transport.can_write_eof() {
        return Ok(());
    }
    let sent = pattern(1 << 20, 8);
    one.transport.write(&sent);
    one.transport.write_eof();
    scene.until("the end", || other.trace.has(&EofReceived))?;
    assert_same_bytes(&other.trace.received(), &sent);
    Ok(())
}

fn write_after_eof(scene: &Scene<'_>) -> io::Result<()> {
    let (one, other) = scene.connects_half_closing()?;
    if !one.transport.can_write_eof() {
        return Ok(());
    }
    one.transport.write_eof();
    assert_eq!(one.transport.misuse(), None);
    one.transport.write(b"too late");
    let misuse = Some("Cannot call write() after write_eof()");
    assert_eq!(one.transport.misuse(), misuse);
    one.transport.writelines(&[]);
    assert_eq!(one.transport.get_write_buffer_size(), 0);
    other.transport.write(b"still heard");
    scene.until("the answer", || one.trace.received() == b"still heard")?;
    let nothing: &[Told] = &[ConnectionMade, EofReceived];
    scene.until("the end", || other.trace.told() == nothing)
}
