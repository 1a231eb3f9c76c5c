//! Name resolution: what needs no resolver, the system's, and one of the program's own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use millstream::{
    AddrInfoFlags, Clock, EventLoop, Family, HostQuery, LoopError, NameInfoFlags, Resolver,
    Resolving, create_task, get_running_loop, run, sleep, start_server, timeout, yield_now,
};

use loop_support::OnDrop;
use net_support::error_of;

mod loop_support;
mod net_support;

/// Answers from a table, and remembers what it was asked.
#[derive(Clone, Default)]
struct Table {
    asked: Rc<RefCell<Vec<HostQuery>>>,
    addresses: Vec<SocketAddr>,
}

impl Resolver for Table {
    fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a> {
        Box::pin(async move {
            yield_now().await; // it may use the loop
            self.asked.borrow_mut().push(query.clone());
            Ok(self.addresses.clone())
        })
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    let parsed = texts.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, _>>()
        .expect("tests spell their addresses right")
}

// ── what needs no resolver ──────────────────────────────────────────────────────

#[test]
fn literal_addresses_need_no_thread_and_names_do() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        handle.shutdown_default_executor(None).await;
        let v4 = handle.getaddrinfo("127.0.0.1", 80).await?;
        assert_eq!(v4, addresses(&["127.0.0.1:80"]));
        let v6 = handle.getaddrinfo("::1", 80).await?;
        assert_eq!(v6, addresses(&["[::1]:80"]));

        let refused = error_of(handle.getaddrinfo("localhost", 80).await);
        assert_eq!(refused.to_string(), "Executor shutdown has been called");
        let why = refused.get_ref().and_then(|e| e.downcast_ref());
        assert_eq!(why, Some(&LoopError::ExecutorShutDown));
        io::Result::Ok(())
    })
}

#[test]
fn no_host_is_the_loopback_or_with_passive_all_interfaces() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let loopback = handle.getaddrinfo(None, 80).await?;
        assert_eq!(loopback, addresses(&["[::1]:80", "127.0.0.1:80"]));
        let all = handle.getaddrinfo(None, 80).flags(AddrInfoFlags::PASSIVE);
        assert_eq!(all.await?, addresses(&["0.0.0.0:80", "[::]:80"]));
        let v4 = handle.getaddrinfo(None, 80).family(Family::V4);
        assert_eq!(v4.await?, addresses(&["127.0.0.1:80"]));
        io::Result::Ok(())
    })
}

// ── the system's ────────────────────────────────────────────────────────────────

#[test]
fn a_zone_becomes_a_scope_id() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let index = std::fs::read_to_string("/sys/class/net/lo/ifindex")?;
        let index: u32 = index.trim().parse().map_err(io::Error::other)?;
        for flags in [AddrInfoFlags::NONE, AddrInfoFlags::NUMERICHOST] {
            let found = handle.getaddrinfo("fe80::1%lo", 80).flags(flags).await?;
            let [SocketAddr::V6(address)] = found[..] else {
                panic!("one IPv6 address was expected, got {found:?}");
            };
            assert_eq!(address.scope_id(), index);
            assert_eq!(address.port(), 80);
            assert_eq!(address.ip().to_string(), "fe80::1");
        }
        io::Result::Ok(())
    })
}

#[test]
fn a_family_narrows_what_a_name_leads_to() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let v4 = handle.getaddrinfo("localhost", 80).family(Family::V4);
        assert_eq!(v4.await?, addresses(&["127.0.0.1:80"]));
        let other = handle.getaddrinfo("127.0.0.1", 80).family(Family::V6);
        let error = error_of(other.await).to_string();
        assert_eq!(
            error,
            "failed to lookup address information: Address family for hostname not supported"
        );
        io::Result::Ok(())
    })
}

#[test]
fn numerichost_takes_no_names() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let name = handle
            .getaddrinfo("localhost", 80)
            .flags(AddrInfoFlags::NUMERICHOST);
        let error = error_of(name.await).to_string();
        assert_eq!(
            error,
            "failed to lookup address information: Name or service not known"
        );
        io::Result::Ok(())
    })
}

#[test]
fn numbers_of_an_address_need_no_resolver() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        handle.shutdown_default_executor(None).await;
        let numbers = NameInfoFlags::NUMERICHOST | NameInfoFlags::NUMERICSERV;
        for (address, host) in [("127.0.0.1:22", "127.0.0.1"), ("[::1]:22", "::1")] {
            let address = address.parse().map_err(io::Error::other)?;
            let names = handle.getnameinfo(address).flags(numbers).await?;
            assert_eq!(names, (host.to_owned(), "22".to_owned()));
        }
        io::Result::Ok(())
    })
}

#[cfg(not(feature = "resolver"))]
#[test]
fn what_the_standard_library_lacks_is_an_error_that_names_the_feature() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let flags = AddrInfoFlags::ADDRCONFIG | AddrInfoFlags::ALL;
        let flags = handle.getaddrinfo("localhost", 80).flags(flags).await;
        let address = SocketAddr::from(([127, 0, 0, 1], 22));
        let names = handle.getnameinfo(address).await;
        for (error, what) in [
            (error_of(flags), "flags ADDRCONFIG | ALL: "),
            (error_of(names), "getnameinfo for names: "),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(text.starts_with(what), "{text}");
            assert!(text.contains("the feature `resolver`"), "{text}");
        }
        io::Result::Ok(())
    })
}

#[cfg(feature = "resolver")]
#[test]
fn flags_reach_the_systems_resolver() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let mapped = handle
            .getaddrinfo("127.0.0.1", 80)
            .family(Family::V6)
            .flags(AddrInfoFlags::V4MAPPED | AddrInfoFlags::NUMERICHOST);
        assert_eq!(mapped.await?, addresses(&["[::ffff:127.0.0.1]:80"]));
        let configured = handle
            .getaddrinfo("localhost", 80)
            .family(Family::V4)
            .flags(AddrInfoFlags::ADDRCONFIG);
        // Whether the loopback counts, systems disagree.
        let answer = configured.await;
        assert!(
            answer.as_ref().is_ok_and(|found| found.len() == 1) || answer.is_err(),
            "{answer:?}"
        );
        io::Result::Ok(())
    })
}

#[cfg(feature = "resolver")]
#[test]
fn an_address_has_names() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let address = SocketAddr::from(([127, 0, 0, 1], 22));
        let (host, service) = handle
            .getnameinfo(address)
            .flags(NameInfoFlags::NUMERICSERV | NameInfoFlags::NAMEREQD)
            .await?;
        assert!(host.starts_with("localhost"), "{host}");
        assert_eq!(service, "22");

        let zone = std::net::SocketAddrV6::new("fe80::1".parse().expect("is one"), 22, 0, 1);
        let numbers = NameInfoFlags::NUMERICHOST | NameInfoFlags::NUMERICSERV;
        let (host, _) = handle.getnameinfo(zone.into()).flags(numbers).await?;
        assert_eq!(host, "fe80::1%lo");
        io::Result::Ok(())
    })
}

// ── one of the program's own ────────────────────────────────────────────────────

#[test]
fn a_resolver_of_ones_own_gets_the_whole_question_and_its_order_is_kept() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let answer = addresses(&["10.0.0.9:1", "[::2]:2", "10.0.0.1:3", "10.0.0.9:1"]);
        let table = Table {
            addresses: answer.clone(),
            ..Table::default()
        };
        handle.set_resolver(table.clone());
        let found = handle
            .getaddrinfo("mill.example", 80)
            .family(Family::V4)
            .proto(262)
            .flags(AddrInfoFlags::ALL | AddrInfoFlags::PASSIVE)
            .await?;
        assert_eq!(found, answer);
        let asked = table.asked.take();
        let [query] = &asked[..] else {
            panic!("asked once, not {asked:?}");
        };
        assert_eq!(
            (query.host.as_str(), query.port, query.family, query.proto),
            ("mill.example", 80, Family::V4, 262)
        );
        assert_eq!(
            query.flags,
            AddrInfoFlags::PASSIVE | AddrInfoFlags::ALL,
            "{query:?}"
        );

        handle.getaddrinfo("10.0.0.1", 80).await?;
        handle.getaddrinfo(None, 80).await?;
        assert_eq!(table.asked.take(), [], "they need no resolver");

        handle.clear_resolver();
        handle.getaddrinfo("localhost", 80).await?;
        assert_eq!(table.asked.take(), []);
        io::Result::Ok(())
    })
}

#[test]
fn r_3_a_resolver_may_ask_for_the_loop_when_it_is_dropped() -> io::Result<()> {
    /// Calls when it is dropped, and knows no address.
    struct CallsOnDrop(#[allow(dead_code)] OnDrop);

    impl Resolver for CallsOnDrop {
        fn getaddrinfo<'a>(&'a self, _query: &'a HostQuery) -> Resolving<'a> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    let event_loop = EventLoop::new()?;
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let calls = |name: &'static str| {
        let (handle, dropped) = (event_loop.handle(), dropped.clone());
        CallsOnDrop(OnDrop::new(move || {
            dropped.borrow_mut().push(name);
            handle.clear_resolver();
        }))
    };
    event_loop.set_resolver(calls("replaced"));
    event_loop.set_resolver(calls("cleared"));
    // The drop of the first took the second away.
    assert_eq!(dropped.take(), ["replaced", "cleared"]);
    event_loop.set_resolver(calls("closed"));
    event_loop.close()?;
    assert_eq!(dropped.take(), ["closed"]);
    Ok(())
}

#[test]
fn a_resolver_that_is_replaced_answers_what_it_was_asked() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let answer = addresses(&["10.0.0.1:80"]);
        handle.set_resolver(Table {
            addresses: answer.clone(),
            ..Table::default()
        });
        let asks = handle.clone();
        let asking = create_task(async move { asks.getaddrinfo("mill.example", 80).await });
        yield_now().await;
        handle.clear_resolver();
        assert_eq!(asking.await??, answer);
        io::Result::Ok(())
    })
}

/// Takes a second of simulated time for each name, and counts those who wait.
struct Slow {
    waiting: Rc<Cell<usize>>,
}

impl Resolver for Slow {
    fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a> {
        self.waiting.set(self.waiting.get() + 1);
        let waiting = self.waiting.clone();
        let done = OnDrop::new(move || waiting.set(waiting.get() - 1));
        Box::pin(async move {
            let _done = done;
            sleep(Duration::from_secs(1)).await;
            match query.host.as_str() {
                "broken" => Err(io::Error::other("the mill is broken")),
                "nowhere" => Ok(Vec::new()),
                _ => Ok(addresses(&["127.0.0.1:0"])),
            }
        })
    }
}

#[test]
fn several_hosts_are_resolved_at_once_and_given_up_at_once() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let waiting = Rc::new(Cell::new(0));
    event_loop.set_resolver(Slow {
        waiting: waiting.clone(),
    });
    let left = waiting.clone();
    event_loop.run_until_complete(async move {
        let handler = async |_reader, _writer| {};
        let server = start_server(handler, ["a", "b", "c"], 0).await?;
        assert_eq!(get_running_loop()?.time(), Duration::from_secs(1));
        assert_eq!(server.sockets().len(), 1, "all of them have one address");

        for host in ["broken", "nowhere"] {
            let error = error_of(start_server(handler, ["a", host], 0).await);
            let expected = match host {
                "broken" => "cannot resolve host \"broken\": the mill is broken",
                _ => "getaddrinfo(\"nowhere\") returned empty list",
            };
            assert_eq!(error.to_string(), expected);
        }

        let starting = start_server(handler, ["a", "b", "c"], 0);
        let starting = timeout(Duration::from_millis(500), starting).await;
        assert!(starting.is_err());
        assert_eq!(left.get(), 0, "nobody waits");
        io::Result::Ok(())
    })??;
    assert_eq!(waiting.get(), 0);
    Ok(())
}

// ── the threads behind the system's ─────────────────────────────────────────────

#[test]
fn the_pool_has_four_threads_more_than_processors_and_32_at_most() -> io::Result<()> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let size = (processors + 4).min(32);
    let names = run(async move {
        let handle = get_running_loop()?;
        // So many jobs run at once, and none ends before all of them run.
        let all_run = Arc::new(Barrier::new(size));
        let jobs: Vec<_> = (0..4 * size)
            .map(|_| {
                let (handle, all_run) = (handle.clone(), all_run.clone());
                create_task(async move {
                    let work = move || {
                        all_run.wait();
                        thread::current().name().map(str::to_owned)
                    };
                    handle.run_in_executor(work).await
                })
            })
            .collect();
        let mut names = BTreeSet::new();
        for job in jobs {
            names.extend(job.await??);
        }
        io::Result::Ok(names)
    })?;
    let expected: BTreeSet<_> = (0..size).map(|n| format!("millstream-{n}")).collect();
    assert_eq!(names, expected);
    Ok(())
}
