//! Communicating: feeding a child and reading what it says, at once.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::streams::{StreamReader, StreamWriter};

use super::process::Process;

impl Process {
    /// Writes `input` to the child's standard input and closes it, reads its output and its
    /// errors to their ends, and waits until it has ended. All at once, so that neither
    /// waits for the other's full pipe.
    ///
    /// What is not piped gives an empty vector. Everything is collected in memory: not for
    /// output without a bound. A child that reads no input, or not all, is none the wiser.
    ///
    /// # Errors
    /// What reading or writing fails with, but for a child that no longer reads.
    ///
    /// # Cancel safety
    /// Not cancel safe: part of the input may have been sent. What was read is still in the
    /// readers.
    ///
    /// # asyncio
    /// `Process.communicate(input)`, which gives `None` for what is not piped.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::process::Stdio;
    /// use millstream::{create_subprocess_exec, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let mut upper = create_subprocess_exec("tr")
    ///         .args(["a-z", "A-Z"])
    ///         .stdin(Stdio::piped())
    ///         .stdout(Stdio::piped())
    ///         .await?;
    ///     let (output, _errors) = upper.communicate(Some(b"hello")).await?;
    ///     assert_eq!(output, b"HELLO");
    ///     assert_eq!(upper.returncode(), Some(0));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub async fn communicate(&mut self, input: Option<&[u8]>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut output = Vec::new();
        let mut errors = Vec::new();
        {
            let feeding = pin!(feed(self.stdin.take(), input.unwrap_or_default()));
            let reading = pin!(read_to_end(self.stdout.as_mut(), &mut output));
            let complaining = pin!(read_to_end(self.stderr.as_mut(), &mut errors));
            all([feeding, reading, complaining]).await?;
        }
        self.wait().await;
        Ok((output, errors))
    }
}

async fn feed(stdin: Option<StreamWriter>, input: &[u8]) -> io::Result<()> {
    let Some(stdin) = stdin else {
        return Ok(());
    };
    stdin.write(input);
    let fed = match stdin.flush().await {
        Ok(()) => stdin.aclose().await,
        failed => failed,
    };
    match fed {
        // The child no longer reads; what it says is all that matters.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn read_to_end(reader: Option<&mut StreamReader>, all: &mut Vec<u8>) -> io::Result<()> {
    if let Some(reader) = reader {
        *all = reader.read_all().await?;
    }
    Ok(())
}

/// Awaits all of them at once; the first error is the answer.
async fn all(futures: [Pin<&mut dyn Future<Output = io::Result<()>>>; 3]) -> io::Result<()> {
    let mut under_way = futures.map(Some);
    poll_fn(|cx| {
        for place in &mut under_way {
            let Some(future) = place else { continue };
            match future.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => *place = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if under_way.iter().all(Option::is_none) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}
