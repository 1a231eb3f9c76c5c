//! Servers as processes: started, pinned to a processor, asked what they cost.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::Target;
use crate::servers::{Candidate, Workload};

/// A server process. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    target: Target,
    socket_path: Option<PathBuf>,
}

/// What the server is started under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under<'a> {
    /// Nothing.
    Nothing,
    /// A program that starts it, and writes counts when the server is stopped.
    Command(&'a [&'a str]),
}

impl Server {
    /// Starts this program again, as a server, on the first processor.
    pub fn start(
        candidate: Candidate,
        workload: Workload,
        over_unix: bool,
        under: Under<'_>,
    ) -> io::Result<Server> {
        let socket_path = over_unix.then(|| {
            let name = format!("beside-tokio-{}.sock", std::process::id());
            env::temp_dir().join(name)
        });
        if let Some(path) = &socket_path {
            let _ = fs::remove_file(path);
        }
        let mut command = match under {
            Under::Nothing => Command::new(env::current_exe()?),
            Under::Command(counting) => {
                let mut command = Command::new(counting[0]);
                command.args(&counting[1..]).arg(env::current_exe()?);
                // It says how the server ended.
                command.stderr(Stdio::null());
                command
            }
        };
        command.args(["serve", candidate.name(), workload.name()]);
        if let Some(path) = &socket_path {
            command.arg(path);
        }
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        let target = match &socket_path {
            Some(path) => Target::Unix(path.clone()),
            None => Target::Tcp(address.trim().parse().map_err(|_| {
                io::Error::other(format!("{candidate:?} did not start: {address:?}"))
            })?),
        };
        Ok(Server {
            process,
            target,
            socket_path,
        })
    }

    /// Where it can be reached.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The processor time that all its threads have taken.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let statistics = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = statistics.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>().map_err(io::Error::other)?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        let kibibytes = kibibytes.and_then(|number| number.parse::<u64>().ok());
        kibibytes
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| io::Error::other("/proc tells no VmRSS"))
    }

    /// Ends the server under a program that counts, and which then writes what it counted.
    pub fn stop_counted(mut self) -> io::Result<()> {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        for child in fs::read_to_string(children)?.split_whitespace() {
            Command::new("kill").arg(child).status()?;
        }
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(path) = &self.socket_path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Keeps this process on one processor, where there are two or more: the servers on the
/// first, the load on the second.
pub fn pin_to(processor: usize) {
    #[cfg(target_os = "linux")]
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() > processor) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            eprintln!("not pinned to processor {processor}: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = processor;
}

/// Allows this process, and those that it starts, as many descriptors as the system lets
/// them have: ten thousand connections take more than the usual 1,024.
pub fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: allowed.maximum,
        maximum: allowed.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!(
            "the limit on descriptors stays at {:?}: {error}",
            allowed.current
        );
    }
}
