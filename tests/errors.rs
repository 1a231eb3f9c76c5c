//! The error types: what they fit into, and what they become as an `io::Error`.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::panic::{self, PanicHookInfo, panic_any};
use std::sync::{Arc, Mutex};
use std::thread;

use millstream::{
    Cancelled, ConnError, CopyError, ExceptionContext, IncompleteReadError, JoinError,
    LimitOverrunError, LoopError, PanicPayload, ReadError, TimedOut, all_tasks, create_task,
    current_task, memory_stream_pair, open_connection, run,
};

/// What `anyhow` and `Box<dyn Error + Send + Sync>` ask of an error.
type Boxed = Box<dyn Error + Send + Sync>;

#[test]
fn every_error_can_be_shared_between_threads() {
    fn fits<T: Send + Sync + 'static>() {}
    fits::<Cancelled>();
    fits::<ConnError>();
    fits::<CopyError>();
    fits::<ExceptionContext>();
    fits::<IncompleteReadError>();
    fits::<JoinError>();
    fits::<LimitOverrunError>();
    fits::<LoopError>();
    fits::<PanicPayload>();
    fits::<ReadError>();
    fits::<TimedOut>();
}

#[test]
fn a_task_can_be_awaited_where_any_error_is_returned() {
    let outcome: Result<u32, Boxed> = run(async {
        let task = create_task(async { 42 });
        Ok(task.await?)
    });
    assert_eq!(outcome.expect("nothing fails"), 42);
}

#[test]
fn a_join_error_goes_along_in_its_io_error() -> io::Result<()> {
    run(async {
        let task = create_task(async { panic!("the task {}", "broke") });
        let joined: Result<(), JoinError> = task.await;
        let error = io::Error::from(joined.expect_err("it panicked"));
        assert_eq!(error.kind(), ErrorKind::Other);
        assert_eq!(error.to_string(), "task panicked: the task broke");
        assert!(!Cancelled::is(&error));
        let source = error.get_ref().and_then(|e| e.downcast_ref());
        let Some(JoinError::Panicked(payload)) = source else {
            panic!("the payload is gone: {error:?}");
        };
        assert_eq!(payload.message(), Some("the task broke"));

        let task = create_task(std::future::pending::<()>());
        task.cancel();
        let error = io::Error::from(task.await.expect_err("it was cancelled"));
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(Cancelled::is(&error));
        Ok(())
    })
}

#[test]
fn a_panic_comes_back_with_what_it_was_raised_with() -> io::Result<()> {
    async fn payload_of(raise: fn()) -> PanicPayload {
        match create_task(async move { raise() }).await {
            Err(JoinError::Panicked(payload)) => payload,
            other => panic!("it did not panic: {other:?}"),
        }
    }
    run(async {
        let literal = payload_of(|| panic!("a literal")).await;
        assert_eq!(literal.message(), Some("a literal"));
        let literal = literal.into_inner().downcast::<&str>();
        assert_eq!(*literal.expect("its type is kept"), "a literal");

        let text = payload_of(|| panic_any("a text".to_owned())).await;
        assert_eq!(text.message(), Some("a text"));
        let text = text.into_inner().downcast::<String>();
        assert_eq!(*text.expect("its type is kept"), "a text");

        let other = payload_of(|| panic_any(7_u8)).await;
        assert_eq!(other.message(), None);
        assert_eq!(other.to_string(), "a payload that is no string");
        let other = other.into_inner().downcast::<u8>();
        assert_eq!(*other.expect("its type is kept"), 7);
        Ok(())
    })
}

#[test]
fn errors_keep_their_kind_and_text_as_io_errors() {
    let incomplete = || IncompleteReadError {
        partial: b"abc".to_vec(),
        expected: Some(8),
    };
    let overrun = || LimitOverrunError {
        message: "Separator is not found, and chunk exceed the limit",
        consumed: 5,
    };
    let short = "3 bytes read on a total of 8 expected bytes";
    let long = "Separator is not found, and chunk exceed the limit";
    let refused = || ConnError::from(ErrorKind::ConnectionRefused);
    let refusal = refused().to_string();
    let converted: [(io::Error, ErrorKind, &str); 9] = [
        (incomplete().into(), ErrorKind::UnexpectedEof, short),
        (
            ReadError::Incomplete(incomplete()).into(),
            ErrorKind::UnexpectedEof,
            short,
        ),
        (overrun().into(), ErrorKind::InvalidData, long),
        (
            ReadError::LimitOverrun(overrun()).into(),
            ErrorKind::InvalidData,
            long,
        ),
        (refused().into(), ErrorKind::ConnectionRefused, &refusal),
        (
            ReadError::Connection(refused()).into(),
            ErrorKind::ConnectionRefused,
            &refusal,
        ),
        (TimedOut.into(), ErrorKind::TimedOut, "timed out"),
        (Cancelled.into(), ErrorKind::Other, "cancelled"),
        (
            LoopError::Closed.into(),
            ErrorKind::Other,
            "Event loop is closed",
        ),
    ];
    for (error, kind, text) in converted {
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    }
}

#[test]
fn the_systems_error_number_survives_every_conversion() {
    let reset = io::Error::from_raw_os_error(104);
    let text = reset.to_string();
    let read = ReadError::from(ConnError::from(reset));
    assert_eq!(read.raw_os_error(), Some(104));
    let told = io::Error::from(read);
    assert_eq!(told.raw_os_error(), Some(104));
    assert_eq!(told.to_string(), text);
}

#[test]
fn what_needs_a_loop_panics_at_the_line_that_called_it() {
    let location = Arc::new(Mutex::new(None));
    let noted = location.clone();
    let here = thread::current().id();
    let earlier: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync> = panic::take_hook().into();
    let others = earlier.clone();
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == here {
            let at = info.location().map(|at| (at.file().to_owned(), at.line()));
            *noted.lock().expect("nobody panics with it") = at;
        } else {
            others(info);
        }
    }));
    let calls: [(u32, fn()); 5] = [
        (line!(), || drop(create_task(async {}))),
        (line!(), || drop(current_task())),
        (line!(), || drop(all_tasks())),
        (line!(), || drop(open_connection("localhost", 1))),
        (line!(), || drop(memory_stream_pair(1))),
    ];
    let panicked =
        calls.map(|(line, call)| (line, panic::catch_unwind(call), location_of(&location)));
    panic::set_hook(Box::new(move |info| earlier(info)));
    for (line, called, location) in panicked {
        let payload = called.expect_err("no loop runs");
        let message = payload.downcast_ref::<String>().map(String::as_str);
        assert_eq!(message, Some("no running event loop"));
        assert_eq!(location, Some((file!().to_owned(), line)));
    }
}

fn location_of(noted: &Mutex<Option<(String, u32)>>) -> Option<(String, u32)> {
    noted.lock().expect("nobody panics with it").take()
}
