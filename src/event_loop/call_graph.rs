//! The call graph: which task waits for what, and for whom.
//!
//! ```text
//!   the task table ──► state, since when, what was noted (waits)  ─┐
//!   the timers ──────► whose wakers they hold, and until when      ├─► CallGraph ─► pstree
//!   each task ───────► whose waker it will wake when it ends       │               ps
//!   the reactor ─────► what the sources are                       ─┘
//! ```
//!
//! All of it is looked up when somebody asks. Until then, a task that begins to wait costs
//! a few stores (`crate::waits`).
//!
//! It may be left out (the feature `call-graph`); what is noted then, nobody reads.
//!
//! asyncio: `asyncio.capture_call_graph`, and `python -m asyncio ps` and `pstree` (3.14),
//! which look into another process.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::clock::Seconds;
use crate::executor::{Inspected, Stands};
use crate::reactor::SourceId;
use crate::waits::{TaskAddress, WaitsOn, What, holder};

use super::LoopHandle;
use super::running::running_loop;

/// The tasks of a loop at one moment, and what they wait for.
///
/// Shown by `{}`, it is a tree: see [`pstree`](CallGraph::pstree).
///
/// # asyncio
/// The result of `asyncio.capture_call_graph`, for all tasks at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallGraph {
    /// The moment, on the loop's clock.
    pub time: Duration,
    /// The tasks that have not ended, the oldest first.
    pub tasks: Vec<TaskNode>,
}

/// One task in a [`CallGraph`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskNode {
    /// The task's number, counted per loop from 1, and from 1 again after four billion: the
    /// one in `Task-N`.
    pub number: u64,
    /// The task's name.
    pub name: String,
    /// Whether it runs, is about to, or waits.
    pub state: TaskState,
    /// For how long it has been so: since the turn of its last step.
    pub lasts: Duration,
    /// What it waits for; empty unless it waits. It is woken by whichever comes first.
    pub waits_for: Vec<WaitsFor>,
    /// The number of the task that waits for this one to end.
    pub awaited_by: Option<u64>,
}

/// Whether a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Its step runs now.
    Running,
    /// It is in the ready queue.
    Ready,
    /// It waits to be woken.
    Waiting,
}

/// What a task waits for.
///
/// Things without a name are numbered for each kind, in the order in which the graph meets
/// them: two tasks that wait for `lock 1` wait for the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// The end of the task with this number.
    Task(u64),
    /// This time of the loop's clock.
    Time(Duration),
    /// More bytes of a stream, or its end.
    Bytes {
        /// The stream's transport.
        connection: String,
        /// How many unread bytes it has.
        buffered: usize,
    },
    /// Room in the write buffer of this connection: in `drain`.
    Room(String),
    /// That what was written to this connection has left: in `flush`.
    Flush(String),
    /// The end of this connection: in `wait_closed`.
    ConnectionEnd(String),
    /// A connection that is being made.
    Connect(String),
    /// This descriptor.
    Descriptor(u64),
    /// The value of a future.
    Future(u64),
    /// A lock.
    Lock {
        /// The lock's number.
        number: u64,
        /// The number of the task that holds it, if that task waited for it.
        held_by: Option<u64>,
    },
    /// An event.
    Event(u64),
    /// A permit of a semaphore.
    Semaphore(u64),
    /// That a condition is notified.
    Condition(u64),
    /// The others at a barrier.
    Barrier(u64),
    /// An item of a queue.
    QueueItem(u64),
    /// Room in a queue.
    QueueRoom(u64),
    /// That all items of a queue are done.
    QueueDone(u64),
    /// The end of a server.
    ServerEnd(u64),
    /// What a thread is at.
    Thread,
    /// The signal with this number.
    Signal(u64),
    /// The end of the child process with this number.
    Process(u64),
    /// So many other things.
    Others(usize),
    /// Something that is none of this library's.
    Unknown,
}

impl LoopHandle {
    /// Returns what the tasks of the loop wait for at this moment.
    ///
    /// It costs nothing until it is called, so it is there in release builds too. Then it
    /// takes time that grows with the number of tasks and timers; no task is polled.
    ///
    /// # asyncio
    /// `asyncio.capture_call_graph`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{Clock, EventLoop, Runner, capture_call_graph, create_task, sleep};
    ///
    /// # fn main() -> io::Result<()> {
    /// let runner = Runner::on(EventLoop::with_clock(Clock::simulated())?);
    /// runner.run(async {
    ///     let miller = create_task(sleep(Duration::from_secs(10)));
    ///     miller.set_name("miller");
    ///     create_task(miller).set_name("baker");
    ///     sleep(Duration::from_secs(2)).await;
    ///     assert_eq!(
    ///         capture_call_graph().to_string(),
    ///         "\
    /// ├── (T) Task-1, running
    /// └── (T) baker, waiting for 2.000 s
    ///     └── (T) miller, waiting for 2.000 s
    ///         └── until 10.000 s, in 8.000 s
    /// "
    ///     );
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn capture_call_graph(&self) -> CallGraph {
        let time = self.time();
        let inspected = self.core().executor.inspect();
        let mut capture = Capture::new(self, &inspected);
        let tasks = inspected.iter().map(|task| capture.node(task, time));
        let mut tasks: Vec<TaskNode> = tasks.collect();
        add_awaited(&mut tasks);
        CallGraph { time, tasks }
    }

    /// Has the call graph logged as one warning, or, where no logger is installed, put out
    /// to standard error.
    ///
    /// # asyncio
    /// `asyncio.print_call_graph`.
    pub fn print_call_graph(&self) {
        let graph = self.capture_call_graph();
        if log::max_level() == log::LevelFilter::Off {
            eprint!("{graph}");
        } else {
            log::warn!("{graph}");
        }
    }

    /// Has the call graph printed whenever the process receives `signal`, as
    /// [`print_call_graph`](LoopHandle::print_call_graph) does. Available with the feature
    /// `signals`.
    ///
    /// It is a handler of the signal: it replaces one, and is removed as one. A loop that
    /// is stuck in a step prints nothing until the step is over.
    ///
    /// # Errors
    /// As [`add_signal_handler`](LoopHandle::add_signal_handler).
    ///
    /// # asyncio
    /// No counterpart: `python -m asyncio pstree` looks in from outside.
    #[cfg(feature = "signals")]
    pub fn print_call_graph_on_signal(
        &self,
        signal: impl Into<super::signals::Signal>,
    ) -> std::io::Result<()> {
        let handle = self.clone();
        self.add_signal_handler(signal, move || handle.print_call_graph())
    }
}

/// Returns what the tasks of the running loop wait for, as
/// [`LoopHandle::capture_call_graph`] does.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.capture_call_graph`.
#[must_use]
#[track_caller]
pub fn capture_call_graph() -> CallGraph {
    running_loop().capture_call_graph()
}

impl CallGraph {
    /// Returns the tasks as a tree, one line each: below a task stands what it waits for,
    /// be it another task.
    ///
    /// Tasks that wait for each other in a circle are in lines of their own, at the end:
    /// they will never end.
    ///
    /// # asyncio
    /// `python -m asyncio pstree`.
    #[must_use]
    pub fn pstree(&self) -> String {
        Tree::of(self).draw()
    }

    /// Returns the tasks as a table, one line each.
    ///
    /// # asyncio
    /// `python -m asyncio ps`.
    #[must_use]
    pub fn ps(&self) -> String {
        let mut table = String::from("task  state    for        name, what it waits for\n");
        for task in &self.tasks {
            let waits_for: Vec<String> = task.waits_for.iter().map(|w| self.words(w)).collect();
            let TaskNode { number, name, .. } = task;
            let (state, lasts) = (task.state.word(), seconds(task.lasts));
            let _ = write!(table, "{number:<5} {state:<8} {lasts:<10} {name}");
            if !waits_for.is_empty() {
                let _ = write!(table, ": {}", waits_for.join("; "));
            }
            table.push('\n');
        }
        table
    }

    /// Returns circles of tasks that wait for each other, be it through a lock: their
    /// numbers, each followed by that of the task it waits for.
    ///
    /// None of them ends unless something else that it waits for comes, a time limit say.
    /// If there is a circle, there is at least one in the answer.
    #[must_use]
    pub fn cycles(&self) -> Vec<Vec<u64>> {
        let mut cycles = Vec::new();
        let mut seen = Seen::none_of(self);
        for task in &self.tasks {
            self.walk_from(task.number, &mut seen, &mut cycles);
        }
        cycles
    }

    /// Goes from a task to those that it waits for, in depth, and where none was before;
    /// where the path comes back to itself, it has closed a circle.
    fn walk_from(&self, number: u64, seen: &mut Seen<'_>, cycles: &mut Vec<Vec<u64>>) {
        if !seen.is_new(number) {
            return;
        }
        // Not by recursion: a chain of tasks may be as long as there is memory.
        let mut path = vec![(number, self.waited_for(number))];
        while let Some((_, waited_for)) = path.last_mut() {
            let Some(next) = waited_for.pop() else {
                path.pop();
                continue;
            };
            if seen.is_new(next) {
                path.push((next, self.waited_for(next)));
            } else if let Some(begins) = path.iter().position(|(number, _)| *number == next) {
                let mut cycle: Vec<u64> = path[begins..].iter().map(|(n, _)| *n).collect();
                let first = (0..cycle.len()).min_by_key(|at| cycle[*at]);
                cycle.rotate_left(first.unwrap_or(0));
                cycles.push(cycle);
            }
        }
    }

    /// The tasks that a task waits for.
    fn waited_for(&self, number: u64) -> Vec<u64> {
        let task = self.task(number);
        let waits_for = task.into_iter().flat_map(|task| &task.waits_for);
        waits_for
            .filter_map(|waits_for| match waits_for {
                WaitsFor::Task(number) => Some(*number),
                WaitsFor::Lock { held_by, .. } => *held_by,
                _ => None,
            })
            .collect()
    }

    fn task(&self, number: u64) -> Option<&TaskNode> {
        self.place(number).map(|place| &self.tasks[place])
    }

    fn place(&self, number: u64) -> Option<usize> {
        let place = self.tasks.binary_search_by_key(&number, |task| task.number);
        place.ok()
    }

    fn name(&self, number: u64) -> String {
        match self.task(number) {
            Some(task) => task.name.clone(),
            None => format!("task {number}"),
        }
    }

    fn words(&self, waits_for: &WaitsFor) -> String {
        match waits_for {
            WaitsFor::Task(number) => self.name(*number),
            WaitsFor::Time(at) => {
                let more = at.saturating_sub(self.time);
                format!("until {}, in {}", seconds(*at), seconds(more))
            }
            WaitsFor::Lock {
                number,
                held_by: Some(holder),
            } => format!("lock {number}, held by {}", self.name(*holder)),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for CallGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pstree())
    }
}

impl TaskState {
    fn word(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Ready => "ready",
            TaskState::Waiting => "waiting",
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitsFor::Task(number) => write!(f, "task {number}"),
            WaitsFor::Time(at) => write!(f, "until {}", seconds(*at)),
            WaitsFor::Bytes {
                connection,
                buffered,
            } => write!(f, "bytes of {connection}, {buffered} buffered"),
            WaitsFor::Room(connection) => write!(f, "room to write to {connection}"),
            WaitsFor::Flush(connection) => {
                write!(f, "all to leave that was written to {connection}")
            }
            WaitsFor::ConnectionEnd(connection) => write!(f, "the end of {connection}"),
            WaitsFor::Connect(connection) => write!(f, "a connection to be made: {connection}"),
            WaitsFor::Descriptor(number) => write!(f, "descriptor {number}"),
            WaitsFor::Future(number) => write!(f, "future {number}"),
            WaitsFor::Lock { number, .. } => write!(f, "lock {number}"),
            WaitsFor::Event(number) => write!(f, "event {number}"),
            WaitsFor::Semaphore(number) => write!(f, "semaphore {number}"),
            WaitsFor::Condition(number) => write!(f, "condition {number}"),
            WaitsFor::Barrier(number) => write!(f, "barrier {number}"),
            WaitsFor::QueueItem(number) => write!(f, "an item of a queue ({number})"),
            WaitsFor::QueueRoom(number) => write!(f, "room in a queue ({number})"),
            WaitsFor::QueueDone(number) => write!(f, "all items of a queue to be done ({number})"),
            WaitsFor::ServerEnd(number) => write!(f, "the end of server {number}"),
            WaitsFor::Thread => f.write_str("a thread"),
            WaitsFor::Process(pid) => write!(f, "the end of process {pid}"),
            WaitsFor::Signal(number) => write!(f, "signal {number}"),
            WaitsFor::Others(number) => write!(f, "{number} more"),
            WaitsFor::Unknown => f.write_str("something unknown"),
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", Seconds(duration))
}

// ── looking up ──────────────────────────────────────────────────────────────────

/// Which tasks of a graph were met.
struct Seen<'a> {
    graph: &'a CallGraph,
    /// For each place in the list of tasks.
    at: Vec<bool>,
}

impl Seen<'_> {
    fn none_of(graph: &CallGraph) -> Seen<'_> {
        Seen {
            graph,
            at: vec![false; graph.tasks.len()],
        }
    }

    /// Marks a task, and says whether it was not. One that has left the graph is never new.
    fn is_new(&mut self, number: u64) -> bool {
        let place = self.graph.place(number);
        place.is_some_and(|place| !std::mem::replace(&mut self.at[place], true))
    }

    fn has(&self, number: u64) -> bool {
        self.graph.place(number).is_some_and(|place| self.at[place])
    }
}

/// Numbers that are found by another number.
///
/// Pairs of them, sorted: whatever is looked up here comes down to that, so that this is
/// compiled once, and not a map for each kind of key and value.
struct Index(Vec<(u64, u64)>);

impl Index {
    fn of(pairs: impl Iterator<Item = (u64, u64)>) -> Index {
        let mut pairs: Vec<(u64, u64)> = pairs.collect();
        pairs.sort_unstable();
        Index(pairs)
    }

    /// Returns what is found by `key`, in ascending order.
    fn at(&self, key: u64) -> impl Iterator<Item = u64> {
        let begins = self.0.partition_point(|pair| pair.0 < key);
        let found = self.0[begins..]
            .iter()
            .take_while(move |pair| pair.0 == key);
        found.map(|pair| pair.1)
    }
}

/// The tasks that each task awaits.
fn awaited_by_each(tasks: &[TaskNode]) -> Index {
    let awaited = tasks
        .iter()
        .filter_map(|task| Some((task.awaited_by?, task.number)));
    Index::of(awaited)
}

// ── capturing ───────────────────────────────────────────────────────────────────

/// What is needed to say what the notes mean.
struct Capture<'a> {
    handle: &'a LoopHandle,
    /// The number of the task at each address.
    numbers: Index,
    /// Until when whoever is at an address sleeps, sorted.
    times: Vec<(TaskAddress, Duration)>,
    /// Things without a name, in the order in which they were met.
    met: Vec<(What, u64)>,
}

impl Capture<'_> {
    fn new<'a>(handle: &'a LoopHandle, inspected: &[Inspected]) -> Capture<'a> {
        let numbers =
            (inspected.iter()).map(|task| (task.task.address().0 as u64, task.task.number()));
        let mut times = handle.core().timers.sleepers();
        times.sort_unstable();
        Capture {
            handle,
            numbers: Index::of(numbers),
            times,
            met: Vec::new(),
        }
    }

    fn node(&mut self, inspected: &Inspected, now: Duration) -> TaskNode {
        let awaited_by = inspected.task.awaited_by();
        let state = match inspected.stands {
            Stands::Runs => TaskState::Running,
            Stands::Queued => TaskState::Ready,
            Stands::Waits => TaskState::Waiting,
        };
        TaskNode {
            number: inspected.task.number(),
            name: inspected.task.get_name(),
            state,
            lasts: now.saturating_sub(inspected.since),
            waits_for: match state {
                TaskState::Waiting => self.waits_for(inspected),
                TaskState::Running | TaskState::Ready => Vec::new(),
            },
            awaited_by: awaited_by.and_then(|address| self.number_at(address)),
        }
    }

    fn waits_for(&mut self, inspected: &Inspected) -> Vec<WaitsFor> {
        let mut waits_for = Vec::new();
        let noted = inspected.noted;
        waits_for.extend(self.meaning(noted.first));
        if noted.others > 0 {
            waits_for.push(WaitsFor::Others(noted.others.into()));
        }
        waits_for.extend(self.times_at(inspected.task.address()));
        waits_for
    }

    fn number_at(&self, address: TaskAddress) -> Option<u64> {
        self.numbers.at(address.0 as u64).next()
    }

    fn times_at(&self, address: TaskAddress) -> impl Iterator<Item = WaitsFor> {
        let begins = self.times.partition_point(|(at, _)| *at < address);
        let times = self.times[begins..]
            .iter()
            .take_while(move |(at, _)| *at == address);
        times.map(|(_, when)| WaitsFor::Time(*when))
    }

    fn meaning(&mut self, noted: WaitsOn) -> Option<WaitsFor> {
        let which = noted.which;
        Some(match noted.what {
            What::Nothing => return None,
            What::Bytes => WaitsFor::Bytes {
                connection: self.connection(which),
                buffered: noted.bytes as usize,
            },
            What::Room => WaitsFor::Room(self.connection(which)),
            What::Flush => WaitsFor::Flush(self.connection(which)),
            What::ConnectionEnd => WaitsFor::ConnectionEnd(self.connection(which)),
            What::Connect => WaitsFor::Connect(self.connection(which)),
            What::Descriptor => WaitsFor::Descriptor(which),
            What::Promise => WaitsFor::Future(self.meet(noted)),
            What::Thread => WaitsFor::Thread,
            #[cfg(feature = "subprocess")]
            What::Process => WaitsFor::Process(which),
            #[cfg(feature = "signals")]
            What::Signal => WaitsFor::Signal(which),
            What::ServerEnd => WaitsFor::ServerEnd(self.meet(noted)),
            What::Lock => WaitsFor::Lock {
                number: self.meet(noted),
                held_by: holder(noted).and_then(|address| self.number_at(address)),
            },
            What::Event => WaitsFor::Event(self.meet(noted)),
            What::Semaphore => WaitsFor::Semaphore(self.meet(noted)),
            What::Condition => WaitsFor::Condition(self.meet(noted)),
            What::Barrier => WaitsFor::Barrier(self.meet(noted)),
            What::Item => WaitsFor::QueueItem(self.meet(noted)),
            What::Place => WaitsFor::QueueRoom(self.meet(noted)),
            What::ItemsDone => WaitsFor::QueueDone(self.meet(noted)),
        })
    }

    fn connection(&self, source: u64) -> String {
        let description = (self.handle.core().reactor).describe(SourceId::from_bits(source));
        description.unwrap_or_else(|| "a stream without a connection".to_owned())
    }

    /// Numbers a thing, from 1 for each kind.
    fn meet(&mut self, noted: WaitsOn) -> u64 {
        let thing = (noted.what, noted.which);
        let mut of_its_kind = self.met.iter().filter(|(what, _)| *what == noted.what);
        let met_before = of_its_kind.clone().count();
        let place = of_its_kind.position(|met| *met == thing);
        if place.is_none() {
            self.met.push(thing);
        }
        place.unwrap_or(met_before) as u64 + 1
    }
}

/// Adds to each task those that it awaits, and says of those that wait for nothing known
/// that they do.
fn add_awaited(tasks: &mut [TaskNode]) {
    let awaited = awaited_by_each(tasks);
    for task in tasks {
        if task.state != TaskState::Waiting {
            continue;
        }
        let awaited = awaited.at(task.number).map(WaitsFor::Task);
        task.waits_for.splice(0..0, awaited);
        if task.waits_for.is_empty() {
            task.waits_for.push(WaitsFor::Unknown);
        }
    }
}

// ── drawing ─────────────────────────────────────────────────────────────────────

/// How deep a tree is drawn.
///
/// 64: a line is 256 bytes wide there already, and a longer chain of tasks is no better
/// understood.
const DEEPEST: usize = 64;

/// A tree that is being drawn.
struct Tree<'a> {
    graph: &'a CallGraph,
    children: Index,
    drawn: Seen<'a>,
    text: String,
}

/// One line that is still to be drawn.
struct Line<'a> {
    prefix: String,
    is_last: bool,
    is_what: Branch<'a>,
}

enum Branch<'a> {
    Task(&'a TaskNode),
    Words(String),
}

impl<'a> Tree<'a> {
    fn of(graph: &'a CallGraph) -> Tree<'a> {
        Tree {
            graph,
            children: awaited_by_each(&graph.tasks),
            drawn: Seen::none_of(graph),
            text: String::new(),
        }
    }

    fn draw(mut self) -> String {
        let cycles = self.graph.cycles();
        // Each task hangs from one that nobody awaits, or from one of a circle.
        let mut begins_cycle = Seen::none_of(self.graph);
        for first in cycles.iter().filter_map(|cycle| cycle.first()) {
            begins_cycle.is_new(*first);
        }
        let roots = (self.graph.tasks.iter())
            .filter(|task| task.awaited_by.is_none() || begins_cycle.has(task.number));
        let roots = roots.map(Branch::Task).collect();
        let mut lines = Vec::new();
        push_all(&mut lines, "", roots);
        while let Some(line) = lines.pop() {
            self.draw_line(line, &mut lines);
        }
        for cycle in cycles {
            let around = cycle.iter().chain(cycle.first());
            let names: Vec<String> = around.map(|number| self.graph.name(*number)).collect();
            let _ = writeln!(self.text, "cycle: {}", names.join(" → "));
        }
        self.text
    }

    fn draw_line(&mut self, line: Line<'a>, lines: &mut Vec<Line<'a>>) {
        let (corner, below) = match line.is_last {
            true => ("└── ", "    "),
            false => ("├── ", "│   "),
        };
        self.text.push_str(&line.prefix);
        self.text.push_str(corner);
        let task = match line.is_what {
            Branch::Words(words) => {
                self.text.push_str(&words);
                self.text.push('\n');
                return;
            }
            Branch::Task(task) => task,
        };
        let _ = write!(self.text, "(T) {}, {}", task.name, task.state.word());
        if task.state != TaskState::Running {
            let _ = write!(self.text, " for {}", seconds(task.lasts));
        }
        let is_new = self.drawn.is_new(task.number);
        self.text
            .push_str(if is_new { "\n" } else { ", see above\n" });
        if is_new {
            let prefix = format!("{}{below}", line.prefix);
            push_all(lines, &prefix, self.below(task, &prefix));
        }
    }

    /// What is drawn below a task: first the tasks that it awaits.
    fn below(&self, task: &'a TaskNode, prefix: &str) -> Vec<Branch<'a>> {
        let mut below: Vec<Branch<'a>> = Vec::new();
        let children = self.children.at(task.number);
        let mut children = children.filter_map(|child| self.graph.task(child));
        if prefix.chars().count() / 4 < DEEPEST {
            below.extend(children.map(Branch::Task));
        } else if children.next().is_some() {
            below.push(Branch::Words("…".to_owned()));
        }
        let others = (task.waits_for.iter()).filter(|w| !matches!(w, WaitsFor::Task(_)));
        below.extend(others.map(|waits_for| Branch::Words(self.graph.words(waits_for))));
        below
    }
}

/// Puts lines on top of the stack of those that are to be drawn, the first on top.
fn push_all<'a>(lines: &mut Vec<Line<'a>>, prefix: &str, branches: Vec<Branch<'a>>) {
    for (nth, is_what) in branches.into_iter().rev().enumerate() {
        lines.push(Line {
            prefix: prefix.to_owned(),
            is_last: nth == 0,
            is_what,
        });
    }
}
