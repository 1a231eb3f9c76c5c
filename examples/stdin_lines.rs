//! Run with `cargo run --example stdin_lines`, type `hello` and `mill`, each on a line of its
//! own, and end the input with Ctrl-D. Beside what you type, these lines appear:
//!
//! ```text
//! 1: hello
//! 2: mill
//! read 2 lines
//! ```
//!
//! Standard input and output as streams: while nobody types, the loop is free for other
//! things. A file will do as input, too, and so will `/dev/null`.
//!
//! Python: `connect_read_pipe` with `sys.stdin`, as everybody writes it by hand.

use std::io;

use millstream::{open_stdin, open_stdout, run};

async fn main_task() -> io::Result<()> {
    let mut lines = open_stdin().await?;
    let output = open_stdout().await?;
    let mut count = 0;
    while let Some(line) = lines.next_line().await? {
        count += 1;
        let text = String::from_utf8_lossy(&line);
        output.write(format!("{count}: {}\n", text.trim_end()));
        // A reader of ours that is slow, such as a pager, slows us down here.
        output.drain().await?;
    }

    output.write(format!("read {count} lines\n"));
    // What is still queued leaves before the program ends.
    output.aclose().await
}

fn main() -> io::Result<()> {
    run(main_task())
}
