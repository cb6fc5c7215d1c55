//! One run: who there is, what goes wrong, and when it is over.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::kernel::{HOST, Kernel, PLANE, Pid, WIRES, Witness};
use super::oracle::Oracle;
use super::plane::Plane;
use super::rng::Rng;
use super::script;
use super::subject::{Subject, Talker};
use crate::actor::contract::{Actor, Task};
use crate::actor::handle::ActorRef;
use crate::actor::peer::Lease;
use crate::crash::Point;
use crate::local;
use crate::wire::control::{BodyKind, ChildId, Mailbox, Overflow, Settings, Target};

use super::subject::SubjectMarker;

pub(super) struct World {
    pub(super) kernel: Rc<Kernel>,
    pub(super) oracle: Rc<Oracle>,
    pub(super) plane: Rc<Plane>,
    pub(super) actors: RefCell<Vec<ChildId>>,
    talkers: RefCell<Vec<ChildId>>,
    /// How many messages are yet to be sent.
    budget: Cell<u64>,
    /// At how many left something goes wrong.
    faults: RefCell<Vec<u64>>,
    /// What talks: how much in each process.
    talking: RefCell<BTreeMap<Pid, usize>>,
    over: Cell<bool>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// That of this thread.
pub(super) fn world() -> Rc<World> {
    WORLD.with_borrow(Clone::clone).expect("a simulation runs")
}

const TALKER: &str = "talker";

/// How long anything may take, on its clock.
const MOST: Duration = Duration::from_secs(3600);
const MOST_STEPS: u64 = 5_000_000;

/// What came of a run.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) wrong: Option<String>,
    pub(super) trace: u64,
    pub(super) steps: u64,
    pub(super) sent: u64,
    pub(super) begun: u64,
    pub(super) faults: u64,
    pub(super) died: u64,
    pub(super) dead_letters: u64,
    pub(super) log: Vec<String>,
}

/// Runs that seed to its end.
pub(super) fn run(seed: u64, record: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(tokio::task::unconstrained(async {
        let world = World::new(Rng::new(seed));
        if record {
            world.oracle.record();
        }
        WORLD.set(Some(world.clone()));
        local::enter(Some(world.kernel.clone()));
        world.begin();
        world.kernel.run(MOST_STEPS).await;
        let outcome = world.end();
        local::enter(None);
        WORLD.set(None);
        outcome
    }));
    drop(runtime);
    outcome
}

impl World {
    fn new(rng: Rng) -> Rc<World> {
        let kernel = Kernel::new(rng);
        let rng = &kernel.rng;
        let oracle = Rc::new(Oracle::new(kernel.clone()));
        let settings = Settings {
            call_timeout: Duration::from_secs(60),
            frame_limit: 1 << 20,
            mailbox: Mailbox {
                messages: 16,
                overflow: Overflow::Wait,
            },
            poisonous: 3,
        };
        let budget = 1040 + rng.between(0, 80);
        let mut faults: Vec<_> = (0..rng.between(6, 12)).map(|_| rng.between(50, budget)).collect();
        faults.sort_unstable();
        Rc::new(World {
            plane: Plane::new(kernel.clone(), oracle.clone(), settings),
            oracle,
            actors: RefCell::default(),
            talkers: RefCell::default(),
            budget: Cell::new(budget),
            faults: RefCell::new(faults),
            talking: RefCell::default(),
            over: Cell::new(false),
            kernel,
        })
    }

    fn begin(self: &Rc<Self>) {
        let (kernel, rng) = (&self.kernel, &self.kernel.rng);
        kernel.watch_by(self.clone());
        self.plane.listen(PLANE);
        self.plane.listen(HOST);
        for n in 0..rng.between(2, 4) {
            let mailbox = Mailbox {
                messages: rng.pick(&[2, 3, 8, 64]).unwrap_or(2),
                overflow: rng
                    .pick(&[
                        Overflow::Wait,
                        Overflow::Wait,
                        Overflow::Reject,
                        Overflow::DropOldest,
                    ])
                    .unwrap_or_default(),
            };
            let row = Subject::row().position();
            let actor = self
                .plane
                .add(&format!("actor-{n}"), BodyKind::Actor, row, mailbox);
            self.oracle.knows(actor, mailbox);
            self.actors.borrow_mut().push(actor);
        }
        for _ in 0..rng.between(1, 3) {
            self.add_talker();
        }
        let world = self.clone();
        kernel.spawn_in(HOST, async move { script::talk(&world).await });
        let world = self.clone();
        kernel.spawn_in(WIRES, async move { world.oversee().await });
    }

    fn add_talker(&self) {
        let (row, mailbox) = (Talker::row().position(), self.plane.settings.mailbox);
        let talker = self.plane.add(TALKER, BodyKind::Task, row, mailbox);
        self.talkers.borrow_mut().push(talker);
    }

    /// Waits until all has been said, and then until all has come to rest; looks what came of it.
    async fn oversee(&self) {
        let all_said = async {
            while self.budget.get() > 0 || !self.talking.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if self.oracle.is_wrong() {
                    return;
                }
            }
        };
        if tokio::time::timeout(MOST, all_said).await.is_err() {
            self.oracle.wrong("it does not come to rest");
        }
        self.kernel.disarm();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if !self.oracle.is_wrong() {
            let world = world();
            let (probed, all_probed) = tokio::sync::oneshot::channel();
            self.kernel.spawn_in(HOST, async move {
                script::probe(&world).await;
                let _ = probed.send(());
            });
            if tokio::time::timeout(MOST, all_probed).await.is_err() {
                self.oracle.wrong("an actor is not heard of any more");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.oracle.at_rest();
        }
        self.kernel.stop();
    }

    fn end(&self) -> Outcome {
        self.over.set(true);
        if self.kernel.steps.get() > MOST_STEPS {
            self.oracle.wrong("it goes on for ever");
        }
        let trace = self.kernel.trace();
        self.kernel.end();
        let counts = &self.oracle.counts;
        Outcome {
            wrong: self.oracle.verdict(),
            trace,
            steps: self.kernel.steps.get(),
            sent: counts.sent.get(),
            begun: counts.begun.get(),
            faults: counts.faults.get(),
            died: counts.died.get(),
            dead_letters: counts.dead_letters.get(),
            log: self.oracle.recorded(),
        }
    }

    /// Whether the process whose code runs is alive: what a dead one does is not seen.
    pub(super) fn runs(&self) -> bool {
        !self.over.get() && self.kernel.is_alive(self.kernel.current())
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    pub(super) fn actor(&self, id: ChildId) -> ActorRef<SubjectMarker> {
        ActorRef::to(Target::Child(id, Plane::cap(id)))
    }

    /// What keeps the connection of this process to that actor.
    pub(super) fn held(&self, id: ChildId) -> Option<Lease> {
        Lease::of(&Target::Child(id, Plane::cap(id)), Subject::row().position()).ok()
    }

    /// Takes part of the conversation, while there is something to say.
    pub(super) fn takes_turn(&self) -> bool {
        if !self.runs() || self.oracle.is_wrong() {
            return false;
        }
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        while self.faults.borrow().last().is_some_and(|at| *at >= left) {
            self.faults.borrow_mut().pop();
            self.go_wrong();
        }
        left > 0
    }

    pub(super) fn begins_to_talk(&self) -> Talking {
        let pid = self.kernel.current();
        *self.talking.borrow_mut().entry(pid).or_default() += 1;
        Talking(pid)
    }

    /// Something goes wrong.
    fn go_wrong(&self) {
        let rng = &self.kernel.rng;
        let actors = self.actors.borrow();
        let actor = actors[rng.below(actors.len())];
        let actor_pid = self.plane.pid(actor);
        let talker = rng
            .pick(&self.talkers.borrow())
            .and_then(|talker| self.plane.pid(talker));
        let counts = &self.oracle.counts;
        counts.faults.set(counts.faults.get() + 1);
        let what = rng.below(11);
        self.oracle
            .log(|| format!("fault {what} of {actor}, {actor_pid:?}, {talker:?}"));
        match (what, actor_pid, talker) {
            (0 | 1, Some(pid), _) => self.kernel.kill(pid, true),
            (2..=4, Some(pid), _) => self.kernel.arm(pid, rng.between(0, 200)),
            (5, _, Some(pid)) => self.kernel.kill(pid, true),
            (6, _, Some(pid)) => self.kernel.arm(pid, rng.between(0, 200)),
            (7, _, _) => self.plane.stop(actor, false),
            (10, _, _) if actors.len() > 2 && !actors.iter().any(|actor| self.oracle.has_ended(*actor)) => {
                self.plane.stop(actor, true);
            }
            (8, _, _) => self.pause(rng.pick(&[PLANE, HOST]).unwrap_or(PLANE)),
            (_, pid, _) => self.pause(pid.unwrap_or(PLANE)),
        }
    }

    fn pause(&self, pid: Pid) {
        self.kernel.pause(pid, true);
        let (kernel, after) = (self.kernel.clone(), self.kernel.rng.between(1, 400));
        self.kernel.spawn_in(WIRES, async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            kernel.pause(pid, false);
        });
    }
}

/// Something that talks, until it is dropped.
pub(super) struct Talking(Pid);

impl Drop for Talking {
    fn drop(&mut self) {
        let world = world();
        let mut talking = world.talking.borrow_mut();
        if let Some(n) = talking.get_mut(&self.0) {
            *n -= 1;
            if *n == 0 {
                talking.remove(&self.0);
            }
        }
    }
}

impl Witness for World {
    fn died(&self, pid: Pid, whole: bool) {
        self.oracle
            .log(|| format!("process {pid}, {}, dies", self.kernel.name(pid)));
        self.oracle.died(pid, whole);
        self.talking.borrow_mut().remove(&pid);
        if self.kernel.name(pid) == TALKER && self.budget.get() > 0 && !self.oracle.is_wrong() {
            // What is left to say is said by another.
            let after = Duration::from_millis(self.kernel.rng.between(0, 20));
            self.kernel.spawn_in(PLANE, async move {
                tokio::time::sleep(after).await;
                world().add_talker();
            });
        }
    }

    fn at(&self, pid: Pid, point: Point) {
        self.oracle.at(pid, point);
    }
}
