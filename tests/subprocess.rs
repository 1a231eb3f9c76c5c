//! Child processes, real ones: their pipes, their end, and that nothing is left of them.

use std::io::{self, ErrorKind};
use std::process::{Command, Stdio};
use std::time::Duration;

use millstream::{
    Process, create_subprocess, create_subprocess_exec, create_subprocess_shell, create_task,
    get_running_loop, run, sleep, timeout, yield_now,
};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGUSR1: i32 = if cfg!(target_os = "linux") { 10 } else { 30 };

/// A child that copies its input to its output.
async fn cat() -> io::Result<Process> {
    create_subprocess_exec("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .await
}

/// Says whether there is such a process, zombies included.
fn exists(pid: u32) -> io::Result<bool> {
    let asked = Command::new("ps").args(["-p", &pid.to_string()]).output()?;
    Ok(asked.status.success())
}

/// Waits until there is no such process.
async fn gone(pid: u32) -> io::Result<()> {
    while exists(pid)? {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

// ------------------------------------------------------------- pipes

#[test]
fn lines_go_in_and_come_out() -> io::Result<()> {
    run(async {
        let mut cat = cat().await?;
        let (stdin, stdout) = (cat.stdin.take(), cat.stdout.take());
        let (stdin, mut stdout) = (stdin.expect("it is piped"), stdout.expect("so is it"));
        for line in ["one\n", "two\n"] {
            stdin.write(line);
            stdin.drain().await?;
            assert_eq!(stdout.readline().await?, line.as_bytes());
        }
        assert_eq!(cat.returncode(), None);
        stdin.aclose().await?;
        assert_eq!(stdout.read_all().await?, b"");
        assert!(cat.wait().await.success());
        assert_eq!(cat.returncode(), Some(0));
        assert_eq!(get_running_loop()?.census().sources, 0);
        Ok(())
    })
}

#[test]
fn output_errors_and_the_code_are_told_apart() -> io::Result<()> {
    run(async {
        let mut shell = create_subprocess_shell("echo out; echo err >&2; exit 3")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .await?;
        let (output, errors) = shell.communicate(None).await?;
        assert_eq!((output, errors), (b"out\n".to_vec(), b"err\n".to_vec()));
        assert_eq!(shell.returncode(), Some(3));
        Ok(())
    })
}

#[test]
fn outputs_that_are_piped_together_come_in_the_order_of_writing() -> io::Result<()> {
    run(async {
        let mut shell = create_subprocess_shell("for i in 1 2 3; do echo $i; echo $i >&2; done")
            .stderr(Stdio::null())
            .stdout_and_stderr_piped()
            .limit(100)
            .await?;
        assert!(shell.stderr.is_none());
        let (output, errors) = shell.communicate(None).await?;
        assert_eq!(output, b"1\n1\n2\n2\n3\n3\n", "and there is an end");
        assert!(errors.is_empty());
        let blocks = create_subprocess_exec("python3")
            .args([
                "-c",
                "import os; print(os.get_blocking(1), os.get_blocking(2))",
            ])
            .stdout_and_stderr_piped()
            .await?
            .communicate(None)
            .await?;
        assert_eq!(blocks.0, b"True True\n");
        Ok(())
    })
}

#[test]
fn a_megabyte_goes_through_although_no_pipe_holds_it() -> io::Result<()> {
    run(async {
        let mut cat = cat().await?;
        let input: Vec<u8> = (0..1_500_000_u32).map(|i| (i % 251) as u8).collect();
        let (output, errors) = cat.communicate(Some(&input)).await?;
        assert!(output == input);
        assert!(errors.is_empty());
        Ok(())
    })
}

#[test]
fn much_on_both_outputs_blocks_neither() -> io::Result<()> {
    let script = "
import sys
for _ in range(20):
    sys.stderr.write('e' * 50_000); sys.stderr.flush()
    sys.stdout.write('o' * 50_000); sys.stdout.flush()
";
    run(async {
        let mut python = create_subprocess_exec("python3")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .limit(1000)
            .await?;
        let (output, errors) = python.communicate(None).await?;
        assert_eq!((output.len(), errors.len()), (1_000_000, 1_000_000));
        Ok(())
    })
}

#[test]
fn a_child_that_reads_nothing_is_no_error() -> io::Result<()> {
    run(async {
        let mut deaf = create_subprocess_shell("exec <&-; echo done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .await?;
        let (output, _) = deaf.communicate(Some(&[b'x'; 500_000])).await?;
        assert_eq!(output, b"done\n");
        Ok(())
    })
}

#[test]
fn arguments_environment_and_folder_are_set() -> io::Result<()> {
    run(async {
        let mut shell = create_subprocess_exec("/bin/sh")
            .arg("-c")
            .arg("echo \"$0 $MILL $HOME\"; pwd")
            .args(["a b"])
            .env_clear()
            .env("MILL", "stream")
            .current_dir("/")
            .stdout(Stdio::piped())
            .await?;
        let (output, _) = shell.communicate(None).await?;
        assert_eq!(output, b"a b stream \n/\n");

        let mut command = Command::new("echo");
        command.arg("described").stdout(Stdio::piped());
        let (output, _) = create_subprocess(command).await?.communicate(None).await?;
        assert_eq!(output, b"described\n");
        Ok(())
    })
}

#[test]
fn what_cannot_be_started_is_an_error() -> io::Result<()> {
    run(async {
        let missing = create_subprocess_exec("/no/such/program").await;
        assert_eq!(
            missing.expect_err("there is none").kind(),
            ErrorKind::NotFound
        );
        // It was started, and can't be handed out: it is not left behind.
        let refused = create_subprocess_exec("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .limit(0)
            .await;
        assert_eq!(
            refused.expect_err("a limit of zero").kind(),
            ErrorKind::InvalidInput
        );
        while get_running_loop()?.census().sources > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    })
}

// ------------------------------------------------------------- the end

#[test]
fn any_number_of_tasks_wait_and_again_afterwards() -> io::Result<()> {
    run(async {
        let mut cat = cat().await?;
        let stdin = cat.stdin.take();
        let cat = std::rc::Rc::new(cat);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let cat = cat.clone();
                create_task(async move { cat.wait().await })
            })
            .collect();
        let given_up = timeout(Duration::from_millis(1), cat.wait()).await;
        assert!(given_up.is_err());
        drop(stdin);
        for task in waiting {
            assert!(task.await?.success());
        }
        assert!(cat.wait().await.success());
        Ok(())
    })
}

#[test]
fn signals_end_it_and_their_numbers_are_told() -> io::Result<()> {
    run(async {
        for (signal, send) in [
            (SIGKILL, Process::kill as fn(&Process) -> io::Result<()>),
            (SIGTERM, Process::terminate),
            (SIGUSR1, |process| process.send_signal(SIGUSR1)),
        ] {
            let cat = cat().await?;
            send(&cat)?;
            cat.wait().await;
            assert_eq!(cat.returncode(), Some(-signal));
            let error = send(&cat).expect_err("it has ended");
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(
                error.to_string(),
                format!("process {} has ended", cat.pid())
            );
        }
        let cat = cat().await?;
        let error = cat.send_signal(12345).expect_err("there is none");
        assert_eq!(error.to_string(), "invalid signal number 12345");
        Ok(())
    })
}

#[test]
fn a_child_that_catches_a_signal_answers_it() -> io::Result<()> {
    run(async {
        let mut shell = create_subprocess_shell(
            "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.01; done",
        )
        .stdout(Stdio::piped())
        .await?;
        let stdout = shell.stdout.as_mut().expect("it is piped");
        assert_eq!(stdout.readline().await?, b"ready\n");
        shell.terminate()?;
        let stdout = shell.stdout.as_mut().expect("it is piped");
        assert_eq!(stdout.readline().await?, b"caught\n");
        assert_eq!(shell.wait().await.code(), Some(7));
        Ok(())
    })
}

// ------------------------------------------------------------- nothing is left

#[test]
fn a_child_that_nobody_waits_for_is_no_zombie() -> io::Result<()> {
    run(async {
        let mut pids = Vec::new();
        for _ in 0..20 {
            pids.push(create_subprocess_exec("true").await?.pid());
        }
        for pid in pids {
            gone(pid).await?;
        }
        assert_eq!(get_running_loop()?.census().sources, 0);
        Ok(())
    })
}

#[test]
fn a_child_outlives_its_handle_unless_it_is_to_be_killed() -> io::Result<()> {
    run(async {
        let sleeping = || create_subprocess_exec("sleep").arg("600");
        let left = sleeping().await?;
        let pid = left.pid();
        drop(left);
        let killed = sleeping().kill_on_drop(true).await?;
        let killed_pid = killed.pid();
        drop(killed);
        gone(killed_pid).await?;
        assert!(exists(pid)?);
        Command::new("kill").arg(pid.to_string()).status()?;
        gone(pid).await
    })
}

#[test]
fn a_child_that_outlives_the_loop_is_no_zombie() -> io::Result<()> {
    let (pid, stdin) = run(async {
        let (reader, writer) = io_pipe()?;
        let child = create_subprocess_exec("cat")
            .stdin(reader)
            .stdout(Stdio::null())
            .await?;
        io::Result::Ok((child.pid(), writer))
    })?;
    assert!(exists(pid)?);
    drop(stdin); // which ends it
    run(gone(pid))
}

/// A pipe, both ends of which block.
fn io_pipe() -> io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let (writer, reader) = mio::unix::pipe::new()?;
    writer.set_nonblocking(false)?;
    reader.set_nonblocking(false)?;
    Ok((reader.into(), writer.into()))
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_return_to_where_they_were() -> io::Result<()> {
    if std::env::var_os("MILLSTREAM_COUNTS").is_none() {
        // Other tests have descriptors of their own: alone, in a process of its own.
        let alone = Command::new(std::env::current_exe()?)
            .args(["descriptors_return_to_where_they_were", "--exact"])
            .env("MILLSTREAM_COUNTS", "1")
            .output()?;
        assert!(alone.status.success(), "{alone:?}");
        return Ok(());
    }
    run(async {
        let mut before = 0;
        for round in 0..10 {
            let mut cat = cat().await?;
            let (output, _) = cat.communicate(Some(b"round")).await?;
            assert_eq!(output, b"round");
            drop(cat);
            yield_now().await;
            yield_now().await;
            if round == 2 {
                before = open_descriptors()?;
            }
        }
        assert_eq!(open_descriptors()?, before);
        Ok(())
    })
}

#[cfg(target_os = "linux")]
fn open_descriptors() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
