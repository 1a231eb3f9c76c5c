//! `set_protocol`: who is told what, and when the earlier one is dropped.

use std::io;
use std::rc::Rc;

use super::super::recorder::Recorder;
use super::super::trace::Told::{
    ConnectionLost, ConnectionMade, DataReceived, Noted, PauseWriting, ResumeWriting, TookOver,
};
use super::Scenario;
use super::scene::Scene;
use crate::contract::ReadInto;

pub(super) const SCENARIOS: &[Scenario] = &[
    (
        "what comes after set_protocol goes to the new protocol, which is not told connection_made",
        replaced_from_outside,
    ),
    (
        "a protocol may be replaced inside its data_received, and is dropped when that returns",
        replaced_in_data_received,
    ),
    (
        "a protocol may be replaced by one that lends buffers",
        replaced_by_a_lender,
    ),
    (
        "one that comes while writing is paused is told to pause first",
        replaced_while_paused,
    ),
    (
        "a panic in the drop of a protocol that was replaced harms nobody",
        panic_in_the_drop_of_a_replaced_one,
    ),
];

fn replaced_from_outside(scene: &Scene<'_>) -> io::Result<()> {
    let later = scene.trace();
    let (one, other) = scene.connects_plainly()?;
    other.transport.write(b"first");
    scene.until("the first bytes", || one.trace.received() == b"first")?;
    one.transport
        .set_protocol(Box::new(Recorder::successor(&later)));
    assert_eq!(one.trace.recorders_dropped(), 1, "dropped at once");
    other.transport.write(b"second");
    scene.until("the second bytes", || later.received() == b"second")?;
    one.transport.close();
    scene.until("connection_lost", || later.is_lost())?;
    assert_eq!(
        one.trace.told(),
        [ConnectionMade, DataReceived(b"first".to_vec())],
        "nothing more, connection_lost neither"
    );
    assert_eq!(
        later.told(),
        [
            TookOver,
            DataReceived(b"second".to_vec()),
            ConnectionLost(None)
        ]
    );
    Ok(())
}

fn replaced_in_data_received(scene: &Scene<'_>) -> io::Result<()> {
    let later = scene.trace();
    let successor = later.clone();
    let (one, other) = scene.connects(
        |r| {
            let (notes, at_drop) = (r.trace().clone(), r.trace().clone());
            r.on_data_received(move |t, _| {
                t.set_protocol(Box::new(Recorder::successor(&successor)));
                notes.note("returned");
            })
            .on_drop(move || at_drop.note("dropped"))
        },
        |r| r,
    )?;
    other.transport.write(b"one");
    scene.until("the first bytes", || one.trace.received() == b"one")?;
    other.transport.write(b"two");
    scene.until("the second bytes", || later.received() == b"two")?;
    other.transport.close();
    scene.until("connection_lost", || later.is_lost())?;
    assert_eq!(
        one.trace.told(),
        [
            ConnectionMade,
            DataReceived(b"one".to_vec()),
            Noted("returned"),
            Noted("dropped")
        ]
    );
    Ok(())
}

fn replaced_by_a_lender(scene: &Scene<'_>) -> io::Result<()> {
    let later = scene.trace();
    let (one, other) = scene.connects_plainly()?;
    other.transport.write(b"plain");
    scene.until("the first bytes", || one.trace.received() == b"plain")?;
    let lender = Recorder::successor(&later).on_get_buffer(|_, _| ReadInto::Lent(vec![0; 3]));
    one.transport.set_protocol(Box::new(lender));
    other.transport.write(b"buffered");
    scene.until("the second bytes", || later.received() == b"buffered")?;
    assert!(later.count(|t| matches!(t, DataReceived(_))) >= 3);
    Ok(())
}

fn replaced_while_paused(scene: &Scene<'_>) -> io::Result<()> {
    let later = scene.trace();
    let (one, other) = scene.connects_plainly()?;
    scene.fills(&one, &other)?;
    assert!(one.trace.has(&PauseWriting));
    one.transport
        .set_protocol(Box::new(Recorder::successor(&later)));
    assert_eq!(later.told(), [TookOver, PauseWriting]);
    other.transport.resume_reading();
    scene.until("resume_writing", || later.has(&ResumeWriting))?;
    assert_eq!(one.trace.told(), [ConnectionMade, PauseWriting]);
    Ok(())
}

fn panic_in_the_drop_of_a_replaced_one(scene: &Scene<'_>) -> io::Result<()> {
    let later = Rc::new(scene.trace());
    let successor = later.clone();
    let (_one, other) = scene.connects(
        |r| {
            r.on_data_received(move |t, _| {
                t.set_protocol(Box::new(Recorder::successor(&successor)));
            })
            .on_drop(|| panic!("on purpose"))
        },
        |r| r,
    )?;
    // More than one receive takes, so that somebody must go on reading.
    other.transport.write(&vec![b'x'; 2 << 20]);
    other.transport.close();
    scene.until("connection_lost", || later.is_lost())?;
    assert!(later.received_len() > 0);
    scene.expects_report("Exception in the drop of a protocol");
    Ok(())
}
