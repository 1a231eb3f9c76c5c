//! The stream transport: reading, writing, flow control, closing.
//!
//! Where a row speaks of what the kernel answers, the socket follows a script; where it
//! speaks of the kernel itself, the socket is real.

mod wire;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use millstream::testing::{
    OnReceive, OnSend, Recorder, ScriptedSocket, SocketCall, Told, Trace, scripted_transport,
};
use millstream::{
    ReadInto, StreamReader, StreamReaderProtocol, StreamWriter, Transport, WritePolicy,
    get_running_loop, memory_transport_pair, yield_now,
};

use Told::{
    ConnectionLost, ConnectionMade, DataReceived, EofReceived, Noted, PauseWriting, ResumeWriting,
};
use io::ErrorKind::{BrokenPipe, ConnectionReset, Interrupted, WouldBlock};
use wire::{Wire, reset, tcp_pair};

// ── reading ─────────────────────────────────────────────────────────────────────

#[test]
fn trn_01_connection_made_comes_before_bytes_that_were_waiting() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    theirs.write_all(b"waiting")?;
    let trace = Trace::new();
    let order = trace.clone();
    let recorder = Recorder::new(&trace).on_connection_made(move |_| order.note("returned"));
    let _transport = wire.adopts(recorder, ours)?;
    wire.until("the bytes", || trace.received_len() == 7)?;
    assert_eq!(
        trace.told(),
        [
            ConnectionMade,
            Noted("returned"),
            DataReceived(b"waiting".to_vec())
        ]
    );
    Ok(())
}

#[test]
fn vector_1_the_connecting_coroutine_resumes_between_connection_made_and_the_data() -> io::Result<()>
{
    let wire = Wire::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"waiting")?;
    drop(theirs);
    let trace = Trace::new();
    let (before, after) = (trace.clone(), trace.clone());
    let recorder = Recorder::new(&trace);
    let connecting = async move {
        let handle = get_running_loop()?;
        handle.call_soon(move || before.note("queued before"))?;
        let transport = handle.create_connection_sock(|| recorder, ours).await?;
        after.note("connected");
        io::Result::Ok(transport)
    };
    let _transport = wire.event_loop.run_until_complete(connecting)??;
    wire.until("the end", || trace.is_lost())?;
    assert_eq!(
        trace.told(),
        [
            Noted("queued before"),
            ConnectionMade,
            Noted("connected"),
            DataReceived(b"waiting".to_vec()),
            EofReceived,
            ConnectionLost(None)
        ]
    );
    Ok(())
}

#[test]
fn trn_02_a_pause_in_connection_made_holds_waiting_bytes_until_resume() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    theirs.write_all(b"waiting")?;
    let trace = Trace::new();
    let recorder = Recorder::new(&trace).on_connection_made(|t| t.pause_reading());
    let transport = wire.adopts(recorder, ours)?;
    wire.expect_idle()?;
    assert_eq!(trace.told(), [ConnectionMade]);
    transport.resume_reading();
    wire.event_loop.turn(Some(Duration::ZERO))?;
    assert_eq!(trace.received(), b"waiting", "in the very next turn");
    Ok(())
}

#[test]
fn a_paused_protocol_is_not_even_asked_for_a_buffer() -> io::Result<()> {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    let c = connected_with(|recorder| {
        recorder.on_get_buffer(move |_, _| {
            count.set(count.get() + 1);
            ReadInto::Shared
        })
    })?;
    c.transport.pause_reading();
    c.socket.on_receive(OnReceive::Bytes(b"data".to_vec()));
    c.wire.quiesces()?;
    assert_eq!(asked.get(), 0);
    c.transport.resume_reading();
    c.wire.quiesces()?;
    assert!(asked.get() > 0);
    Ok(())
}

#[test]
fn try_read_takes_bytes_only_and_leaves_an_error_to_the_protocol() -> io::Result<()> {
    let c = connected_with(|recorder| recorder.on_get_buffer(|_, _| ReadInto::Later))?;
    let mut buffer = [0; 10];
    let nothing_there = c.transport.try_read(&mut buffer);
    assert_eq!(nothing_there.map_err(|e| e.kind()), Err(WouldBlock));
    c.socket.on_receive(OnReceive::Bytes(b"data".to_vec()));
    c.wire.quiesces()?;
    assert_eq!(c.transport.try_read(&mut buffer)?, 4);
    assert_eq!(&buffer[..4], b"data");
    c.socket.on_receive(OnReceive::Fails(ConnectionReset));
    c.wire.quiesces()?;
    let failed = c.transport.try_read(&mut buffer);
    assert_eq!(failed.map_err(|e| e.kind()), Err(WouldBlock));
    assert_eq!(c.trace.told(), [ConnectionMade]);
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, ConnectionLost(Some(ConnectionReset))]
    );
    Ok(())
}

#[test]
fn try_read_takes_nothing_while_reading_is_paused() -> io::Result<()> {
    let c = connected()?;
    c.transport.pause_reading();
    c.socket.on_receive(OnReceive::Bytes(b"data".to_vec()));
    c.wire.quiesces()?;
    let taken = c.transport.try_read(&mut [0; 10]);
    assert_eq!(taken.map_err(|e| e.kind()), Err(WouldBlock));
    c.transport.resume_reading();
    c.wire.quiesces()?;
    assert_eq!(c.trace.received(), b"data");
    Ok(())
}

#[test]
fn trn_04_spurious_readiness_and_an_interruption_are_harmless() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Fails(WouldBlock));
    c.wire.quiesces()?;
    assert_eq!(c.socket.receives(), 1);
    c.socket.on_receive(OnReceive::Fails(Interrupted));
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade]);
    c.socket.on_receive(OnReceive::Bytes(b"real".to_vec()));
    c.wire.quiesces()?;
    assert_eq!(c.trace.received(), b"real", "still watched");
    assert_eq!(c.wire.reports(), [""; 0]);
    Ok(())
}

#[test]
fn trn_04_an_interrupted_receive_is_tried_again_though_no_edge_comes() -> io::Result<()> {
    let c = connected()?;
    c.transport.pause_reading();
    c.socket.on_receive(OnReceive::Fails(Interrupted));
    c.socket.on_receive(OnReceive::Bytes(b"behind it".to_vec()));
    c.transport.resume_reading();
    c.wire.quiesces()?;
    assert_eq!(c.trace.received(), b"behind it");
    Ok(())
}

#[test]
fn trn_05_a_reset_while_reading_ends_the_connection_once_and_is_no_bug() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Fails(ConnectionReset));
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, ConnectionLost(Some(ConnectionReset))]
    );
    assert!(c.socket.is_closed());
    assert_eq!(c.wire.reports(), [""; 0]);
    Ok(())
}

#[test]
fn trn_06_at_the_peers_end_the_transport_closes_itself() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    drop(theirs);
    wire.until("the end", || trace.is_lost())?;
    assert_eq!(
        trace.told(),
        [ConnectionMade, EofReceived, ConnectionLost(None)]
    );
    assert!(transport.is_closing());
    Ok(())
}

#[test]
fn trn_07_kept_open_after_the_end_nothing_is_read_and_writes_arrive() -> io::Result<()> {
    let c = connected_with(Recorder::keeps_open)?;
    c.socket.on_receive(OnReceive::Eof);
    c.wire.quiesces()?;
    let receives = c.socket.receives();
    c.socket.on_receive(OnReceive::Bytes(b"ghost".to_vec()));
    c.transport.resume_reading();
    c.wire.quiesces()?;
    assert_eq!(c.socket.receives(), receives, "no further read is tried");
    c.transport.write(b"abc");
    assert_eq!(c.socket.sent(), b"abc");
    assert_eq!(c.trace.told(), [ConnectionMade, EofReceived]);

    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace).keeps_open(), ours)?;
    theirs.shutdown(std::net::Shutdown::Write)?;
    wire.until("the end", || trace.has(&EofReceived))?;
    wire.expect_idle()?;
    transport.write(b"abc");
    let mut got = [0; 3];
    theirs.read_exact(&mut got)?;
    assert_eq!(&got, b"abc");
    Ok(())
}

#[test]
fn trn_08_a_panic_in_data_received_ends_that_connection_alone() -> io::Result<()> {
    let error = panic_ends_one_connection_alone("data_received", |recorder| {
        recorder.on_data_received(|_, _| panic!("on purpose"))
    })?;
    assert_eq!(error, "protocol.data_received() panicked: on purpose");
    Ok(())
}

#[test]
fn trn_08_a_panic_in_eof_received_ends_that_connection_alone() -> io::Result<()> {
    let error = panic_ends_one_connection_alone("eof_received", |recorder| {
        recorder.on_eof_received(|_| panic!("on purpose"))
    })?;
    assert_eq!(error, "protocol.eof_received() panicked: on purpose");
    Ok(())
}

/// Plays both: bytes, then the end, to a protocol that panics and to a neighbour.
/// Returns the error that `connection_lost` was told.
fn panic_ends_one_connection_alone(
    callback: &str,
    panics: impl FnOnce(Recorder) -> Recorder,
) -> io::Result<String> {
    let wire = Wire::new()?;
    let (trace, neighbour) = (Trace::new(), Trace::new());
    let error = Rc::new(RefCell::new(None));
    let lost_with = error.clone();
    let recorder = panics(Recorder::new(&trace)).on_connection_lost(move |error| {
        lost_with.replace(error.map(ToString::to_string));
    });
    let (ours, mut theirs) = tcp_pair()?;
    let (ours_too, mut theirs_too) = tcp_pair()?;
    let _transport = wire.adopts(recorder, ours)?;
    let _neighbour = wire.adopts(Recorder::new(&neighbour), ours_too)?;
    for socket in [&mut theirs, &mut theirs_too] {
        socket.write_all(b"x")?;
    }
    wire.until("the bytes", || neighbour.received_len() == 1)?;
    theirs.shutdown(std::net::Shutdown::Write)?;
    wire.until("the loss", || trace.is_lost())?;
    theirs_too.write_all(b"y")?;
    wire.until("the neighbour's bytes", || neighbour.received() == b"xy")?;
    trace.assert_complete();
    wire.expects_report(&format!("Fatal error: protocol.{callback}() call failed."));
    Ok(error.take().unwrap_or_default())
}

#[test]
fn trn_35_resuming_delivers_what_came_while_paused_though_no_edge_comes() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    transport.pause_reading();
    theirs.write_all(b"while paused")?;
    wire.expect_idle()?;
    transport.resume_reading();
    wire.quiesces()?;
    assert_eq!(trace.received(), b"while paused");
    Ok(())
}

#[test]
fn trn_35_the_edge_that_a_paused_transport_did_not_use_is_kept_for_many_turns() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    theirs.write_all(b"first")?;
    wire.until("the first bytes", || trace.received_len() == 5)?;
    transport.pause_reading();
    theirs.write_all(b"second")?;
    for _ in 0..100 {
        wire.event_loop.turn(Some(Duration::ZERO))?;
    }
    transport.resume_reading();
    wire.quiesces()?;
    assert_eq!(trace.received(), b"firstsecond");
    Ok(())
}

#[test]
fn trn_36_a_reset_while_idle_is_told_once_within_a_turn_of_its_event() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, theirs) = tcp_pair()?;
    let trace = Trace::new();
    let _transport = wire.adopts(Recorder::new(&trace), ours)?;
    wire.quiesces()?;
    reset(theirs)?;
    // One turn meets the event, and the loss is queued for the next.
    wire.event_loop.turn(Some(Duration::from_secs(10)))?;
    wire.event_loop.turn(Some(Duration::from_secs(10)))?;
    assert_eq!(
        trace.told(),
        [ConnectionMade, ConnectionLost(Some(ConnectionReset))]
    );
    wire.expect_idle()
}

#[test]
fn trn_40_an_urgent_byte_neither_spins_nor_hides_normal_ones() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let _transport = wire.adopts(Recorder::new(&trace), ours)?;
    socket2::SockRef::from(&theirs).send_out_of_band(b"!")?;
    wire.expect_idle()?;
    theirs.write_all(b"normal")?;
    wire.until("the normal bytes", || trace.received() == b"normal")?;
    wire.expect_idle()
}

// ── writing ─────────────────────────────────────────────────────────────────────

#[test]
fn trn_09_a_write_leaves_when_the_step_ends() -> io::Result<()> {
    let seen = Rc::new(Cell::new(usize::MAX));
    let size = seen.clone();
    let c = connected_with(|recorder| {
        recorder.on_connection_made(move |t| {
            t.write(b"data");
            size.set(t.get_write_buffer_size());
        })
    })?;
    assert_eq!(seen.get(), 4, "queued while the step runs");
    assert_eq!(c.socket.calls(), [send(b"data")]);
    assert_eq!(c.transport.get_write_buffer_size(), 0);
    Ok(())
}

#[test]
fn trn_09_with_the_policy_immediate_a_write_leaves_at_once() -> io::Result<()> {
    let seen = Rc::new(Cell::new(usize::MAX));
    let size = seen.clone();
    let c = connected_with(|recorder| {
        recorder.on_connection_made(move |t| {
            t.set_write_policy(WritePolicy::Immediate);
            t.write(b"data");
            size.set(t.get_write_buffer_size());
            t.write(b"more");
        })
    })?;
    assert_eq!(seen.get(), 0);
    assert_eq!(c.socket.calls(), [send(b"data"), send(b"more")]);
    Ok(())
}

#[test]
fn trn_09_an_empty_write_makes_no_system_call() -> io::Result<()> {
    let c = connected_with(|recorder| {
        recorder.on_connection_made(|t| {
            t.write(b"");
            t.write_owned(Vec::new());
            t.writelines(&[]);
            t.writelines(&[IoSlice::new(b""), IoSlice::new(b"")]);
        })
    })?;
    c.transport.write(b"");
    c.wire.quiesces()?;
    assert_eq!(c.socket.calls(), []);
    Ok(())
}

#[test]
fn d28_the_writes_of_one_step_leave_with_one_system_call() -> io::Result<()> {
    let c = connected_with(|recorder| {
        recorder.on_connection_made(|t| {
            for _ in 0..64 {
                t.write(b"answer\n");
            }
        })
    })?;
    assert_eq!(c.socket.calls(), [send(&b"answer\n".repeat(64))]);
    Ok(())
}

#[test]
fn d28_the_writes_of_a_tasks_step_leave_when_it_suspends() -> io::Result<()> {
    let c = connected()?;
    let (transport, socket) = (c.transport.clone(), c.socket.clone());
    c.wire.event_loop.run_until_complete(async move {
        transport.write(b"a");
        transport.write(b"b");
        assert_eq!(socket.sends(), 0);
        yield_now().await;
        assert_eq!(socket.sent(), b"ab");
        transport.write(b"c");
    })?;
    assert_eq!(c.socket.calls(), [send(b"ab"), send(b"c")]);
    Ok(())
}

#[test]
fn d28_a_step_that_panics_is_flushed_as_well() -> io::Result<()> {
    let c = connected()?;
    let transport = c.transport.clone();
    c.wire.event_loop.call_soon(move || {
        transport.write(b"before the panic");
        panic!("on purpose");
    })?;
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), b"before the panic");
    c.wire.expects_report("Exception in callback");
    Ok(())
}

#[test]
fn d28_a_large_write_leaves_together_with_what_is_queued() -> io::Result<()> {
    let seen = Rc::new(Cell::new(0));
    let size = seen.clone();
    let c = connected_with(|recorder| {
        recorder.on_connection_made(move |t| {
            t.write(b"head");
            t.write(&[b'.'; 4096]);
            size.set(t.get_write_buffer_size());
        })
    })?;
    assert_eq!(seen.get(), 0);
    let bytes = [&b"head"[..], &[b'.'; 4096]].concat();
    assert_eq!(c.socket.calls(), [SocketCall::Send { bytes, pieces: 2 }]);
    Ok(())
}

#[test]
fn d28_of_a_large_write_only_what_the_kernel_refused_is_kept() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Takes(4000));
    c.transport.write(&[b'.'; 5000]);
    c.becomes_idle_and_full()?;
    assert_eq!(c.transport.get_write_buffer_size(), 1000);
    Ok(())
}

#[test]
fn d28_flush_write_eof_and_close_send_first_what_is_queued() -> io::Result<()> {
    type Act = fn(&dyn Transport);
    let acts: [(Act, &[SocketCall]); 3] = [
        (|t| t.flush(), &[]),
        (|t| t.write_eof(), &[SocketCall::ShutDownWriting]),
        (|t| t.close(), &[]),
    ];
    for (act, follows) in acts {
        let c = connected()?;
        let (transport, socket) = (c.transport.clone(), c.socket.clone());
        c.wire.event_loop.run_until_complete(async move {
            transport.write(b"queued");
            act(&*transport);
            let expected = [&[send(b"queued")], follows].concat();
            assert_eq!(socket.calls(), expected, "within the step");
        })?;
    }
    Ok(())
}

#[test]
fn d28_abort_drops_only_what_the_kernel_would_not_take() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Takes(3));
    let transport = c.transport.clone();
    c.wire.event_loop.run_until_complete(async move {
        transport.write(b"abcdef");
        transport.abort();
    })?;
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), b"abc");
    assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert!(c.transport.has_discarded());
    Ok(())
}

#[test]
fn trn_11_what_the_kernel_refuses_is_buffered_and_not_tried_again() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(b"a");
    c.transport.write(b"b");
    c.transport.write(&[b'c'; 5000]);
    c.wire.quiesces()?;
    assert_eq!(c.socket.sends(), 1);
    assert_eq!(c.transport.get_write_buffer_size(), 5002);
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), [&b"ab"[..], &[b'c'; 5000]].concat());
    Ok(())
}

#[test]
fn trn_12_a_full_flush_empties_the_buffer_and_is_the_last_send() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.transport.get_write_buffer_size(), 0);
    assert_eq!(c.socket.calls(), [send(b"data"), send(b"data")]);
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sends(), 2, "nothing is left to be sent");
    Ok(())
}

#[test]
fn trn_12_of_a_partial_send_the_remainder_leaves_at_the_next_readiness() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.socket.on_send(OnSend::Takes(3));
    c.socket.becomes_writable();
    c.becomes_idle_and_full()?;
    assert_eq!(c.transport.get_write_buffer_size(), 1);
    // R6: where the kernel makes edges, less than was offered means blocked.
    #[cfg(not(mio_unsupported_force_poll_poll))]
    assert_eq!(c.socket.sends(), 2, "nothing is tried before the next edge");
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), b"data");
    Ok(())
}

#[test]
fn trn_12_a_spurious_readiness_changes_nothing() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sends(), 2);
    assert_eq!(c.transport.get_write_buffer_size(), 4);
    assert_eq!(c.trace.told(), [ConnectionMade]);
    Ok(())
}

#[test]
fn an_interrupted_send_counts_as_nothing_sent_and_is_tried_in_the_next_turn() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(Interrupted));
    c.transport.write(b"data");
    assert_eq!(c.transport.get_write_buffer_size(), 4);
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), b"data", "though no edge came");
    Ok(())
}

#[test]
fn what_no_send_could_offer_leaves_in_the_next_turn_without_an_edge() -> io::Result<()> {
    let c = connected()?;
    let bytes: Vec<u8> = (0..2500_u32).map(|n| n.to_le_bytes()[0]).collect();
    let pieces: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
    c.transport.writelines(&pieces);
    assert_eq!(c.socket.sends(), 1, "one attempt");
    assert_eq!(c.socket.sent(), bytes[..1024], "IOV_MAX pieces");
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), bytes);
    Ok(())
}

#[test]
fn trn_13_behind_a_close_the_loss_follows_the_last_byte() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.transport.close();
    c.wire.quiesces()?;
    assert!(!c.trace.is_lost());
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(
        c.socket.calls(),
        [send(b"data"), send(b"data"), SocketCall::Close]
    );
    assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    Ok(())
}

#[test]
fn trn_14_a_send_that_fails_ends_the_connection_in_a_later_turn() -> io::Result<()> {
    for kind in [BrokenPipe, ConnectionReset] {
        let c = connected()?;
        c.socket.on_send(OnSend::Fails(kind));
        c.transport.write(b"data");
        assert_eq!(c.trace.told(), [ConnectionMade], "not inside write");
        assert_eq!(c.transport.get_write_buffer_size(), 0);
        assert!(c.transport.is_closing());
        c.wire.quiesces()?;
        assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(Some(kind))]);
        assert_eq!(c.wire.reports(), [""; 0]);
    }
    Ok(())
}

#[test]
fn trn_14_a_flush_that_fails_drops_what_was_queued() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.socket.on_send(OnSend::Fails(BrokenPipe));
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.transport.get_write_buffer_size(), 0);
    assert!(c.transport.has_discarded());
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, ConnectionLost(Some(BrokenPipe))]
    );
    assert!(c.socket.is_closed());
    Ok(())
}

#[test]
fn trn_16_a_task_that_writes_without_awaiting_meets_the_loss_at_its_first_yield() -> io::Result<()>
{
    let wire = Wire::new()?;
    let (ours, theirs) = tcp_pair()?;
    let trace = Trace::new();
    // What the peer does not read makes a reset of its close.
    let transport = wire.adopts(Recorder::new(&trace).keeps_open(), ours)?;
    drop(theirs);
    let told = trace.clone();
    wire.event_loop.run_until_complete(async move {
        let (_, high) = transport.get_write_buffer_limits();
        let mut most = 0;
        for _ in 0..100_000 {
            transport.write(&[b'x'; 1024]);
            most = most.max(transport.get_write_buffer_size());
        }
        assert!(!told.is_lost(), "nothing is called inside write");
        yield_now().await;
        assert!(told.is_lost(), "at that yield");
        assert!(most <= high + 1024, "{most} bytes were buffered");
    })?;
    trace.assert_complete();
    Ok(())
}

#[test]
fn trn_31_a_hundred_thousand_small_writes_arrive_as_their_concatenation() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, theirs) = tcp_pair()?;
    let (sender, receiver) = (Trace::new(), Trace::new());
    let transport = wire.adopts(Recorder::new(&sender), ours)?;
    let _peer = wire.adopts(Recorder::new(&receiver), theirs)?;
    let mut expected = Vec::new();
    for n in 0..100_000_usize {
        let piece = vec![n.to_le_bytes()[0]; n % 10 + 1];
        transport.write(&piece);
        expected.extend_from_slice(&piece);
        if n % 1000 == 0 {
            wire.event_loop.turn(Some(Duration::ZERO))?;
        }
    }
    transport.close();
    wire.until("the end", || receiver.is_lost() && sender.is_lost())?;
    assert!(receiver.received() == expected);
    Ok(())
}

#[test]
fn trn_42_cut_to_one_byte_at_a_time_an_echo_brings_every_byte_back() -> io::Result<()> {
    let turns_for = |len: usize| {
        let wire = Wire::new()?;
        let sent: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
        let trace = Trace::new();
        let echo = Recorder::new(&Trace::new()).on_data_received(|t, data| t.write(data));
        let (_echo, transport) =
            memory_transport_pair(&wire.event_loop, echo, Recorder::new(&trace), 1);
        transport.write(&sent);
        let mut turns = 0;
        while trace.received_len() < len {
            wire.event_loop.turn(Some(Duration::from_millis(5)))?;
            turns += 1;
        }
        assert!(trace.received() == sent);
        io::Result::Ok(turns)
    };
    let (few, many) = (turns_for(16 * 1024)?, turns_for(64 * 1024)?);
    assert!(
        many < 5 * few,
        "{few} turns for a quarter of the bytes, {many} for all"
    );
    Ok(())
}

#[test]
fn trn_43_a_buffer_may_be_changed_and_dropped_right_after_the_write() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    let transport = c.transport.clone();
    c.wire.event_loop.run_until_complete(async move {
        let mut buffer = b"old content".to_vec();
        transport.write(&buffer);
        buffer.fill(b'?');
        transport.writelines(&[IoSlice::new(b", "), IoSlice::new(&[b'x'; 2])]);
        drop(buffer);
    })?;
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent(), b"old content, xx");
    Ok(())
}

#[test]
fn trn_30_tcp_sends_small_pieces_at_once_and_unix_sockets_do_not_mind() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, _theirs) = tcp_pair()?;
    ours.set_nodelay(false)?;
    let same_socket = ours.try_clone()?;
    let trace = Trace::new();
    let _tcp = wire.adopts(Recorder::new(&trace), ours)?;
    assert!(same_socket.nodelay()?);
    let (ours, _theirs) = UnixStream::pair()?;
    let trace = Trace::new();
    let _unix = wire.adopts(Recorder::new(&trace), ours)?;
    assert_eq!(trace.told(), [ConnectionMade]);
    Ok(())
}

// ── flow control ────────────────────────────────────────────────────────────────

#[test]
fn trn_24_vector_6_marks_are_completed_from_what_is_given() -> io::Result<()> {
    let c = connected()?;
    for (high, low, marks) in [
        (Some(100), None, (25, 100)),
        (None, Some(10), (10, 40)),
        (Some(100), Some(10), (10, 100)),
        (Some(0), Some(0), (0, 0)),
        (Some(0), None, (0, 0)),
        (Some(1000), None, (250, 1000)),
        (None, Some(1000), (1000, 4000)),
        (None, None, (16_384, 65_536)),
    ] {
        c.transport.set_write_buffer_limits(high, low)?;
        assert_eq!(c.transport.get_write_buffer_limits(), marks);
    }
    let refused = c.transport.set_write_buffer_limits(Some(10), Some(20));
    assert_eq!(
        refused.map_err(|error| error.to_string()),
        Err("high (10) must be >= low (20) must be >= 0".to_owned())
    );
    assert_eq!(c.transport.get_write_buffer_limits(), (16_384, 65_536));
    Ok(())
}

#[test]
fn trn_25_writing_pauses_at_101_bytes_and_resumes_at_10() -> io::Result<()> {
    let c = connected()?;
    c.transport.set_write_buffer_limits(Some(100), Some(10))?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(&[b'x'; 100]);
    assert_eq!(c.trace.told(), [ConnectionMade]);
    c.transport.write(b"x");
    assert_eq!(c.trace.told(), [ConnectionMade, PauseWriting]);
    c.socket.on_send(OnSend::Takes(90));
    c.socket.becomes_writable();
    c.becomes_idle_and_full()?;
    assert_eq!(c.transport.get_write_buffer_size(), 11);
    assert_eq!(c.trace.told(), [ConnectionMade, PauseWriting]);
    c.socket.on_send(OnSend::Takes(1));
    c.socket.becomes_writable();
    c.becomes_idle_and_full()?;
    assert_eq!(c.transport.get_write_buffer_size(), 10);
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, PauseWriting, ResumeWriting]
    );
    Ok(())
}

#[test]
fn vector_5_the_default_marks_and_a_close_that_flushes_everything() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(&[b'x'; 65_536]);
    assert_eq!(c.trace.told(), [ConnectionMade], "exactly at the mark");
    c.transport.write(b"x");
    assert_eq!(c.trace.told(), [ConnectionMade, PauseWriting]);
    c.socket.on_send(OnSend::Takes(65_537 - 16_384));
    c.socket.becomes_writable();
    c.becomes_idle_and_full()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, PauseWriting, ResumeWriting]
    );
    c.transport.close();
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.sent().len(), 65_537);
    assert_eq!(c.trace.told()[3..], [ConnectionLost(None)]);
    Ok(())
}

#[test]
fn a_flush_behind_a_close_resumes_writing_before_the_loss() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(&[b'x'; 70_000]);
    c.transport.close();
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [
            ConnectionMade,
            PauseWriting,
            ResumeWriting,
            ConnectionLost(None)
        ]
    );
    Ok(())
}

#[test]
fn r7_a_pause_that_came_before_connection_made_follows_it_at_once() -> io::Result<()> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let (transport, socket) = scripted_transport(&wire.event_loop, Recorder::new(&trace));
    socket.on_send(OnSend::Fails(WouldBlock));
    transport.write(&[b'x'; 70_000]);
    assert_eq!(trace.told(), []);
    wire.event_loop.turn(Some(Duration::ZERO))?;
    assert_eq!(trace.told(), [ConnectionMade, PauseWriting]);
    Ok(())
}

#[test]
fn an_abort_resumes_nobody() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(&[b'x'; 70_000]);
    c.transport.abort();
    c.transport.set_write_buffer_limits(None, None)?;
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, PauseWriting, ConnectionLost(None)]
    );
    Ok(())
}

#[test]
fn writes_from_inside_resume_writing_keep_their_place() -> io::Result<()> {
    let c = connected_with(|recorder| {
        let mut round = 0;
        recorder.on_resume_writing(move |t| {
            round += 1;
            if round <= 3 {
                t.write(format!("<round {round}>").as_bytes());
                t.write(&[b'.'; 200]);
            }
        })
    })?;
    c.transport.set_write_buffer_limits(Some(100), Some(10))?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(&[b'-'; 101]);
    for _ in 0..40 {
        c.socket.on_send(OnSend::Takes(60));
    }
    while c.transport.get_write_buffer_size() > 0 {
        c.socket.becomes_writable();
        c.wire.quiesces()?;
    }
    let dots = ".".repeat(200);
    let dashes = "-".repeat(101);
    let expected = format!("{dashes}<round 1>{dots}<round 2>{dots}<round 3>{dots}");
    assert_eq!(String::from_utf8_lossy(&c.socket.sent()), expected);
    c.trace.assert_in_order();
    Ok(())
}

#[test]
fn trn_27_writelines_pauses_and_a_drain_blocks() -> io::Result<()> {
    let wire = Wire::new()?;
    let reader = StreamReader::new();
    let protocol = StreamReaderProtocol::new(&reader);
    let (transport, socket) = scripted_transport(&wire.event_loop, protocol);
    let writer = StreamWriter::new(transport.clone(), &reader);
    wire.quiesces()?;
    socket.on_send(OnSend::Fails(WouldBlock));
    let part = vec![b'x'; 64 * 1024];
    writer.writelines(vec![&part; 100]);
    assert_eq!(transport.get_write_buffer_size(), 100 * 64 * 1024);
    let socket_makes_room = socket.clone();
    let handle = wire.event_loop.handle();
    wire.event_loop.run_until_complete(async move {
        let mut drain = pin!(writer.drain());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(drain.as_mut().poll(&mut cx).is_pending());
        handle.call_soon(move || socket_makes_room.becomes_writable())?;
        drain.await
    })??;
    assert_eq!(socket.sent().len(), 100 * 64 * 1024);
    Ok(())
}

#[test]
fn trn_47_lowering_the_high_mark_pauses_at_once_and_raising_it_does_not_resume() -> io::Result<()> {
    let c = blocked_with(&[b'x'; 50])?;
    c.transport.set_write_buffer_limits(Some(40), None)?;
    assert_eq!(c.trace.told(), [ConnectionMade, PauseWriting]);
    c.transport.set_write_buffer_limits(None, None)?;
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade, PauseWriting]);
    c.socket.on_send(OnSend::Takes(1));
    c.socket.becomes_writable();
    c.becomes_idle_and_full()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, PauseWriting, ResumeWriting]
    );
    Ok(())
}

#[test]
fn trn_47_what_waits_for_the_steps_end_pauses_nobody_when_the_mark_is_lowered() -> io::Result<()> {
    let c = connected()?;
    let transport = c.transport.clone();
    c.wire.event_loop.run_until_complete(async move {
        transport.write(&[b'x'; 50]);
        transport.set_write_buffer_limits(Some(40), None)?;
        io::Result::Ok(())
    })??;
    assert_eq!(c.trace.told(), [ConnectionMade]);
    assert_eq!(c.socket.sent().len(), 50);
    Ok(())
}

// ── the end of writing ──────────────────────────────────────────────────────────

#[test]
fn trn_18_write_eof_on_a_closing_transport_does_nothing() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.transport.close();
    c.transport.write_eof();
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    c.transport.write_eof();
    assert!(!c.socket.calls().contains(&SocketCall::ShutDownWriting));
    assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert_eq!(c.transport.misuse(), None);
    Ok(())
}

#[test]
fn trn_19_a_write_after_write_eof_is_told_by_each_drain_and_reading_goes_on() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    wire.event_loop.run_until_complete(async move {
        let (mut reader, writer) = millstream::open_connection_sock(ours).await?;
        writer.write(b"last");
        writer.write_eof()?;
        writer.drain().await?;
        writer.write(b"x");
        for _ in 0..3 {
            let error = writer.drain().await.expect_err("the misuse");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), "Cannot call write() after write_eof()");
        }
        theirs.write_all(b"answer\n")?;
        assert_eq!(reader.readline().await?, b"answer\n");
        let mut got = Vec::new();
        theirs.read_to_end(&mut got)?;
        assert_eq!(got, b"last", "and nothing of the late one");
        io::Result::Ok(())
    })?
}

#[test]
fn write_eof_shuts_down_behind_the_last_queued_byte() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.transport.write_eof();
    assert!(!c.socket.calls().contains(&SocketCall::ShutDownWriting));
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(
        c.socket.calls(),
        [send(b"data"), send(b"data"), SocketCall::ShutDownWriting]
    );
    Ok(())
}

#[test]
fn d6_a_shutdown_that_fails_ends_the_connection_with_that_error() -> io::Result<()> {
    let c = connected()?;
    c.socket.fail_shut_down(BrokenPipe);
    c.transport.write_eof();
    assert!(!c.trace.is_lost());
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, ConnectionLost(Some(BrokenPipe))]
    );
    Ok(())
}

// ── closing ─────────────────────────────────────────────────────────────────────

#[test]
fn trn_20_close_stops_reading_at_once_and_loses_in_a_later_turn() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Bytes(b"too late".to_vec()));
    c.transport.close();
    assert!(c.transport.is_closing());
    assert!(!c.transport.is_reading());
    assert_eq!(c.trace.told(), [ConnectionMade]);
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert_eq!(
        c.socket.calls(),
        [SocketCall::Close],
        "nothing was received"
    );
    Ok(())
}

#[test]
fn trn_20_with_bytes_queued_the_loss_comes_behind_the_flush() -> io::Result<()> {
    let c = blocked_with(b"data")?;
    c.socket.on_receive(OnReceive::Bytes(b"too late".to_vec()));
    c.transport.close();
    assert!(c.transport.is_closing());
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade]);
    c.socket.becomes_writable();
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert_eq!(c.socket.sent(), b"data");
    assert_eq!(c.socket.receives(), 0);
    Ok(())
}

#[test]
fn trn_21_abort_drops_a_megabyte_and_the_peer_sees_the_end_soon() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    while transport.get_write_buffer_size() < 1 << 20 {
        transport.write(&[b'x'; 100_000]);
    }
    transport.abort();
    assert_eq!(transport.get_write_buffer_size(), 0);
    wire.event_loop.turn(Some(Duration::ZERO))?;
    assert!(trace.is_lost(), "in the next turn");
    assert_eq!(trace.told().last(), Some(&ConnectionLost(None)));
    let mut rest = Vec::new();
    match theirs.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ConnectionReset),
    }
    Ok(())
}

#[test]
fn trn_23_connection_lost_may_close_abort_write_and_drop_the_last_handle() -> io::Result<()> {
    let kept: Rc<RefCell<Option<Rc<dyn Transport>>>> = Rc::default();
    let at_loss = kept.clone();
    let Connected {
        wire,
        trace,
        transport,
        socket,
    } = connected_with(|recorder| {
        recorder.on_connection_lost(move |_| {
            let transport = at_loss.take().expect("it is lost once");
            transport.close();
            transport.abort();
            transport.write(b"x");
            drop(transport);
        })
    })?;
    transport.abort();
    kept.replace(Some(transport));
    wire.quiesces()?;
    assert_eq!(trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert_eq!(socket.calls(), [SocketCall::Close], "closed once");
    assert_eq!(trace.recorders_dropped(), 1);
    assert_eq!(wire.event_loop.census().sources, 0);
    Ok(())
}

#[test]
fn trn_45_a_stream_that_is_dropped_flushes_and_closes() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    let receiving = std::thread::spawn(move || {
        let mut got = Vec::new();
        theirs.read_to_end(&mut got)?;
        io::Result::Ok(got.len())
    });
    wire.event_loop.run_until_complete(async move {
        let (reader, writer) = millstream::open_connection_sock(ours).await?;
        writer.write(vec![b'x'; 4 << 20]);
        drop(reader);
        drop(writer);
        io::Result::Ok(())
    })??;
    wire.until("the end of the source", || {
        wire.event_loop.census().sources == 0
    })?;
    let received = receiving.join().expect("the peer only reads")?;
    assert_eq!(received, 4 << 20);
    Ok(())
}

#[test]
fn trn_45_a_transport_without_handles_goes_on() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    drop(transport);
    wire.quiesces()?;
    theirs.write_all(b"still there?")?;
    wire.until("the bytes", || trace.received() == b"still there?")?;
    assert_eq!(wire.event_loop.census().sources, 1);
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn trn_48_a_close_over_unread_bytes_resets_behind_what_was_acknowledged() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    transport.pause_reading();
    theirs.write_all(b"never read")?;
    wire.quiesces()?;
    transport.write(b"acknowledged");
    transport.close();
    wire.until("the loss", || trace.is_lost())?;
    let mut got = [0; 12];
    theirs.read_exact(&mut got)?;
    assert_eq!(&got, b"acknowledged");
    let next = theirs.read(&mut got);
    assert_eq!(next.map_err(|error| error.kind()), Err(ConnectionReset));
    Ok(())
}

// ── reads past the protocol ─────────────────────────────────────────────────────

#[test]
fn an_error_that_a_try_read_met_is_told_whatever_a_further_read_would_say() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Fails(ConnectionReset));
    c.socket.on_receive(OnReceive::Eof);
    c.socket.becomes_readable();
    for _ in 0..3 {
        let read = c.transport.try_read(&mut [0; 10]);
        assert_eq!(read.map_err(|error| error.kind()), Err(WouldBlock));
    }
    assert_eq!(c.socket.receives(), 1);
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, ConnectionLost(Some(ConnectionReset))]
    );
    Ok(())
}

#[test]
fn an_end_that_a_try_read_met_is_told_at_once() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Eof);
    c.socket.becomes_readable();
    let read = c.transport.try_read(&mut [0; 10]);
    assert_eq!(read.map_err(|error| error.kind()), Err(WouldBlock));
    assert_eq!(c.trace.told()[..2], [ConnectionMade, EofReceived]);
    let receives = c.socket.receives();
    c.wire.quiesces()?;
    assert_eq!(c.socket.receives(), receives);
    Ok(())
}

#[test]
fn r4_an_end_that_a_try_read_met_in_a_callback_is_told_after_it() -> io::Result<()> {
    let c = connected_with(|recorder| {
        recorder.on_data_received(|transport, _| {
            let read = transport.try_read(&mut [0; 10]);
            assert_eq!(read.map_err(|error| error.kind()), Err(WouldBlock));
        })
    })?;
    c.socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
    c.socket.on_receive(OnReceive::Eof);
    c.socket.becomes_readable();
    c.wire.quiesces()?;
    assert_eq!(c.trace.received(), b"abc");
    let ends = c
        .trace
        .told()
        .into_iter()
        .filter(|told| *told == EofReceived);
    assert_eq!(ends.count(), 1);
    Ok(())
}

#[test]
fn r4_an_end_that_a_try_read_met_in_get_buffer_is_told_after_it() -> io::Result<()> {
    let asked = Rc::new(Cell::new(0));
    let counted = asked.clone();
    let c = connected_with(|recorder| {
        recorder.on_get_buffer(move |transport, _| {
            counted.set(counted.get() + 1);
            let read = transport.try_read(&mut [0; 10]);
            assert_eq!(read.map_err(|error| error.kind()), Err(WouldBlock));
            ReadInto::Shared
        })
    })?;
    c.socket.on_receive(OnReceive::Eof);
    c.wire.quiesces()?;
    assert_eq!(asked.get(), 1);
    assert_eq!(c.trace.told()[..2], [ConnectionMade, EofReceived]);
    Ok(())
}

#[test]
fn a_try_read_that_takes_everything_leaves_no_read_behind() -> io::Result<()> {
    let c = connected()?;
    c.socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
    c.socket.becomes_readable();
    assert_eq!(c.transport.try_read(&mut [0; 10])?, 3);
    let last = c.transport.try_read(&mut [0; 10]);
    assert_eq!(last.map_err(|error| error.kind()), Err(WouldBlock));
    let receives = c.socket.receives();
    c.wire.quiesces()?;
    assert_eq!(c.socket.receives(), receives);
    assert_eq!(c.trace.told(), [ConnectionMade]);
    Ok(())
}

#[test]
fn a_protocol_that_follows_one_which_left_the_bytes_gets_them() -> io::Result<()> {
    let c = connected_with(|recorder| recorder.on_get_buffer(|_, _| ReadInto::Later))?;
    c.socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
    c.socket.becomes_readable();
    c.wire.quiesces()?;
    assert_eq!(c.socket.receives(), 0);
    let successor = Trace::new();
    c.transport
        .set_protocol(Box::new(Recorder::new(&successor)));
    c.wire.quiesces()?;
    assert_eq!(successor.received(), b"abc");
    Ok(())
}

#[test]
fn r4_a_pause_that_get_buffer_provokes_is_told_before_the_data() -> io::Result<()> {
    let c = connected_with(|recorder| {
        let mut asked = false;
        recorder.on_get_buffer(move |transport, _| {
            if !std::mem::replace(&mut asked, true) {
                transport.write(&[b'x'; 70_000]);
            }
            ReadInto::Shared
        })
    })?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
    c.socket.becomes_readable();
    c.wire.quiesces()?;
    assert_eq!(
        c.trace.told(),
        [ConnectionMade, PauseWriting, DataReceived(b"abc".to_vec())]
    );
    Ok(())
}

#[test]
fn r4_a_protocol_that_get_buffer_brings_gets_the_data() -> io::Result<()> {
    let later = Rc::new(Trace::new());
    let successor = later.clone();
    let c = connected_with(|recorder| {
        recorder.on_get_buffer(move |transport, _| {
            transport.set_protocol(Box::new(Recorder::successor(&successor)));
            ReadInto::Shared
        })
    })?;
    c.socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
    c.socket.becomes_readable();
    c.wire.quiesces()?;
    assert_eq!(c.trace.told(), [ConnectionMade]);
    assert_eq!(later.received(), b"abc");
    Ok(())
}

// ── what a flush tells ──────────────────────────────────────────────────────────

#[test]
fn a_flush_fails_that_follows_a_write_whose_bytes_were_lost() -> io::Result<()> {
    let wire = Wire::new()?;
    let reader = StreamReader::new();
    let protocol = StreamReaderProtocol::new(&reader);
    let (transport, socket) = scripted_transport(&wire.event_loop, protocol);
    let writer = StreamWriter::new(transport, &reader);
    wire.quiesces()?;
    socket.on_send(OnSend::Fails(BrokenPipe));
    let flushed = wire.event_loop.run_until_complete(async move {
        writer.write([0; 8192]); // leaves at once, with nothing queued before it
        writer.flush().await
    })?;
    assert_eq!(flushed.map_err(|error| error.kind()), Err(ConnectionReset));
    Ok(())
}

#[test]
fn a_flush_fails_that_follows_a_write_after_the_close() -> io::Result<()> {
    let wire = Wire::new()?;
    let reader = StreamReader::new();
    let protocol = StreamReaderProtocol::new(&reader);
    let (transport, _socket) = scripted_transport(&wire.event_loop, protocol);
    let writer = StreamWriter::new(transport, &reader);
    wire.quiesces()?;
    let flushed = wire.event_loop.run_until_complete(async move {
        writer.write("in time");
        writer.close();
        let in_time = writer.flush().await;
        writer.write("too late");
        (in_time, writer.flush().await)
    })?;
    assert!(flushed.0.is_ok());
    assert_eq!(
        flushed.1.map_err(|error| error.kind()),
        Err(ConnectionReset)
    );
    Ok(())
}

// ── states ──────────────────────────────────────────────────────────────────────

/// A transport on a scripted socket.
struct Connected {
    wire: Wire,
    trace: Trace,
    transport: Rc<dyn Transport>,
    socket: ScriptedSocket,
}

/// `connection_made` was called, and nothing else happened.
fn connected() -> io::Result<Connected> {
    connected_with(|recorder| recorder)
}

fn connected_with(make: impl FnOnce(Recorder) -> Recorder) -> io::Result<Connected> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let recorder = make(Recorder::new(&trace));
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    wire.quiesces()?;
    assert_eq!(trace.told(), [ConnectionMade]);
    Ok(Connected {
        wire,
        trace,
        transport,
        socket,
    })
}

/// `unsent` was written, and the kernel took nothing of it.
fn blocked_with(unsent: &[u8]) -> io::Result<Connected> {
    let c = connected()?;
    c.socket.on_send(OnSend::Fails(WouldBlock));
    c.transport.write(unsent);
    assert_eq!(c.transport.get_write_buffer_size(), unsent.len());
    Ok(c)
}

impl Connected {
    /// Runs until nothing is left to do, with bytes that wait for room.
    fn becomes_idle_and_full(&self) -> io::Result<()> {
        self.wire.quiesces()?;
        assert!(self.transport.get_write_buffer_size() > 0);
        Ok(())
    }
}

fn send(bytes: &[u8]) -> SocketCall {
    SocketCall::Send {
        bytes: bytes.to_vec(),
        pieces: 1,
    }
}
