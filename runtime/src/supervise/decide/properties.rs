//! What a [`Decider`](super::Decider) promises, under any order of events; the [`World`] checks it at every step.

use super::world::World;
use super::{ChildId, Event, Incarnation};
use crate::supervise::spec::Outcome::{Abnormal, Normal};
use crate::supervise::spec::{Policy, Rules, Scope};
use crate::supervise::{Backoff, Intensity, Restart, Strategy};
use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as Generate;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One thing that happens; an index picks to whom, among those to whom it can.
#[derive(Debug, Clone)]
enum Step {
    Ready(Pick),
    Exit(Pick, bool),
    Fire,
    Wait(u64),
    Stale(Pick, u8),
    Add(Policy),
    StopChild(Pick),
    RemoveChild(Pick),
    RestartChild(Pick),
    Stop,
    KillAll,
}

type Pick = prop::sample::Index;

fn pick<T: Copy>(from: &[T], pick: Pick) -> Option<T> {
    (!from.is_empty()).then(|| *pick.get(from))
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Ready(which) => pick(&world.starting(), which)
            .into_iter()
            .for_each(|id| world.ready(id)),
        Step::Exit(which, well) => {
            let outcome = if well { Normal } else { Abnormal };
            pick(&world.live(), which)
                .into_iter()
                .for_each(|id| world.exit(id, outcome));
        }
        Step::Fire => drop(world.fire()),
        Step::Wait(millis) => world.now += Duration::from_millis(millis),
        Step::Stale(which, kind) => stale(world, which, kind),
        Step::Add(policy) => world.add(policy),
        Step::StopChild(which) => by_hand(world, which, Event::StopChild),
        Step::RemoveChild(which) => by_hand(world, which, Event::RemoveChild),
        Step::RestartChild(which) => by_hand(world, which, Event::RestartChild),
        Step::Stop => world.stop(),
        Step::KillAll => world.kill_all(),
    }
}

fn by_hand(world: &mut World, which: Pick, event: fn(ChildId) -> Event) {
    let child = ChildId(which.index(6) as u64);
    world.by_hand(event(child));
}

/// Reports something a second time, or of one that never was.
fn stale(world: &mut World, which: Pick, kind: u8) {
    let child = ChildId(which.index(6) as u64);
    let current = world.current(child);
    let other = match (world.live().contains(&child), kind % 2) {
        (false, _) => current,
        (true, 0) => Incarnation {
            number: current.number - 1,
            ..current
        },
        (true, _) => Incarnation {
            number: current.number + 1,
            ..current
        },
    };
    match kind % 4 {
        0 => world.stale(Event::Ready(other)),
        1 => world.stale(Event::Exited(other, Abnormal)),
        2 if !world.starting().contains(&child) => world.stale(Event::Ready(current)),
        _ => {
            let timer = pick(world.old_timers(), which);
            timer
                .into_iter()
                .for_each(|timer| world.stale(Event::Fired(timer)));
        }
    }
}

fn any_policy() -> impl Generate<Value = Policy> {
    let restart = prop_oneof![
        4 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        1 => Just(Restart::Temporary)
    ];
    let shutdown = prop_oneof![
        Just(Some(SECOND)),
        Just(Some(SECOND * 5)),
        Just(Some(Duration::ZERO)),
        Just(None)
    ];
    let backoff = prop_oneof![Just(Backoff::none()), Just(Backoff::exponential())];
    let intensity = prop::option::of((0u32..4).prop_map(|max| Intensity::new(max, SECOND)));
    let tree = prop::bool::weighted(0.2);
    (restart, shutdown, backoff, intensity, tree).prop_map(|(restart, shutdown, backoff, intensity, tree)| {
        Policy {
            restart,
            shutdown,
            backoff,
            intensity,
            tree,
        }
    })
}

fn any_rules() -> impl Generate<Value = Rules> {
    let strategy = prop_oneof![
        Just(Strategy::OneForOne),
        Just(Strategy::OneForAll),
        Just(Strategy::RestForOne)
    ];
    let scope = prop_oneof![3 => Just(Scope::Together), 1 => Just(Scope::EachChild)];
    let intensity = prop_oneof![0u32..4, Just(50)].prop_map(|max| Intensity::new(max, SECOND * 2));
    (strategy, scope, intensity).prop_map(|(strategy, scope, intensity)| Rules {
        strategy,
        intensity,
        scope,
    })
}

/// What happens by itself.
fn any_fate() -> impl Generate<Value = Step> {
    prop_oneof![
        8 => any::<Pick>().prop_map(Step::Ready),
        6 => any::<(Pick, bool)>().prop_map(|(which, well)| Step::Exit(which, well)),
        3 => Just(Step::Fire),
        3 => (0u64..3000).prop_map(Step::Wait),
        2 => any::<(Pick, u8)>().prop_map(|(which, kind)| Step::Stale(which, kind)),
    ]
}

/// What happens by itself and what the user does.
fn any_step() -> impl Generate<Value = Step> {
    prop_oneof![
        20 => any_fate(),
        1 => any_policy().prop_map(Step::Add),
        1 => any::<Pick>().prop_map(Step::StopChild),
        1 => any::<Pick>().prop_map(Step::RemoveChild),
        2 => any::<Pick>().prop_map(Step::RestartChild),
    ]
}

fn any_end() -> impl Generate<Value = Step> {
    prop_oneof![3 => Just(Step::Stop), 1 => Just(Step::KillAll)]
}

fn run(rules: Rules, policies: Vec<Policy>, steps: Vec<Step>) -> World {
    let mut world = World::new(rules, policies);
    world.start();
    steps.into_iter().for_each(|step| take(&mut world, step));
    world
}

/// Many cases are cheap here; `PROPTEST_CASES` can ask for more.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(cases),
        ..default
    }
}

proptest! {
    #![proptest_config(at_least(1000))]

    #[test]
    fn whatever_processes_do_the_order_holds_and_all_are_up_again_in_the_end(
        rules in any_rules(),
        policies in prop::collection::vec(any_policy(), 0..6),
        steps in prop::collection::vec(any_fate(), 0..80),
    ) {
        run(rules, policies, steps).settle(true);
    }

    #[test]
    fn whatever_the_user_does_too_nothing_hangs(
        rules in any_rules(),
        policies in prop::collection::vec(any_policy(), 0..6),
        steps in prop::collection::vec(any_step(), 0..80),
        heedful in any::<bool>(),
    ) {
        run(rules, policies, steps).settle(heedful);
    }

    #[test]
    fn after_a_stop_it_ends_and_leaves_nothing_behind(
        rules in any_rules(),
        policies in prop::collection::vec(any_policy(), 0..6),
        before in prop::collection::vec(any_step(), 0..40),
        end in any_end(),
        after in prop::collection::vec(prop_oneof![9 => any_step(), 1 => any_end()], 0..40),
        heedful in any::<bool>(),
    ) {
        let steps = before.into_iter().chain([end]).chain(after).collect();
        let mut world = run(rules, policies, steps);
        world.settle(heedful);
        prop_assert!(world.ended().is_some());
        prop_assert!(!world.is_left_behind());
    }
}
