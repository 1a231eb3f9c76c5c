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
            let (process, server) = (std::process::id(), candidate.name());
            let name = format!("beside-tokio-{process}-{server}.sock");
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

    /// The processor time that all its threads have taken. Where there is no `/proc`, `ps`
    /// tells it, in hundredths of a second.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.process.id())) else {
            return parse_time(&self.asks_ps("cputime=")?);
        };
        let mut nanoseconds = 0;
        for thread in threads {
            let statistics = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = statistics.split(' ').next().unwrap_or_default();
            nanoseconds += first.parse::<u64>().map_err(io::Error::other)?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        let kibibytes = match fs::read_to_string(format!("/proc/{}/status", self.process.id())) {
            Ok(status) => status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .map(|rest| rest.trim_end_matches("kB").to_owned())
                .ok_or_else(|| io::Error::other("/proc tells no VmRSS"))?,
            Err(_) => self.asks_ps("rss=")?,
        };
        let kibibytes: u64 = kibibytes.trim().parse().map_err(io::Error::other)?;
        Ok(kibibytes * 1024)
    }

    fn asks_ps(&self, column: &str) -> io::Result<String> {
        let process = self.process.id().to_string();
        let told = Command::new("ps")
            .args(["-o", column, "-p", &process])
            .output()?;
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
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

/// Reads `[[hours:]minutes:]seconds[.hundredths]`.
fn parse_time(text: &str) -> io::Result<Duration> {
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().map_err(io::Error::other)?;
    }
    Ok(Duration::from_secs_f64(seconds))
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

/// How many descriptors this process may have.
pub fn descriptors() -> usize {
    use rustix::process::{Resource, getrlimit};
    let allowed = getrlimit(Resource::Nofile).current;
    allowed.map_or(usize::MAX, |allowed| {
        usize::try_from(allowed).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ps_tells_of_a_time_is_read() {
        for (text, milliseconds) in [
            ("0:01.25\n", 1_250),
            ("01:02:03", 3_723_000),
            ("7.5", 7_500),
        ] {
            let time = parse_time(text).expect("it is well-formed");
            assert_eq!(time, Duration::from_millis(milliseconds));
        }
        assert!(parse_time("").is_err());
    }
}
