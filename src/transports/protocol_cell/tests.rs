//! The rules of calling a protocol, without a transport that does anything.

use super::*;

use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Weak;
use std::task::{Context, Poll};

use crate::contract::{ExtraInfoRequest, WriteLimitsError};

#[test]
fn a_call_reaches_the_protocol_and_brings_its_answer_back() {
    let rig = Rig::with("a", |_| {});
    let answer = rig.call(|p| p.data_received(&rig.transport, b"x"));
    assert!(matches!(answer, Ok(Some(()))));
    rig.expects(&["a data_received"]);
}

#[test]
fn r4_a_protocol_that_is_being_called_is_not_called_again() {
    let rig = Rig::with("a", |rig| {
        let nested = rig.call(|p| p.data_received(&rig.transport, b"x"));
        assert!(matches!(nested, Ok(None)));
    });
    rig.receives();
    rig.expects(&["a data_received"]);
}

#[test]
fn r4_pause_and_resume_are_told_when_they_differ_from_what_was_told() {
    let rig = Rig::with("a", |_| {});
    rig.pauses(false);
    rig.expects(&[]);
    rig.pauses(true);
    rig.pauses(true);
    rig.pauses(false);
    rig.pauses(false);
    rig.pauses(true);
    rig.expects(&["a pause_writing", "a resume_writing", "a pause_writing"]);
}

#[test]
fn r4_what_becomes_due_during_a_call_is_told_when_it_has_returned() {
    let rig = Rig::with("a", |rig| {
        rig.pauses(true);
        rig.logs("still in the callback");
    });
    rig.receives();
    rig.reconcile();
    rig.expects(&[
        "a data_received",
        "still in the callback",
        "a pause_writing",
    ]);
}

#[test]
fn r4_a_pause_that_is_over_before_the_call_returns_is_not_told() {
    let rig = Rig::with("a", |rig| {
        rig.pauses(true);
        rig.pauses(false);
    });
    rig.receives();
    rig.reconcile();
    rig.expects(&["a data_received"]);
}

#[test]
fn r4_a_pause_that_provokes_a_resume_is_followed_by_it() {
    let rig = Rig::new();
    rig.holds("a", |rig, call| {
        if call == "pause_writing" {
            rig.pauses(false);
        }
    });
    rig.pauses(true);
    rig.expects(&["a pause_writing", "a resume_writing"]);
}

#[test]
fn r7_a_pause_that_comes_before_connection_made_is_told_after_it() {
    let rig = Rig::unmade();
    rig.holds("a", |_, _| {});
    rig.pauses(true);
    drop(rig.sets("b"));
    rig.reconcile();
    rig.expects(&["a dropped"]);
    rig.cell.begin();
    rig.reconcile();
    rig.expects(&["a dropped", "b pause_writing"]);
}

#[test]
fn nothing_is_told_once_the_connection_is_lost() {
    let rig = Rig::with("a", |_| {});
    rig.paused.set(None);
    rig.reconcile();
    rig.expects(&[]);
}

#[test]
fn pro_19_a_protocol_that_is_replaced_is_handed_out_to_be_dropped() {
    let rig = Rig::with("a", |_| {});
    let old = rig.sets("b");
    rig.expects(&[]);
    drop(old);
    rig.receives();
    rig.expects(&["a dropped", "b data_received"]);
}

#[test]
fn pro_08_one_that_comes_during_a_call_takes_over_when_that_returns() {
    let rig = Rig::with("a", |rig| {
        assert!(rig.sets("b").is_none(), "a is on the stack");
        rig.logs("still a's callback");
    });
    rig.receives();
    rig.receives();
    rig.expects(&[
        "a data_received",
        "still a's callback",
        "a dropped",
        "b data_received",
    ]);
}

#[test]
fn one_that_is_replaced_before_it_was_ever_called_is_dropped() {
    let rig = Rig::with("a", |rig| {
        assert!(rig.sets("b").is_none());
        drop(rig.sets("c"));
    });
    rig.receives();
    rig.receives();
    rig.expects(&[
        "a data_received",
        "b dropped",
        "a dropped",
        "c data_received",
    ]);
}

#[test]
fn r4_a_protocol_that_was_just_set_has_been_told_nothing() {
    let rig = Rig::with("a", |_| {});
    rig.pauses(true);
    drop(rig.sets("b"));
    rig.reconcile();
    rig.pauses(false);
    rig.expects(&[
        "a pause_writing",
        "a dropped",
        "b pause_writing",
        "b resume_writing",
    ]);
}

#[test]
fn one_set_while_writing_goes_on_is_not_told_to_resume() {
    let rig = Rig::with("a", |_| {});
    rig.pauses(true);
    drop(rig.sets("b"));
    rig.pauses(false);
    rig.expects(&["a pause_writing", "a dropped"]);
}

#[test]
fn r3_the_cell_may_be_used_while_a_replaced_protocol_is_dropped() {
    let rig = Rig::new();
    rig.holds("a", |rig, call| match call {
        "data_received" => drop(rig.sets("b")),
        "dropped" => rig.receives(),
        _ => {}
    });
    rig.receives();
    rig.expects(&["a data_received", "a dropped", "b data_received"]);
}

#[test]
fn r10_the_drop_of_a_replaced_protocol_is_left_to_who_can_contain_its_panic() {
    let rig = Rig::with("a", |rig| assert!(rig.sets("b").is_none()));
    let replaced = Cell::new(None);
    let told = rig.cell.call(
        "data_received",
        |old| replaced.set(Some(old)),
        |p| p.data_received(&rig.transport, b"x"),
    );
    assert!(matches!(told, Ok(Some(()))));
    rig.expects(&["a data_received"]);
    drop(replaced.take());
    rig.expects(&["a data_received", "a dropped"]);
}

#[test]
fn r10_a_panic_is_an_error_that_names_the_callback_and_quotes_its_text() {
    let rig = Rig::with("a", |_| panic!("out of cheese"));
    let told = rig.call(|p| p.data_received(&rig.transport, b"x"));
    let error = told.expect_err("the callback panicked");
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(
        error.to_string(),
        "protocol.data_received() panicked: out of cheese"
    );
}

#[test]
fn r5_a_protocol_that_panicked_is_still_there_for_connection_lost() {
    let rig = Rig::with("a", |_| panic!("once"));
    let told = rig.call(|p| p.data_received(&rig.transport, b"x"));
    assert!(told.is_err());
    let told = rig.call(|p| p.connection_lost(None));
    assert!(matches!(told, Ok(Some(()))));
    rig.expects(&["a data_received", "a connection_lost"]);
}

#[test]
fn r10_a_pause_that_panics_is_reported_and_counts_as_told() {
    let rig = Rig::new();
    rig.holds("a", |_, call| assert_ne!(call, "pause_writing"));
    rig.pauses(true);
    rig.pauses(true);
    rig.pauses(false);
    rig.expects(&[
        "a pause_writing",
        "reported: protocol.pause_writing() failed",
        "a resume_writing",
    ]);
}

#[test]
fn a_protocol_that_is_retired_is_handed_out_and_nobody_is_called_after_it() {
    let rig = Rig::with("a", |_| {});
    let retired = rig.cell.retire();
    assert!(retired.is_some());
    assert!(rig.cell.retire().is_none());
    rig.receives();
    rig.pauses(true);
    rig.expects(&[]);
    drop(retired);
    rig.expects(&["a dropped"]);
}

#[test]
fn one_that_is_retired_during_its_call_is_dropped_when_that_returns() {
    let rig = Rig::with("a", |rig| {
        assert!(rig.cell.retire().is_none());
        rig.logs("still in the callback");
    });
    rig.receives();
    rig.expects(&["a data_received", "still in the callback", "a dropped"]);
}

#[test]
fn an_empty_cell_takes_no_other_protocol() {
    let rig = Rig::with("a", |_| {});
    drop(rig.cell.retire());
    assert!(
        rig.sets("b").is_some(),
        "it is handed back, to be dropped outside"
    );
    rig.expects(&["a dropped", "b dropped"]);
}

// ── the rig ─────────────────────────────────────────────────────────────────────

/// A cell, what is true about writing, and the log of what happened.
struct Rig {
    cell: ProtocolCell,
    paused: Cell<Option<bool>>,
    log: RefCell<Vec<String>>,
    transport: Rc<dyn Transport>,
}

/// What a protocol does in the callback of the given name.
type Reaction = dyn Fn(&Rc<Rig>, &'static str);

impl Rig {
    fn new() -> Rc<Rig> {
        let rig = Rig::unmade();
        rig.cell.begin();
        rig
    }

    /// A cell whose protocol was not even told `connection_made`.
    fn unmade() -> Rc<Rig> {
        Rc::new(Rig {
            cell: ProtocolCell::new(Box::new(Nobody)),
            paused: Cell::new(Some(false)),
            log: RefCell::default(),
            transport: Rc::new(Nowhere),
        })
    }

    /// A cell whose protocol reacts to `data_received`.
    fn with(name: &'static str, on_data: impl Fn(&Rc<Rig>) + 'static) -> Rc<Rig> {
        let rig = Rig::new();
        rig.holds(name, move |rig, call| {
            if call == "data_received" {
                on_data(rig);
            }
        });
        rig
    }

    fn holds(
        self: &Rc<Rig>,
        name: &'static str,
        reaction: impl Fn(&Rc<Rig>, &'static str) + 'static,
    ) {
        let recorder = Recorder {
            name,
            rig: Rc::downgrade(self),
            reaction: Box::new(reaction),
        };
        drop(self.cell.set(Box::new(recorder)));
    }

    fn sets(self: &Rc<Rig>, name: &'static str) -> Option<Box<dyn Protocol>> {
        self.cell.set(Box::new(Recorder {
            name,
            rig: Rc::downgrade(self),
            reaction: Box::new(|_, _| {}),
        }))
    }

    fn call(&self, call: impl FnOnce(&mut dyn Protocol)) -> Called<()> {
        self.cell.call("data_received", drop, call)
    }

    fn receives(&self) {
        let told = self.call(|p| p.data_received(&self.transport, b"x"));
        assert!(told.is_ok(), "{told:?}");
    }

    fn pauses(&self, paused: bool) {
        self.paused.set(Some(paused));
        self.reconcile();
    }

    fn reconcile(&self) {
        self.cell.reconcile(
            &self.transport,
            || self.paused.get(),
            |failed, _| self.logs(&format!("reported: {failed}")),
            drop,
        );
    }

    fn logs(&self, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }

    fn expects(&self, lines: &[&str]) {
        assert_eq!(*self.log.borrow(), lines);
    }
}

/// Who was there before the first.
struct Nobody;

impl Protocol for Nobody {}

struct Recorder {
    name: &'static str,
    rig: Weak<Rig>,
    reaction: Box<Reaction>,
}

impl Recorder {
    fn note(&self, call: &'static str) {
        if let Some(rig) = self.rig.upgrade() {
            rig.logs(&format!("{} {call}", self.name));
            (self.reaction)(&rig, call);
        }
    }
}

impl Protocol for Recorder {
    fn data_received(&mut self, _transport: &Rc<dyn Transport>, _data: &[u8]) {
        self.note("data_received");
    }

    fn pause_writing(&mut self, _transport: &Rc<dyn Transport>) {
        self.note("pause_writing");
    }

    fn resume_writing(&mut self, _transport: &Rc<dyn Transport>) {
        self.note("resume_writing");
    }

    fn connection_lost(&mut self, _error: Option<ConnError>) {
        self.note("connection_lost");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

/// A transport that does nothing: the cell only hands it on.
#[derive(Debug)]
struct Nowhere;

impl Transport for Nowhere {
    fn answer(&self, _request: &mut ExtraInfoRequest<'_>) {}
    fn is_closing(&self) -> bool {
        false
    }
    fn close(&self) {}
    fn abort(&self) {}
    fn set_protocol(&self, protocol: Box<dyn Protocol>) {
        drop(protocol);
    }
    fn is_reading(&self) -> bool {
        false
    }
    fn pause_reading(&self) {}
    fn resume_reading(&self) {}
    fn write(&self, _data: &[u8]) {}
    fn writelines(&self, _pieces: &[IoSlice<'_>]) {}
    fn write_eof(&self) {}
    fn flush(&self) {}
    fn poll_flushed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn get_write_buffer_size(&self) -> usize {
        0
    }
    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (0, 0)
    }
    fn set_write_buffer_limits(
        &self,
        _high: Option<usize>,
        _low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        Ok(())
    }
    fn has_discarded(&self) -> bool {
        false
    }
}
