#![doc = include_str!("../README.md")]
// The layers below the optional parts have what those ask for, whether they are there or not.
#![cfg_attr(
    not(all(
        feature = "call-graph",
        feature = "datagram",
        feature = "descriptors",
        feature = "sync",
        feature = "threads"
    )),
    allow(dead_code)
)]

#[cfg(not(unix))]
compile_error!(
    "millstream runs on Linux, Android, macOS, FreeBSD, NetBSD, OpenBSD and DragonFly BSD: \
     it needs epoll, kqueue or poll(2), and Unix-domain sockets"
);

// In reading order, from the ground up. A module imports from those above it in this
// list that are of a lower layer, and from nothing else: tests/layers.rs has the table.

// Layer 0: the ground.
mod clock; //       what time it is, really or virtually
mod error; //       what can go wrong, as values
mod explained; //   errors of the system, and what was attempted
mod address; //     where an end of a connection is
mod buffer; //      bytes that came or go

mod reactor; //     what the operating system says is ready
// Layer 2
mod executor; //    the ready queue, the task table, wakers
mod step; //        what a task may ask and say while it is polled
mod waits; //       what a task waits for, noted as it begins to
mod sleeper; //     who is to be woken
mod waiters; //     who sleeps on what
// Layer 3
mod event_loop; //  one turn after another; timers, handles, threads, run
// Layer 4a
mod task; //        spawn, yield, futures, several at once
mod time; //        sleep, timeout
#[cfg(feature = "sync")]
mod sync; //        events, locks, queues
#[cfg(feature = "descriptors")]
mod sock; //        sockets of your own, without a transport
// Layer 4b
mod contract; //    the traits Transport and Protocol
// Layer 5
mod transports; //  sockets that call protocols
// Layer 6
#[cfg(feature = "tls")]
mod tls; //         a protocol below, a transport above
// Layer 7
mod streams; //     callbacks become coroutines
// Layer 8
mod net; //         connecting and serving
#[cfg(feature = "subprocess")]
mod subprocess; //  child processes
// Layer 9
#[cfg(feature = "testing")]
pub mod testing; // what tests of transports and protocols need

pub use clock::Clock;
pub use contract::{
    Address, AfterEof, BufferedProtocol, EofKind, ExtraInfoKey, ExtraInfoRequest, PeerName, Pipe,
    PipeInfo, Protocol, ReadInto, SockName, Socket, SocketInfo, Transport, WriteLimitsError,
    WritePolicy,
};
#[cfg(feature = "unix-credentials")]
pub use contract::{Credentials, PeerCredentials};
#[cfg(feature = "datagram")]
pub use contract::{DatagramProtocol, DatagramTransport};
pub use error::{
    Cancelled, ConnError, CopyError, ExceptionContext, IncompleteReadError, Interrupted, JoinError,
    LimitOverrunError, LoopError, PanicPayload, ReadError, TimedOut,
};
#[cfg(feature = "threads")]
pub use event_loop::to_thread;
pub use event_loop::{
    AddrInfoFlags, Census, EventLoop, Family, GetAddrInfo, GetNameInfo, HostQuery, LoopHandle,
    NameInfoFlags, RemoteHandle, Resolver, Resolving, Runner, Statistics, TimerHandle,
    get_running_loop, new_event_loop, run,
};
#[cfg(feature = "call-graph")]
pub use event_loop::{CallGraph, TaskNode, TaskState, WaitsFor, capture_call_graph};
#[cfg(feature = "signals")]
pub use event_loop::{Signal, SignalStream, signal};
pub use executor::{Handle, Task, TaskRef};
#[cfg(feature = "datagram")]
pub use net::DatagramEndpoint;
pub use net::{
    AsProtocol, AsStreams, Connect, ConnectErrors, Destination, HandlerOutcome, Host, OnHost,
    OnPath, OnSock, Place, PlainReturn, Serve, Server, Shutdown, SocketOptions, Stopped, ToHost,
    ToPath, ToSock, WithFactory, WithHandler, open_connection, open_connection_sock,
    open_unix_connection, open_unix_connection_sock, plain, start_server, start_server_sock,
    start_unix_server, start_unix_server_sock,
};
#[cfg(feature = "descriptors")]
pub use net::{OpenReader, open_read_pipe, open_stderr, open_stdin, open_stdout, open_write_pipe};
#[cfg(feature = "descriptors")]
pub use sock::SockTarget;
pub use streams::{
    ErrorPolicy, FlowControlMixin, OverlongPolicy, Separators, StreamFeed, StreamReader,
    StreamReaderProtocol, StreamWriter, copy, copy_bidirectional, memory_stream_pair,
};
#[cfg(feature = "subprocess")]
pub use subprocess::{
    CreateSubprocess, Process, create_subprocess, create_subprocess_exec, create_subprocess_shell,
};
#[cfg(feature = "sync")]
pub use sync::{
    Barrier, BoundedSemaphore, BrokenBarrierError, Condition, ConditionGuard, Event, Fifo, Lifo,
    LifoQueue, Lock, LockGuard, OverReleaseError, Priority, PriorityQueue, Queue, QueueGetError,
    QueueOrder, QueuePutError, QueueShutDown, Semaphore, SemaphorePermit, TaskDoneError,
};
pub use task::{
    ALL_COMPLETED, AllCompleted, AsCompleted, FIRST_COMPLETED, FIRST_EXCEPTION, FallibleTasks,
    FirstCompleted, FirstException, Future, Gather, GatherAll, Gatherable, GatheredTasks,
    GroupTask, Promise, RemoteTask, ReturnWhen, Shield, TaskFailure, TaskGroup, TaskGroupClosed,
    TaskGroupError, Wait, all_tasks, as_completed, create_future, create_task, current_task,
    gather, shield, spawn_eager, wait, yield_now,
};
pub use time::{Sleep, Timeout, sleep, timeout, timeout_at, wait_for};
pub use transports::memory_transport_pair;

#[cfg(feature = "tls")]
pub use net::{ClientTls, HandshakeFailure};
#[cfg(feature = "tls")]
pub use rustls;
#[cfg(feature = "tls")]
pub use streams::{Buffered, StreamStartTls};
#[cfg(feature = "tls")]
pub use tls::{
    AlpnProtocol, Cipher, CipherInfo, PeerCertificates, PlaintextBuffered, ServerName,
    ShutdownMode, StartTls, TlsClientBuilder, TlsClientContext, TlsContext, TlsError,
    TlsServerBuilder, TlsServerContext, TlsVersion,
};

/// The book, whose code is compiled and run with the tests.
#[cfg(doctest)]
mod book {
    #[cfg(feature = "threads")]
    #[doc = include_str!("../docs/01-map.md")]
    struct Map;
    #[doc = include_str!("../docs/02-rules.md")]
    struct Rules;
    #[doc = include_str!("../docs/03-from-asyncio.md")]
    struct FromAsyncio;
    #[doc = include_str!("../docs/04-cases.md")]
    struct Cases;
    #[cfg(all(feature = "unix-credentials", feature = "subprocess"))] // recipes ask for them
    #[doc = include_str!("../docs/05-recipes.md")]
    struct Recipes;
    #[cfg(feature = "threads")]
    #[doc = include_str!("../docs/06-serving.md")]
    struct Serving;
    #[cfg(all(feature = "call-graph", feature = "sync"))]
    #[doc = include_str!("../docs/07-looking-inside.md")]
    struct LookingInside;
    #[cfg(feature = "tls")]
    #[doc = include_str!("../docs/08-tls.md")]
    struct Tls;
}
