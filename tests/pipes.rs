//! Pipes: their transports, and the streams on them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use millstream::{
    AfterEof, ConnError, Pipe, Protocol, Socket, Transport, get_running_loop, open_read_pipe,
    open_write_pipe, run, yield_now,
};
use mio::unix::pipe;

/// What a protocol was told, in order.
type Told = Rc<RefCell<Vec<String>>>;

/// Writes down what it is told.
struct Clerk(Told);

impl Clerk {
    fn new() -> (Clerk, Told) {
        let told = Told::default();
        (Clerk(told.clone()), told)
    }

    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }
}

impl Protocol for Clerk {
    fn connection_made(&mut self, _transport: &Rc<dyn Transport>) {
        self.note("made");
    }

    fn data_received(&mut self, _transport: &Rc<dyn Transport>, data: &[u8]) {
        self.note(format!("data {}", String::from_utf8_lossy(data)));
    }

    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        self.note(format!("eof closing={}", transport.is_closing()));
        AfterEof::KeepOpen
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        match error {
            None => self.note("lost"),
            Some(error) => self.note(format!("lost {:?}", error.kind())),
        }
    }

    fn pause_writing(&mut self, _transport: &Rc<dyn Transport>) {
        self.note("pause");
    }

    fn resume_writing(&mut self, _transport: &Rc<dyn Transport>) {
        self.note("resume");
    }
}

/// A pipe whose ends both block: the reader, then the writer.
fn blocking_pipe() -> io::Result<(File, File)> {
    let (writer, reader) = pipe::new()?;
    writer.set_nonblocking(false)?;
    reader.set_nonblocking(false)?;
    Ok((
        File::from(OwnedFd::from(reader)),
        File::from(OwnedFd::from(writer)),
    ))
}

/// Lets turns pass until something was written down that often.
async fn until(told: &Told, count: usize) {
    while told.borrow().len() < count {
        yield_now().await;
    }
}

// ------------------------------------------------------------- the end from which is read

#[test]
fn a_read_pipe_is_closing_before_its_end_is_told_and_lost_after_it() -> io::Result<()> {
    run(async {
        let (reader, mut writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_read_pipe(|| clerk, reader).await?;
        writer.write_all(b"abc")?;
        until(&told, 2).await;
        drop(writer);
        until(&told, 4).await;
        assert_eq!(
            *told.borrow(),
            ["made", "data abc", "eof closing=true", "lost"]
        );
        assert!(transport.is_closing());
        yield_now().await;
        assert_eq!(handle.census().sources, 0);
        Ok(())
    })
}

#[test]
fn what_lies_in_the_pipe_comes_before_its_end() -> io::Result<()> {
    run(async {
        let (reader, mut writer) = blocking_pipe()?;
        writer.write_all(b"left behind")?;
        drop(writer);
        let mut reader = open_read_pipe(reader).await?;
        assert_eq!(reader.read_all().await?, b"left behind");
        assert!(reader.at_eof());
        Ok(())
    })
}

#[test]
fn a_paused_pipe_is_read_on_when_it_is_resumed() -> io::Result<()> {
    run(async {
        let (reader, mut writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_read_pipe(|| clerk, reader).await?;
        transport.pause_reading();
        writer.write_all(b"abc")?;
        drop(writer);
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(*told.borrow(), ["made"]);
        transport.resume_reading();
        until(&told, 4).await;
        assert_eq!(told.borrow()[1..], ["data abc", "eof closing=true", "lost"]);
        Ok(())
    })
}

#[test]
fn a_pipe_that_is_closed_hears_of_no_end() -> io::Result<()> {
    run(async {
        let (reader, mut writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_read_pipe(|| clerk, reader).await?;
        transport.close();
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost"]);
        let error = writer.write_all(b"x").expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        Ok(())
    })
}

#[test]
fn a_reader_that_is_dropped_closes_its_pipe() -> io::Result<()> {
    run(async {
        let (reader, mut writer) = blocking_pipe()?;
        let reader = open_read_pipe(reader).limit(10).await?;
        drop(reader);
        yield_now().await;
        let error = writer.write_all(b"x").expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(get_running_loop()?.census().sources, 0);
        Ok(())
    })
}

#[test]
fn writing_to_the_end_from_which_is_read_is_a_misuse() -> io::Result<()> {
    run(async {
        let (reader, _writer) = blocking_pipe()?;
        let (clerk, _told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_read_pipe(|| clerk, reader).await?;
        assert!(!transport.can_write() && !transport.can_write_eof());
        transport.write(b"x");
        assert_eq!(
            transport.misuse(),
            Some("Cannot call write() on a transport that only reads")
        );
        transport.write_eof();
        assert!(!transport.is_closing());
        Ok(())
    })
}

// ------------------------------------------------------------- the end to which is written

#[test]
fn what_is_written_arrives_and_write_eof_closes() -> io::Result<()> {
    run(async {
        let (mut reader, writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_write_pipe(|| clerk, writer).await?;
        assert!(!transport.is_reading());
        transport.write(b"abc");
        transport.write_eof();
        assert!(transport.is_closing());
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost"]);
        yield_now().await;
        let mut all = Vec::new();
        reader.read_to_end(&mut all)?;
        assert_eq!(all, b"abc");
        Ok(())
    })
}

#[test]
fn a_reader_that_leaves_ends_an_idle_pipe_cleanly() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_write_pipe(|| clerk, writer).await?;
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!(*told.borrow(), ["made"]);
        drop(reader);
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost"]);
        assert!(transport.is_closing());
        Ok(())
    })
}

#[test]
fn a_reader_that_leaves_bytes_unread_breaks_the_pipe() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_write_pipe(|| clerk, writer).await?;
        transport.write(&[b'x'; 1_000_000]);
        assert!(transport.get_write_buffer_size() > 0);
        drop(reader);
        until(&told, 3).await;
        assert_eq!(*told.borrow(), ["made", "pause", "lost BrokenPipe"]);
        Ok(())
    })
}

#[test]
fn a_reader_that_leaves_while_the_pipe_flushes_breaks_it() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let (clerk, told) = Clerk::new();
        let handle = get_running_loop()?;
        let transport = handle.connect_write_pipe(|| clerk, writer).await?;
        transport.write(&[b'x'; 1_000_000]);
        transport.close();
        drop(reader);
        until(&told, 3).await;
        assert_eq!(told.borrow()[2], "lost BrokenPipe");
        Ok(())
    })
}

#[test]
fn a_slow_reader_of_a_pipe_gets_all_of_it() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let sent: Vec<u8> = (0..2_000_000_u32).map(|i| (i % 251) as u8).collect();
        let writer = open_write_pipe(writer).await?;
        let mut reader = open_read_pipe(reader).await?;
        let data = sent.clone();
        let writing = millstream::create_task(async move {
            for piece in data.chunks(100_000) {
                writer.write(piece);
                writer.drain().await?;
            }
            writer.aclose().await
        });
        let received = reader.read_all().await?;
        writing.await??;
        assert!(received == sent);
        Ok(())
    })
}

#[test]
fn drain_tells_that_the_pipe_broke() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let writer = open_write_pipe(writer).await?;
        drop(reader);
        writer.write(b"nobody reads this");
        let error = loop {
            if let Err(error) = writer.drain().await {
                break error;
            }
            writer.write(b"nor this");
            yield_now().await;
        };
        assert!(
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{error:?}"
        );
        Ok(())
    })
}

// ------------------------------------------------------------- what is a pipe

#[test]
fn a_socket_is_a_pipe_and_what_its_peer_says_closes_no_writer() -> io::Result<()> {
    run(async {
        let (ours, mut theirs) = UnixStream::pair()?;
        let writer = open_write_pipe(ours).await?;
        theirs.write_all(b"ignored")?;
        for _ in 0..3 {
            yield_now().await;
        }
        writer.write(b"still here");
        writer.drain().await?;
        yield_now().await;
        let mut buffer = [0; 10];
        theirs.read_exact(&mut buffer)?;
        assert_eq!(&buffer, b"still here");
        drop(theirs);
        writer.wait_closed().await
    })
}

#[test]
fn the_descriptor_is_told_as_a_pipe() -> io::Result<()> {
    run(async {
        let (reader, writer) = blocking_pipe()?;
        let (read_fd, write_fd) = (reader.as_raw_fd(), writer.as_raw_fd());
        let handle = get_running_loop()?;
        let (clerk, _) = Clerk::new();
        let reading = handle.connect_read_pipe(|| clerk, reader).await?;
        let (clerk, _) = Clerk::new();
        let writing = handle.connect_write_pipe(|| clerk, writer).await?;
        for (transport, fd) in [(&reading, read_fd), (&writing, write_fd)] {
            assert_eq!(transport.get_extra_info(Pipe).map(|p| p.fd), Some(fd));
            assert_eq!(transport.get_extra_info(Socket), None);
            let error = handle.add_reader(fd, || {}).expect_err("it is owned");
            assert_eq!(
                error.to_string(),
                format!("File descriptor {fd} is used by transport {transport:?}")
            );
        }
        Ok(())
    })
}

#[test]
fn a_regular_file_is_no_pipe() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (clerk, told) = Clerk::new();
        let file = File::open(file!())?;
        let refused = handle.connect_read_pipe(|| clerk, file).await;
        let error = refused.expect_err("it is a file");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(
            text.starts_with("Pipe transport is for pipes/sockets only."),
            "{text}"
        );
        assert!(told.borrow().is_empty());
        let file = File::open(file!())?;
        let error = open_write_pipe(file).await.expect_err("it is a file");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    })
}

#[test]
#[cfg(all(target_os = "linux", not(mio_unsupported_force_poll_poll)))]
fn a_device_that_the_poller_refuses_is_an_error() -> io::Result<()> {
    run(async {
        let null = File::open("/dev/null")?;
        let error = open_read_pipe(null).await.expect_err("epoll refuses it");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(get_running_loop()?.census().sources, 0);
        Ok(())
    })
}

#[test]
fn a_limit_of_zero_is_refused_before_the_pipe_is_touched() -> io::Result<()> {
    run(async {
        let (reader, _writer) = blocking_pipe()?;
        let error = open_read_pipe(reader).limit(0).await;
        assert_eq!(error.expect_err("zero").kind(), ErrorKind::InvalidInput);
        Ok(())
    })
}
