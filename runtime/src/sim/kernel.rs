//! Many processes in one thread: their tasks, run in an order that the seed decides, their deaths and their pauses.
//!
//! Any task that was woken or spawned may be the next to run, of whichever process. A process that is paused runs none. When nothing can run, the clock
//! goes on to the next timer.
//!
//! **Death.** A process may die at any step, in the middle of one too. From that instant on nothing that it does is seen:
//! its code runs on to the end of the step, but its lines are cut off and what its status page said is written down;
//! then its tasks are dropped.

use futures::future::LocalBoxFuture;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::line::{Line, Manners};
use super::rng::Rng;
use crate::crash::Point;
use crate::link::memory::{self, End};
use crate::local::World;
use crate::process::page::{Name, Page};

/// The number of a process, which is never given again.
pub(super) type Pid = usize;

/// Carries what is on its way. It is never paused.
pub(super) const WIRES: Pid = 0;
/// The control plane.
pub(super) const PLANE: Pid = 1;
/// The program's own runtime in the host.
pub(super) const HOST: Pid = 2;

/// The time at which a simulation begins.
const EPOCH: u64 = 1_000_000_000;

/// What is told of what happens.
pub(super) trait Witness {
    /// `whole`: all that it had written is there.
    fn died(&self, pid: Pid, whole: bool);
    fn at(&self, pid: Pid, point: Point);
}

pub(super) struct Kernel {
    me: Weak<Kernel>,
    pub(super) rng: Rng,
    woken: Arc<Woken>,
    tasks: RefCell<Vec<Task>>,
    free: RefCell<Vec<usize>>,
    processes: RefCell<Vec<Process>>,
    living: RefCell<Vec<Pid>>,
    dying: RefCell<Vec<Pid>>,
    current: Cell<Pid>,
    last: Cell<Pid>,
    witness: RefCell<Option<Rc<dyn Witness>>>,
    manners: Manners,
    capacity: usize,
    /// How often in a thousand the process that ran last runs on.
    sticky: usize,
    start: Instant,
    now: Cell<u64>,
    pub(super) steps: Cell<u64>,
    trace: Cell<u64>,
    stopped: Cell<bool>,
}

/// What a process leaves to be seen.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// For each link slot the last message that had begun, and those that had not ended.
    pub(super) slots: Vec<(u64, Option<Vec<u64>>)>,
    pub(super) running: Vec<Name>,
}

struct Process {
    name: String,
    alive: bool,
    paused: bool,
    was_paused: bool,
    ready: Vec<usize>,
    statics: Vec<(usize, &'static dyn Any)>,
    ends: BTreeMap<u64, End>,
    lines: Vec<Rc<Line>>,
    page: Option<Page>,
    n_slots: u32,
    remains: Option<Remains>,
    death: Option<oneshot::Sender<()>>,
    /// It dies at the place to which it comes after so many.
    armed: Option<u64>,
}

struct Task {
    process: Pid,
    generation: u32,
    future: Option<LocalBoxFuture<'static, ()>>,
    waker: Option<Arc<TaskWaker>>,
    aborted: bool,
}

#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<(usize, u32)>>,
    executor: Mutex<Option<Waker>>,
}

struct TaskWaker {
    task: usize,
    generation: u32,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.woken.tasks).push((self.task, self.generation));
            if let Some(executor) = lock(&self.woken.executor).take() {
                executor.wake();
            }
        }
    }
}

impl Kernel {
    /// It begins in the current runtime, whose clock is paused.
    pub(super) fn new(rng: Rng) -> Rc<Kernel> {
        let manners = Manners {
            late: rng.pick(&[0, 5, 30]).unwrap_or(0),
            cut: rng.pick(&[0, 100, 500]).unwrap_or(0),
        };
        let capacity = rng.pick(&[256, 4 << 10, 64 << 10, 208 << 10]).unwrap_or(1);
        let sticky = rng.pick(&[0, 500, 900, 980]).unwrap_or(0);
        let kernel = Rc::new_cyclic(|me| Kernel {
            me: me.clone(),
            rng,
            woken: Arc::default(),
            tasks: RefCell::default(),
            free: RefCell::default(),
            processes: RefCell::default(),
            living: RefCell::default(),
            dying: RefCell::default(),
            current: Cell::new(WIRES),
            last: Cell::new(WIRES),
            witness: RefCell::default(),
            manners,
            capacity,
            sticky,
            start: Instant::now(),
            now: Cell::new(EPOCH),
            steps: Cell::new(0),
            trace: Cell::new(0),
            stopped: Cell::new(false),
        });
        for name in ["wires", "plane", "host"] {
            kernel.process(name, None);
        }
        kernel
    }

    pub(super) fn watch_by(&self, witness: Rc<dyn Witness>) {
        self.witness.replace(Some(witness));
    }

    /// A new process, with that status page.
    pub(super) fn process(&self, name: &str, page: Option<Page>) -> Pid {
        let mut processes = self.processes.borrow_mut();
        processes.push(Process {
            name: name.to_owned(),
            alive: true,
            paused: false,
            was_paused: false,
            ready: Vec::new(),
            statics: Vec::new(),
            ends: BTreeMap::new(),
            lines: Vec::new(),
            page,
            n_slots: 0,
            remains: None,
            death: None,
            armed: None,
        });
        let pid = processes.len() - 1;
        self.living.borrow_mut().push(pid);
        pid
    }

    /// A connection between two processes.
    pub(super) fn connect(&self, a: Pid, b: Pid) -> (End, End) {
        let (ours, a_end) = memory::pair_of(self.capacity);
        let (theirs, b_end) = memory::pair_of(self.capacity);
        let (a_end, b_end) = (Rc::new(a_end), Rc::new(b_end));
        self.lay(a, Line::new(a_end.clone(), b_end.clone()));
        self.lay(b, Line::new(b_end, a_end));
        (ours, theirs)
    }

    fn lay(&self, writer: Pid, line: Line) {
        let line = Rc::new(line);
        self.processes.borrow_mut()[writer].lines.push(line.clone());
        let me = self.me.clone();
        self.spawn_in(
            WIRES,
            poll_fn(move |cx| match me.upgrade() {
                Some(kernel) => line.poll(cx, &kernel.rng, kernel.manners),
                None => Poll::Ready(()),
            }),
        );
    }

    /// An end that the process gets with the message of that number.
    pub(super) fn hand(&self, pid: Pid, number: u64, end: End) {
        let process = &mut self.processes.borrow_mut()[pid];
        let end = match process.alive {
            true => process.ends.insert(number, end),
            false => Some(end),
        };
        drop(end);
    }

    /// Runs code as that of a process.
    pub(super) fn within<T>(&self, pid: Pid, act: impl FnOnce() -> T) -> T {
        let outer = self.current.replace(pid);
        let done = act();
        self.current.set(outer);
        done
    }

    /// A slot of the page is given to a new link, which the process may not live to hear of.
    pub(super) fn gives_slot(&self, pid: Pid, slot: u32) {
        let process = &mut self.processes.borrow_mut()[pid];
        process.n_slots = process.n_slots.max(slot);
        if let Some(remains) = &mut process.remains {
            let slots = &mut remains.slots;
            slots.resize(slots.len().max(slot as usize + 1), (0, Some(Vec::new())));
            slots[slot as usize] = (0, Some(Vec::new()));
        }
    }

    pub(super) fn spawn_in(&self, pid: Pid, future: impl Future<Output = ()> + 'static) -> u64 {
        self.add(pid, Box::pin(future))
    }

    fn add(&self, pid: Pid, future: LocalBoxFuture<'static, ()>) -> u64 {
        if !self.is_alive(pid) {
            return u64::MAX;
        }
        let mut tasks = self.tasks.borrow_mut();
        let task = self.free.borrow_mut().pop().unwrap_or_else(|| {
            tasks.push(Task {
                process: 0,
                generation: 0,
                future: None,
                waker: None,
                aborted: false,
            });
            tasks.len() - 1
        });
        let entry = &mut tasks[task];
        let waker = TaskWaker {
            task,
            generation: entry.generation,
            queued: AtomicBool::new(true),
            woken: self.woken.clone(),
        };
        *entry = Task {
            process: pid,
            generation: entry.generation,
            future: Some(future),
            waker: Some(Arc::new(waker)),
            aborted: false,
        };
        self.processes.borrow_mut()[pid].ready.push(task);
        // Spawned from outside of a step, as by a timer.
        if let Some(executor) = lock(&self.woken.executor).take() {
            executor.wake();
        }
        (u64::from(entry.generation) << 32) | task as u64
    }

    /// Whether a few short messages fill no line.
    pub(super) fn has_wide_lines(&self) -> bool {
        self.capacity >= 64 << 10
    }

    pub(super) fn current(&self) -> Pid {
        self.current.get()
    }

    pub(super) fn was_paused(&self, pid: Pid) -> bool {
        self.processes.borrow()[pid].was_paused
    }

    pub(super) fn is_alive(&self, pid: Pid) -> bool {
        self.processes.borrow()[pid].alive
    }

    pub(super) fn name(&self, pid: Pid) -> String {
        self.processes.borrow()[pid].name.clone()
    }

    /// Nanoseconds of the clock of the simulation.
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Completes when the process is dead.
    pub(super) fn death(&self, pid: Pid) -> oneshot::Receiver<()> {
        let (dies, death) = oneshot::channel();
        self.processes.borrow_mut()[pid].death = Some(dies);
        death
    }

    /// From here on nothing that the process does is seen. With `cut` it may be in the middle of writing.
    pub(super) fn kill(&self, pid: Pid, cut: bool) {
        let (ends, death, lines) = {
            let process = &mut self.processes.borrow_mut()[pid];
            if !process.alive {
                return;
            }
            process.alive = false;
            let (page, n_slots) = (process.page.as_ref(), process.n_slots);
            process.remains = page.map(|page| Remains::of(page, n_slots));
            let ends = std::mem::take(&mut process.ends);
            (ends, process.death.take(), process.lines.clone())
        };
        self.living.borrow_mut().retain(|living| *living != pid);
        self.dying.borrow_mut().push(pid);
        let cut = (cut && self.rng.chance(500)).then_some(&self.rng);
        lines.iter().for_each(|line| line.freeze(cut));
        drop(ends);
        self.note(0xdead ^ pid as u64);
        self.witness(|witness| witness.died(pid, cut.is_none()));
        // Whoever waits for it may be gone.
        let _ = death.map(|death| death.send(()));
    }

    /// All that a dead process has written is there, and what its status page said.
    pub(super) fn bury(&self, pid: Pid) -> Remains {
        let (lines, remains) = {
            let process = &mut self.processes.borrow_mut()[pid];
            (std::mem::take(&mut process.lines), process.remains.take())
        };
        lines.iter().for_each(|line| line.deliver());
        remains.unwrap_or_default()
    }

    /// The process dies at the place to which it comes after so many others.
    pub(super) fn arm(&self, pid: Pid, after: u64) {
        self.processes.borrow_mut()[pid].armed = Some(after);
    }

    /// Nobody dies any more at a place to which he comes.
    pub(super) fn disarm(&self) {
        let mut processes = self.processes.borrow_mut();
        processes.iter_mut().for_each(|process| process.armed = None);
    }

    pub(super) fn pause(&self, pid: Pid, paused: bool) {
        let process = &mut self.processes.borrow_mut()[pid];
        process.paused = paused;
        process.was_paused = true;
        self.note(0xfeed ^ pid as u64);
        if let Some(executor) = lock(&self.woken.executor).take() {
            executor.wake();
        }
    }

    /// Something happened that belongs to the trace.
    pub(super) fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.trace.set(mixed ^ (mixed >> 29));
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// The simulation is over.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Runs tasks until the simulation is stopped, or there were too many steps.
    pub(super) async fn run(&self, most_steps: u64) {
        poll_fn(|cx| self.poll(cx, most_steps)).await;
    }

    fn poll(&self, cx: &mut Context<'_>, most_steps: u64) -> Poll<()> {
        self.now.set(EPOCH + self.start.elapsed().as_nanos() as u64);
        loop {
            if self.stopped.get() || self.steps.get() > most_steps {
                return Poll::Ready(());
            }
            self.collect();
            let Some((pid, task)) = self.next() else {
                *lock(&self.woken.executor) = Some(cx.waker().clone());
                return Poll::Pending;
            };
            self.step(pid, task);
        }
    }

    fn collect(&self) {
        let mut woken = lock(&self.woken.tasks);
        let (tasks, mut processes) = (self.tasks.borrow(), self.processes.borrow_mut());
        for (task, generation) in woken.drain(..) {
            let entry = &tasks[task];
            if entry.generation == generation {
                processes[entry.process].ready.push(task);
            }
        }
    }

    fn next(&self) -> Option<(Pid, usize)> {
        let mut processes = self.processes.borrow_mut();
        let runs = |process: &Process| !process.paused && !process.ready.is_empty();
        let last = self.last.get();
        let pid = match processes[last].alive && runs(&processes[last]) && self.rng.chance(self.sticky) {
            true => last,
            false => {
                let living = self.living.borrow();
                let mut ready = [0; 64];
                let mut n = 0;
                for pid in living.iter().filter(|pid| runs(&processes[**pid])).take(64) {
                    ready[n] = *pid;
                    n += 1;
                }
                self.rng.pick(&ready[..n])?
            }
        };
        self.last.set(pid);
        let ready = &mut processes[pid].ready;
        let task = ready.swap_remove(self.rng.below(ready.len()));
        Some((pid, task))
    }

    fn step(&self, pid: Pid, task: usize) {
        self.steps.set(self.steps.get() + 1);
        self.note((pid as u64) << 32 | task as u64);
        let (future, waker) = {
            let entry = &mut self.tasks.borrow_mut()[task];
            (entry.future.take(), entry.waker.clone())
        };
        let (Some(mut future), Some(waker)) = (future, waker) else {
            return;
        };
        waker.queued.store(false, Ordering::Relaxed);
        self.current.set(pid);
        let waker = Waker::from(waker);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let aborted = self.tasks.borrow()[task].aborted;
        if polled.is_ready() || aborted || !self.is_alive(pid) {
            drop(future);
            self.release(task);
        } else {
            self.tasks.borrow_mut()[task].future = Some(future);
        }
        self.current.set(WIRES);
        while let Some(pid) = { self.dying.borrow_mut().pop() } {
            self.reap(pid);
        }
    }

    fn release(&self, task: usize) {
        let mut tasks = self.tasks.borrow_mut();
        let entry = &mut tasks[task];
        entry.generation += 1;
        let waker = entry.waker.take();
        drop(tasks);
        drop(waker);
        self.free.borrow_mut().push(task);
    }

    /// Drops the tasks of a dead process.
    fn reap(&self, pid: Pid) {
        let outer = self.current.replace(pid);
        {
            let process = &mut self.processes.borrow_mut()[pid];
            process.ready.clear();
        }
        let n_tasks = self.tasks.borrow().len();
        for task in 0..n_tasks {
            let future = {
                let entry = &mut self.tasks.borrow_mut()[task];
                (entry.process == pid).then(|| entry.future.take()).flatten()
            };
            if let Some(future) = future {
                drop(future);
                self.release(task);
            }
        }
        self.current.set(outer);
    }

    /// Ends everything, children first.
    pub(super) fn end(&self) {
        let mut living = self.living.borrow().clone();
        living.sort_unstable_by_key(|pid| std::cmp::Reverse(*pid));
        self.witness.replace(None);
        for pid in living {
            self.kill(pid, false);
            self.dying.borrow_mut().clear();
            self.reap(pid);
        }
        let processes = std::mem::take(&mut *self.processes.borrow_mut());
        drop(processes);
    }

    fn witness(&self, tell: impl FnOnce(&dyn Witness)) {
        let witness = self.witness.borrow().clone();
        if let Some(witness) = witness {
            tell(&*witness);
        }
    }
}

impl Remains {
    fn of(page: &Page, n_slots: u32) -> Self {
        let slot = |slot| (page.begun(slot as usize).unwrap_or(0), page.unfinished(slot));
        Remains {
            slots: (0..=n_slots).map(slot).collect(),
            running: page.running().collect(),
        }
    }
}

impl World for Kernel {
    fn process(&self) -> usize {
        self.current.get()
    }

    fn get(&self, key: usize) -> Option<&'static dyn Any> {
        let processes = self.processes.borrow();
        let mut statics = processes.get(self.current.get())?.statics.iter();
        statics.find(|(other, _)| *other == key).map(|(_, value)| *value)
    }

    fn set(&self, key: usize, value: &'static dyn Any) {
        let processes = &mut self.processes.borrow_mut();
        if let Some(process) = processes.get_mut(self.current.get()) {
            process.statics.push((key, value));
        }
    }

    fn spawn(&self, future: LocalBoxFuture<'static, ()>) -> u64 {
        self.add(self.current.get(), future)
    }

    fn abort(&self, task: u64) {
        let (task, generation) = ((task & 0xffff_ffff) as usize, (task >> 32) as u32);
        let future = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(entry) = tasks.get_mut(task).filter(|entry| entry.generation == generation) else {
                return;
            };
            entry.aborted = true;
            let process = &mut self.processes.borrow_mut()[entry.process];
            process.ready.retain(|other| *other != task);
            entry.future.take()
        };
        if let Some(future) = future {
            drop(future);
            self.release(task);
        }
    }

    fn time(&self) -> u64 {
        self.now.get()
    }

    fn at(&self, point: Point) {
        let pid = self.current.get();
        let dies = {
            let processes = &mut self.processes.borrow_mut();
            let Some(process) = processes.get_mut(pid).filter(|process| process.alive) else {
                return;
            };
            let dies = process.armed == Some(0);
            process.armed = process.armed.map(|left| left.saturating_sub(1));
            dies
        };
        self.witness(|witness| witness.at(pid, point));
        if dies {
            self.kill(pid, true);
        }
    }

    fn came_with(&self, number: u64) -> Option<Box<dyn Any>> {
        let process = &mut self.processes.borrow_mut()[self.current.get()];
        let end = process.ends.remove(&number)?;
        Some(Box::new(end))
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
