//! A load that doesn't wait for answers: a request is due each 1/rate second.
//!
//! ```text
//!   due      |    |    |    |    |    |    |         latency: from due to answered
//!   sent     |    |    |       away    ||| |         what was late to send was due all the same
//!   counts   yes  yes  no   no   no   no   yes
//! ```
//!
//! The client spins on a processor of its own, and reads the clock in each turn of its loop.
//! So it knows when it was away: if two turns lie further apart than a system call takes,
//! the machine had its processor do something else. What was under way or due then waited
//! for the client, not for the server, and neither counts. Nor does what was due for as long again,
//! while the server works off what came at once: at half of its load it needs as long for
//! that as it took to gather.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::load::Connection;

/// Two turns of the loop that lie further apart had something between them. A system call
/// takes a few microseconds, and tens if it wakes the server.
const AWAY: Duration = Duration::from_micros(100);

/// How long answers took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Those that count, the shortest first.
    pub counted: Vec<Duration>,
    /// How many answers don't count, since the client had been away.
    pub set_aside: usize,
}

impl Latencies {
    /// The share of all answers that don't count.
    pub fn share_set_aside(&self) -> f64 {
        let all = self.counted.len() + self.set_aside;
        self.set_aside as f64 / all.max(1) as f64
    }
}

/// Sends `rate` requests a second, spread over the connections, and returns how long each
/// answer took, counted from when its request was due.
pub fn open_loop(
    connections: &mut [Connection],
    request: &[u8],
    rate: f64,
    duration: Duration,
) -> io::Result<Latencies> {
    for connection in &*connections {
        connection.set_nonblocking()?;
    }
    let mut under_way = UnderWay::none(connections.len());
    let mut absence = Absence::none();
    let mut latencies = Latencies::default();
    let mut buffer = vec![0; 64 * 1024];
    let interval = Duration::from_secs_f64(1.0 / rate);
    let began = Instant::now();
    let (mut next, mut sender) = (began, 0);
    loop {
        let now = Instant::now();
        absence.notice(now);
        let sending = now.saturating_duration_since(began) < duration;
        if !sending && under_way.count == 0 {
            latencies.counted.sort();
            return Ok(latencies);
        }
        if sending && now >= next {
            connections[sender].write_all(request)?;
            under_way.add(sender, next);
            sender = (sender + 1) % connections.len();
            next += interval;
            continue;
        }
        let Some(waiting) = under_way.next() else {
            continue;
        };
        let received = match connections[waiting].read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let answered = Instant::now();
        absence.notice(answered);
        for due in under_way.answer(waiting, received, request.len())? {
            match absence.spoils(due) {
                true => latencies.set_aside += 1,
                false => latencies
                    .counted
                    .push(answered.saturating_duration_since(due)),
            }
        }
    }
}

/// When the client was away.
struct Absence {
    last_turn: Instant,
    /// What was due before doesn't count.
    over: Instant,
}

impl Absence {
    fn none() -> Absence {
        let now = Instant::now();
        Absence {
            last_turn: now,
            over: now,
        }
    }

    fn notice(&mut self, now: Instant) {
        let apart = now.saturating_duration_since(self.last_turn);
        self.last_turn = now;
        if apart > AWAY {
            self.over = now + apart;
        }
    }

    fn spoils(&self, due: Instant) -> bool {
        due < self.over
    }
}

/// The requests that wait for answers.
struct UnderWay {
    /// For each connection, when they were due.
    due: Vec<VecDeque<Instant>>,
    /// For each connection, bytes of an answer that isn't whole.
    received: Vec<usize>,
    count: usize,
    /// The connection that is asked next.
    asked: usize,
}

impl UnderWay {
    fn none(connections: usize) -> UnderWay {
        UnderWay {
            due: vec![VecDeque::new(); connections],
            received: vec![0; connections],
            count: 0,
            asked: 0,
        }
    }

    fn add(&mut self, connection: usize, due: Instant) {
        self.due[connection].push_back(due);
        self.count += 1;
    }

    /// The next connection that waits. The one that has waited for the longest is the
    /// likeliest to be answered, and they were sent to in turn.
    fn next(&mut self) -> Option<usize> {
        let all = self.due.len();
        let waits = |&nth: &usize| !self.due[nth % all].is_empty();
        let found = (self.asked..self.asked + all).find(waits)? % all;
        self.asked = (found + 1) % all;
        Some(found)
    }

    /// Takes bytes of an answer, and returns when those were due that it makes whole.
    fn answer(&mut self, connection: usize, bytes: usize, each: usize) -> io::Result<Vec<Instant>> {
        let received = &mut self.received[connection];
        *received += bytes;
        let whole = *received / each;
        *received %= each;
        if whole > self.due[connection].len() {
            return Err(io::Error::other(
                "the server answers more than it was asked",
            ));
        }
        self.count -= whole;
        Ok(self.due[connection].drain(..whole).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_while_the_client_was_away_does_not_count() {
        let began = Instant::now();
        let at = |microseconds| began + Duration::from_micros(microseconds);
        let mut absence = Absence {
            last_turn: began,
            over: began,
        };
        absence.notice(at(90));
        assert!(!absence.spoils(at(50)));
        absence.notice(at(1_090));
        // Under way; due meanwhile; due while the server works that off; due later.
        assert!(absence.spoils(at(50)));
        assert!(absence.spoils(at(700)));
        assert!(absence.spoils(at(2_000)));
        assert!(!absence.spoils(at(2_090)));
    }

    #[test]
    fn answers_belong_to_requests_in_order() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut under_way = UnderWay::none(2);
        under_way.add(1, now);
        under_way.add(1, later);
        assert_eq!((under_way.next(), under_way.next()), (Some(1), Some(1)));
        let mut answer = |bytes| under_way.answer(1, bytes, 64).expect("they were asked for");
        assert_eq!(answer(60), []);
        assert_eq!(answer(68), [now, later]);
        assert!(under_way.answer(1, 64, 64).is_err());
        assert_eq!((under_way.count, under_way.next()), (0, None));
    }
}
