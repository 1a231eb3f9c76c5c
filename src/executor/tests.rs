//! The executor without a loop: what is queued, what a step may, and which cells are used anew.

use std::future::{pending, poll_fn};
use std::io;
use std::task::{Poll, Waker};

use crate::step::{has_budget, is_running, running, step_again};
use crate::waits::{Noted, WaitsOn, What, note};

use super::*;

type Reports = Rc<RefCell<Vec<String>>>;

/// An executor without a loop, and what it reports.
fn executor() -> io::Result<(Rc<Executor>, Reports)> {
    let reactor = Rc::new(Reactor::new()?);
    let inbox = Arc::new(Inbox::new(reactor.notifier()?));
    let reports = Reports::default();
    let kept = reports.clone();
    let report = move |context: ExceptionContext| {
        kept.borrow_mut()
            .push(context.exception.unwrap_or_default());
    };
    Ok((Executor::new(reactor, inbox, Box::new(report)), reports))
}

fn run_what_is_queued(executor: &Executor) {
    let mut run = executor.begin_run();
    executor.take_queued(&mut run);
    executor.run_queued(&mut run);
    executor.end_run(run);
}

/// A task that waits for ever, and the waker it was polled with.
fn sleeper(executor: &Rc<Executor>) -> (Task<()>, Waker) {
    let waker = Rc::new(Cell::new(None));
    let kept = waker.clone();
    let task = executor.spawn(poll_fn(move |cx| {
        kept.set(Some(cx.waker().clone()));
        Poll::Pending
    }));
    run_what_is_queued(executor);
    let waker = waker.take().expect("the task was polled");
    (task, waker)
}

type Notes = Rc<RefCell<Vec<&'static str>>>;

/// Notes that it acted, and asks for another one to act after it.
struct Acts {
    notes: Notes,
    name: &'static str,
    then: Cell<Option<Rc<Acts>>>,
    executor: Rc<Executor>,
}

impl AtStepEnd for Acts {
    fn at_step_end(self: Rc<Self>) {
        self.notes.borrow_mut().push(self.name);
        if let Some(then) = self.then.take() {
            self.executor.at_step_end(then);
        }
        assert!(self.name != "breaks", "it breaks");
    }
}

fn acts(executor: &Rc<Executor>, notes: &Notes, name: &'static str) -> Rc<Acts> {
    Rc::new(Acts {
        notes: notes.clone(),
        name,
        then: Cell::new(None),
        executor: executor.clone(),
    })
}

#[test]
fn what_acts_at_the_end_of_a_step_acts_once_in_order_and_before_the_next() -> io::Result<()> {
    let (executor, reports) = executor()?;
    let notes = Notes::default();
    let first = acts(&executor, &notes, "first");
    first
        .then
        .set(Some(acts(&executor, &notes, "added by the first")));
    let asked = [
        first,
        acts(&executor, &notes, "breaks"),
        acts(&executor, &notes, "last"),
    ];
    let (asks, in_step) = (executor.clone(), notes.clone());
    executor.push(Ready::Event(Box::new(move || {
        for acts in asked {
            asks.at_step_end(acts);
        }
        in_step.borrow_mut().push("step");
        panic!("the step breaks");
    })));
    let next_step = notes.clone();
    executor.push(Ready::Event(Box::new(move || {
        next_step.borrow_mut().push("next step");
    })));
    run_what_is_queued(&executor);
    assert_eq!(
        notes.take(),
        [
            "step",
            "first",
            "breaks",
            "last",
            "added by the first",
            "next step"
        ]
    );
    assert_eq!(reports.take(), ["the step breaks", "it breaks"]);
    assert!(!executor.is_in_step());
    Ok(())
}

#[test]
fn a_waker_of_a_task_that_ended_does_not_wake_the_next_one_in_its_place() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let _local = Local::enter(&executor);
    let (task, stale) = sleeper(&executor);
    task.cancel();
    run_what_is_queued(&executor);
    assert_eq!(executor.task_count(), 0);

    let (_next, waker) = sleeper(&executor);
    stale.wake();
    assert_eq!(executor.ready_len(), 0);
    waker.wake();
    assert_eq!(executor.ready_len(), 1);
    Ok(())
}

#[test]
fn a_waker_of_another_executor_takes_the_inbox() -> io::Result<()> {
    let ((executor, _), (other, _)) = (executor()?, executor()?);
    let (_task, waker) = sleeper(&executor);
    let local = Local::enter(&other);
    waker.wake_by_ref();
    waker.wake_by_ref();
    drop(local);
    assert_eq!((executor.ready_len(), other.ready_len()), (0, 0));
    assert_eq!(executor.inbox.collect().len(), 1, "twice says nothing more");
    Ok(())
}

/// Where the waker points that a step of a new task is lent, which nobody keeps.
fn lent(executor: &Rc<Executor>) -> usize {
    let at = Rc::new(Cell::new(0));
    let noted = at.clone();
    let task = executor.spawn(poll_fn(move |cx| {
        noted.set(cx.waker().clone().data().addr());
        Poll::<()>::Pending
    }));
    run_what_is_queued(executor);
    task.cancel();
    run_what_is_queued(executor);
    at.get()
}

#[test]
fn a_waker_serves_many_tasks_until_somebody_keeps_it() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let _local = Local::enter(&executor);
    let spare = lent(&executor);
    assert_eq!(lent(&executor), spare);
    let (held, waker) = sleeper(&executor);
    assert_eq!(waker.data().addr(), spare);
    let (_other, other) = sleeper(&executor);
    assert!(!other.will_wake(&waker), "each is its task's own now");
    assert_ne!(lent(&executor), spare);

    held.cancel();
    run_what_is_queued(&executor);
    let (_next, _waker) = sleeper(&executor);
    waker.wake();
    assert_eq!(executor.ready_len(), 0, "it names a task that ended");
    Ok(())
}

#[test]
fn a_task_whose_waker_was_kept_is_polled_with_the_same_one_again() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let _local = Local::enter(&executor);
    let kept = Rc::new(Cell::new(None::<Waker>));
    let renewed = Rc::new(Cell::new(0));
    let (keeps, counts) = (kept.clone(), renewed.clone());
    let _task = executor.spawn(poll_fn(move |cx| {
        let known = keeps.take().filter(|known| known.will_wake(cx.waker()));
        let known = known.unwrap_or_else(|| {
            counts.set(counts.get() + 1);
            cx.waker().clone()
        });
        keeps.set(Some(known));
        Poll::<()>::Pending
    }));
    for _ in 0..3 {
        run_what_is_queued(&executor);
        lent(&executor);
        let waker = kept.take().expect("it was polled");
        waker.wake_by_ref();
        kept.set(Some(waker));
    }
    assert_eq!(renewed.get(), 1);
    Ok(())
}

#[test]
fn a_step_within_a_step_is_lent_another_waker() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let _local = Local::enter(&executor);
    let spawns = executor.clone();
    let differ = executor.spawn(poll_fn(move |cx| {
        let outer = cx.waker().clone();
        let at = Rc::new(Cell::new(true));
        let noted = at.clone();
        let _eager = spawns.spawn_eager(poll_fn(move |cx| {
            noted.set(cx.waker().will_wake(&outer));
            Poll::<()>::Pending
        }));
        Poll::Ready(!at.get())
    }));
    run_what_is_queued(&executor);
    assert_eq!(differ.take_outcome().and_then(Result::ok), Some(true));
    Ok(())
}

/// A task that has ended, named by its number or as it was asked to be.
fn ended_task(executor: &Rc<Executor>, name: Option<&str>) -> Task<u32> {
    let task = executor.spawn(async { 7 });
    if let Some(name) = name {
        task.set_name(name);
    }
    run_what_is_queued(executor);
    task
}

#[test]
fn a_cell_serves_the_next_task_unless_somebody_refers_to_it() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let first = ended_task(&executor, Some("first")).task_ref().address();
    // Were the cell given back to the allocator, one of these would have its place.
    let size = size_of::<TaskCell>() + 2 * size_of::<usize>();
    let in_its_place: [_; 8] = std::array::from_fn(|_| Vec::<u8>::with_capacity(size));
    let second = ended_task(&executor, None);
    assert_eq!(second.task_ref().address(), first);
    assert_eq!((second.get_name(), second.done()), ("Task-2".into(), true));

    let third = ended_task(&executor, None);
    assert_ne!(third.task_ref().address(), first);
    let kept = [second, third].map(|task| task.take_outcome().and_then(Result::ok));
    assert_eq!(kept, [Some(7), Some(7)]);
    drop(in_its_place);
    Ok(())
}

#[test]
fn a_closed_executor_drops_what_it_is_given() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let waiting = executor.spawn(pending::<()>());
    executor.close();
    assert!(waiting.cancelled());
    let held = Rc::new(());
    let callback_holds = held.clone();
    executor.push(Ready::Event(Box::new(move || drop(callback_holds))));
    assert_eq!((executor.ready_len(), Rc::strong_count(&held)), (0, 1));
    Ok(())
}

const LOCK: WaitsOn = WaitsOn::numbered(What::Lock, 1);
const EVENT: WaitsOn = WaitsOn::numbered(What::Event, 2);

/// Two tasks that are not polled, and a waker for each.
fn two(executor: &Rc<Executor>) -> [(TaskRef, Waker); 2] {
    [(); 2].map(|()| {
        let (task, waker) = sleeper(executor);
        (task.task_ref(), waker)
    })
}

fn ended(step: Step) -> (Noted, bool) {
    let kept = crate::waits::Notes::blank();
    let again = step.end(&kept);
    (kept.get(), again)
}

fn spend_all() -> Option<usize> {
    std::iter::repeat_with(has_budget)
        .take(1000)
        .position(|has| !has)
}

#[test]
fn what_is_noted_first_is_kept_and_the_others_are_counted() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let [(task, waker), _] = two(&executor);
    note(EVENT); // no step runs
    let step = Step::begin(&waker, task, Budget::Fresh);
    note(LOCK);
    note(LOCK); // polled twice in one step
    note(EVENT);
    let (noted, _) = ended(step);
    assert_eq!((noted.first, noted.others), (LOCK, 1));
    Ok(())
}

#[test]
fn a_step_within_a_step_speaks_for_itself() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let [(task, waker), (other, other_waker)] = two(&executor);
    let outer = Step::begin(&waker, task.clone(), Budget::Fresh);
    note(LOCK);
    let inner = Step::begin(&other_waker, other.clone(), Budget::Fresh);
    note(EVENT);
    step_again(&other_waker);
    assert_eq!(running(&other_waker), Some(other));
    assert_eq!(running(&waker), None);
    let (noted, again) = ended(inner);
    assert_eq!((noted.first, again), (EVENT, true));
    assert!(is_running(&task, &waker));
    let (noted, again) = ended(outer);
    assert_eq!((noted.first, noted.others, again), (LOCK, 0, false));
    assert_eq!(running(&waker), None);
    assert_eq!(running(Waker::noop()), None);
    Ok(())
}

#[test]
fn d_4_a_budget_ends_and_the_outer_one_is_kept_meanwhile() -> io::Result<()> {
    let (executor, _reports) = executor()?;
    let [(task, waker), (other, other_waker)] = two(&executor);
    assert_eq!(spend_all(), None, "none outside of steps");
    let outer = Step::begin(&waker, task, Budget::Fresh);
    assert!(has_budget());
    let inner = Step::begin(&other_waker, other.clone(), Budget::Fresh);
    assert_eq!(spend_all(), Some(128));
    ended(inner);
    let eager = Step::begin(&other_waker, other.clone(), Budget::Inherited);
    assert!(has_budget());
    ended(eager);
    assert_eq!(spend_all(), Some(126));
    ended(outer);
    assert_eq!(spend_all(), None);
    let in_a_callback = Step::begin(&other_waker, other, Budget::Inherited);
    assert_eq!(spend_all(), Some(128));
    ended(in_a_callback);
    Ok(())
}
