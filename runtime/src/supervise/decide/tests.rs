//! What a [`Decider`] promises, one sentence at a time.

use super::super::{Backoff, Intensity, Restart};
use super::world::World;
use super::*;
use Outcome::{Abnormal, Normal};

const A: ChildId = ChildId(0);
const B: ChildId = ChildId(1);
const C: ChildId = ChildId(2);
const SECOND: Duration = Duration::from_secs(1);

fn policy(restart: Restart) -> Policy {
    Policy {
        restart,
        backoff: Backoff::none(),
        ..Policy::default()
    }
}

fn permanent() -> Policy {
    policy(Restart::Permanent)
}

fn rules(strategy: Strategy) -> Rules {
    Rules {
        strategy,
        ..Rules::default()
    }
}

/// A supervisor whose children are up.
fn up(rules: Rules, policies: impl Into<Vec<Policy>>) -> World {
    let mut world = World::new(rules, policies.into());
    world.start();
    world.settle(true);
    world.log();
    world
}

fn three(strategy: Strategy) -> World {
    up(rules(strategy), vec![permanent(); 3])
}

mod starting {
    use super::*;

    #[test]
    fn the_next_child_starts_only_when_the_one_before_it_is_ready() {
        let mut world = World::new(rules(Strategy::OneForOne), vec![permanent(); 2]);
        world.start();
        assert_eq!(world.log(), "start a1");
        world.ready(A);
        assert_eq!(world.log(), "start b1");
        world.ready(B);
        assert_eq!(world.log(), "up");
    }

    #[test]
    fn a_supervisor_without_children_is_up_at_once() {
        let mut world = World::new(Rules::root(), vec![]);
        world.start();
        assert_eq!(world.log(), "up");
    }

    #[test]
    fn a_child_that_does_not_start_fails_the_start_and_those_before_it_are_stopped_in_reverse() {
        let mut world = World::new(rules(Strategy::OneForOne), vec![permanent(); 4]);
        world.start();
        world.ready(A);
        world.ready(B);
        world.log();
        world.exit(C, Abnormal);
        assert_eq!(world.log(), "stop b1");
        world.exit(B, Normal);
        assert_eq!(world.log(), "stop a1");
        world.exit(A, Normal);
        assert_eq!(world.ended(), Some(Cause::NotStarted(C)));
    }

    #[test]
    fn a_temporary_child_that_does_not_start_fails_the_start_too() {
        let mut world = World::new(Rules::default(), vec![policy(Restart::Temporary)]);
        world.start();
        world.exit(A, Abnormal);
        assert_eq!(world.ended(), Some(Cause::NotStarted(A)));
    }

    #[test]
    fn a_service_that_is_done_before_it_said_ready_has_started() {
        let mut world = World::new(Rules::default(), vec![policy(Restart::Transient), permanent()]);
        world.start();
        world.exit(A, Normal);
        assert_eq!(world.log(), "start a1, gone a Done, start b1");
    }

    #[test]
    fn a_stop_during_the_start_stops_the_child_that_is_starting() {
        let mut world = World::new(Rules::default(), vec![permanent(); 3]);
        world.start();
        world.ready(A);
        world.log();
        world.stop();
        assert_eq!(world.log(), "stop b1");
        world.exit(B, Abnormal);
        world.exit(A, Normal);
        assert_eq!(world.log(), "stop a1, ended");
        assert_eq!(world.ended(), Some(Cause::Stopped));
    }

    #[test]
    fn a_child_that_dies_while_a_later_one_starts_is_restarted_before_the_rest_start() {
        let mut world = World::new(rules(Strategy::OneForOne), vec![permanent(); 3]);
        world.start();
        world.ready(A);
        world.exit(A, Abnormal);
        world.ready(B);
        assert_eq!(world.log(), "start a1, start b1, start a2");
        world.ready(A);
        assert_eq!(world.log(), "start c1");
    }
}

mod failing {
    use super::*;

    #[test]
    fn one_for_one_restarts_only_the_one_that_failed() {
        let mut world = three(Strategy::OneForOne);
        world.exit(B, Abnormal);
        world.ready(B);
        assert_eq!(world.log(), "start b2, up");
    }

    #[test]
    fn two_independent_children_restart_side_by_side() {
        let mut world = three(Strategy::OneForOne);
        world.exit(A, Abnormal);
        world.exit(B, Abnormal);
        assert_eq!(world.log(), "start a2, start b2");
    }

    #[test]
    fn one_for_all_stops_all_in_reverse_then_starts_all_in_order() {
        let mut world = three(Strategy::OneForAll);
        world.exit(B, Abnormal);
        assert_eq!(world.log(), "stop c1");
        world.exit(C, Normal);
        assert_eq!(world.log(), "stop a1");
        world.exit(A, Normal);
        assert_eq!(world.log(), "start a2");
        world.settle(true);
        assert_eq!(world.log(), "start b2, start c2, up");
    }

    #[test]
    fn rest_for_one_leaves_those_before_it_alone() {
        let mut world = three(Strategy::RestForOne);
        world.exit(B, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop c1, start b2, start c2, up");
    }

    #[test]
    fn a_sibling_that_dies_before_it_could_be_stopped_is_not_another_failure() {
        let mut world = up(
            Rules {
                intensity: Intensity::new(1, SECOND),
                ..rules(Strategy::OneForAll)
            },
            vec![permanent(); 3],
        );
        world.exit(C, Abnormal);
        world.exit(A, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop b1, start a2, start b2, start c2, up");
    }

    #[test]
    fn a_second_failure_while_all_come_up_again_begins_anew() {
        let mut world = three(Strategy::OneForAll);
        world.exit(A, Abnormal);
        world.exit(C, Normal);
        world.exit(B, Normal);
        world.ready(A);
        world.log();
        world.exit(B, Abnormal); // while it starts
        assert_eq!(world.log(), "stop a2");
        world.settle(true);
        assert_eq!(world.log(), "start a3, start b3, start c2, up");
    }

    #[test]
    fn an_earlier_child_that_fails_widens_what_is_being_restarted() {
        let mut world = three(Strategy::RestForOne);
        world.exit(B, Abnormal);
        world.exit(A, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop c1, start a2, start b2, start c2, up");
    }

    #[test]
    fn a_transient_child_that_ended_well_comes_back_only_with_its_siblings() {
        let mut world = up(
            rules(Strategy::OneForAll),
            [policy(Restart::Transient), permanent()],
        );
        world.exit(A, Normal);
        assert_eq!(world.log(), "gone a Done");
        world.exit(B, Abnormal);
        assert_eq!(world.log(), "start a2");
    }

    #[test]
    fn a_transient_child_that_failed_is_restarted() {
        let mut world = up(Rules::default(), [policy(Restart::Transient)]);
        world.exit(A, Abnormal);
        assert_eq!(world.log(), "start a2");
    }

    #[test]
    fn a_temporary_child_is_stopped_with_its_siblings_and_forgotten() {
        let mut world = up(
            rules(Strategy::OneForAll),
            [policy(Restart::Temporary), permanent()],
        );
        world.exit(B, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop a1, gone a Stopped, forgotten a, start b2, up");
    }

    #[test]
    fn a_temporary_child_that_fails_is_forgotten_and_nobody_minds() {
        let mut world = up(
            rules(Strategy::OneForAll),
            [policy(Restart::Temporary), permanent()],
        );
        world.exit(A, Abnormal);
        assert_eq!(world.log(), "gone a Done, forgotten a");
    }

    #[test]
    fn a_sibling_that_does_not_heed_is_killed_when_its_time_is_over() {
        let mut world = three(Strategy::OneForAll);
        let before = world.now;
        world.exit(C, Abnormal);
        assert!(world.fire());
        assert_eq!(world.now - before, SECOND * 5);
        assert_eq!(world.log(), "stop b1, kill b1");
    }
}

mod giving_up {
    use super::*;

    #[test]
    fn the_fourth_failure_within_five_seconds_stops_all_in_reverse_and_ends_the_supervisor() {
        let mut world = three(Strategy::OneForOne);
        for _ in 0..3 {
            world.exit(B, Abnormal);
            world.ready(B);
            world.now += SECOND;
        }
        world.log();
        world.exit(B, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop c1, stop a1, ended");
        assert_eq!(world.ended(), Some(Cause::TooManyRestarts(B)));
    }

    #[test]
    fn a_restart_that_does_not_start_is_tried_again_until_that_is_too_often() {
        let mut world = up(Rules::default(), [permanent()]);
        for _ in 0..4 {
            world.exit(A, Abnormal);
        }
        assert_eq!(world.log(), "start a2, start a3, start a4, ended");
    }

    #[test]
    fn failures_that_are_far_apart_are_no_reason_to_give_up() {
        let mut world = up(Rules::default(), [permanent()]);
        for _ in 0..100 {
            world.exit(A, Abnormal);
            world.ready(A);
            world.now += SECOND * 2;
        }
        assert_eq!(world.ended(), None);
    }

    #[test]
    fn a_root_gives_up_one_child_and_keeps_the_others() {
        let mut world = up(Rules::root(), []);
        world.add(permanent());
        world.add(Policy {
            intensity: Some(Intensity::new(0, SECOND)),
            ..permanent()
        });
        world.settle(true);
        world.log();
        world.exit(B, Abnormal);
        assert_eq!(world.log(), "gone b GivenUp");
        world.exit(A, Abnormal);
        assert_eq!(world.log(), "start a2");
    }

    #[test]
    fn a_child_that_was_given_up_can_be_restarted_by_hand() {
        let mut world = up(Rules::root(), [permanent()]);
        for _ in 0..4 {
            world.exit(A, Abnormal);
        }
        world.log();
        world.by_hand(Event::RestartChild(A));
        world.exit(A, Abnormal);
        assert_eq!(world.log(), "start a5, start a6");
    }
}

mod backing_off {
    use super::*;

    fn patient() -> Policy {
        Policy {
            backoff: Backoff::exponential().jitter(0.0),
            ..permanent()
        }
    }

    fn often(strategy: Strategy) -> Rules {
        Rules {
            intensity: Intensity::new(100, SECOND),
            ..rules(strategy)
        }
    }

    /// Lets the only child fail, and tells how long it took to start again.
    fn pause(world: &mut World) -> u128 {
        let before = world.now;
        world.exit(A, Abnormal);
        world.settle(true);
        (world.now - before).as_millis()
    }

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_wait() {
        let mut world = up(often(Strategy::OneForOne), [patient()]);
        let pauses = [(); 4].map(|()| pause(&mut world));
        assert_eq!(pauses, [0, 100, 200, 400]);
    }

    #[test]
    fn after_a_healthy_time_it_begins_anew() {
        let mut world = up(often(Strategy::OneForOne), [patient()]);
        pause(&mut world);
        pause(&mut world);
        world.now += SECOND * 10;
        assert_eq!(pause(&mut world), 0);
    }

    #[test]
    fn siblings_that_start_together_wait_together() {
        let mut world = up(often(Strategy::OneForAll), [permanent(), patient()]);
        world.exit(B, Abnormal);
        world.settle(true);
        world.log();
        world.exit(B, Abnormal);
        world.exit(A, Normal);
        assert_eq!(world.log(), "stop a2");
        assert!(world.fire());
        assert_eq!(world.log(), "start a3");
    }

    #[test]
    fn a_child_that_waits_starts_with_an_earlier_one_that_failed_since() {
        let mut world = up(often(Strategy::RestForOne), [permanent(), patient()]);
        world.exit(B, Abnormal);
        world.exit(B, Abnormal); // while it starts: now it waits
        world.log();
        world.exit(A, Abnormal);
        world.ready(A);
        assert_eq!(world.log(), "start a2, start b3");
    }

    #[test]
    fn a_stop_does_not_wait_for_the_back_off() {
        let mut world = up(often(Strategy::OneForOne), [patient()]);
        pause(&mut world);
        world.exit(A, Abnormal);
        world.log();
        world.stop();
        assert_eq!(world.log(), "ended");
    }

    #[test]
    fn by_hand_it_starts_without_waiting() {
        let mut world = up(often(Strategy::OneForOne), [patient()]);
        pause(&mut world);
        world.exit(A, Abnormal);
        world.log();
        world.by_hand(Event::RestartChild(A));
        assert_eq!(world.log(), "start a3");
    }
}

mod stopping {
    use super::*;

    #[test]
    fn children_stop_in_reverse_each_after_the_one_after_it() {
        let mut world = three(Strategy::OneForOne);
        world.stop();
        assert_eq!(world.log(), "stop c1");
        world.exit(C, Normal);
        assert_eq!(world.log(), "stop b1");
        world.exit(A, Abnormal); // out of turn
        assert_eq!(world.log(), "");
        world.exit(B, Normal);
        assert_eq!(world.log(), "ended");
    }

    #[test]
    fn a_child_that_has_no_time_to_stop_is_killed_at_once() {
        let abrupt = Policy {
            shutdown: Some(Duration::ZERO),
            ..permanent()
        };
        let mut world = up(Rules::default(), [abrupt]);
        world.stop();
        assert_eq!(world.log(), "kill a1");
    }

    #[test]
    fn a_supervisor_below_has_all_the_time_it_needs() {
        let mut world = up(Rules::default(), [Policy::supervisor()]);
        world.stop();
        assert!(!world.fire());
        assert_eq!(world.log(), "stop a1");
    }

    #[test]
    fn killing_all_does_not_wait_for_a_stop_that_is_under_way() {
        let mut world = three(Strategy::OneForOne);
        world.stop();
        world.kill_all();
        assert_eq!(world.log(), "stop c1, kill c1, kill b1, kill a1");
        world.settle(false);
        assert_eq!(world.ended(), Some(Cause::Stopped));
    }

    #[test]
    fn a_stop_during_a_restart_of_all_starts_none_of_them() {
        let mut world = three(Strategy::OneForAll);
        world.exit(A, Abnormal);
        world.stop();
        world.settle(true);
        assert_eq!(world.log(), "stop c1, stop b1, ended");
    }

    #[test]
    fn a_supervisor_that_never_started_ends_at_once() {
        let mut world = World::new(Rules::default(), vec![permanent()]);
        world.stop();
        assert_eq!(world.log(), "ended");
        world.start();
        assert_eq!(world.log(), "");
    }

    #[test]
    fn one_that_is_stopping_takes_no_more_children() {
        let mut world = three(Strategy::OneForOne);
        world.stop();
        world.add(permanent()); // the world checks the error
        assert_eq!(world.ids().len(), 3);
    }
}

mod by_hand {
    use super::*;

    #[test]
    fn a_child_that_is_stopped_stays_down_even_when_its_siblings_are_restarted() {
        let mut world = three(Strategy::OneForAll);
        world.by_hand(Event::StopChild(B));
        world.exit(B, Abnormal);
        assert_eq!(world.log(), "stop b1, gone b Stopped, up");
        world.exit(C, Abnormal);
        world.settle(true);
        assert_eq!(world.log(), "stop a1, start a2, start c2, up");
    }

    #[test]
    fn a_child_that_is_removed_is_forgotten_when_it_has_ended() {
        let mut world = three(Strategy::OneForOne);
        world.by_hand(Event::RemoveChild(B));
        assert_eq!(world.log(), "stop b1");
        world.exit(B, Normal);
        assert_eq!(world.log(), "gone b Stopped, forgotten b, up");
        world.by_hand(Event::RestartChild(B));
        assert_eq!(world.log(), "");
    }

    #[test]
    fn a_child_that_is_being_removed_does_not_come_back() {
        let mut world = three(Strategy::OneForOne);
        world.by_hand(Event::RemoveChild(B));
        world.by_hand(Event::RestartChild(B));
        world.by_hand(Event::StopChild(B));
        world.settle(true);
        assert_eq!(world.log(), "stop b1, gone b Stopped, forgotten b, up");
    }

    #[test]
    fn a_restart_stops_the_child_first_and_does_not_count() {
        let mut world = up(
            Rules {
                intensity: Intensity::new(0, SECOND),
                ..rules(Strategy::OneForOne)
            },
            [permanent()],
        );
        world.by_hand(Event::RestartChild(A));
        world.settle(true);
        assert_eq!(world.log(), "stop a1, start a2, up");
    }

    #[test]
    fn the_last_word_counts_while_a_child_is_stopping() {
        let mut world = three(Strategy::OneForOne);
        world.by_hand(Event::StopChild(A));
        world.by_hand(Event::RestartChild(A));
        world.by_hand(Event::RestartChild(B));
        world.by_hand(Event::StopChild(B));
        world.settle(true);
        assert_eq!(world.log(), "stop a1, stop b1, start a2, gone b Stopped, up");
    }

    #[test]
    fn a_child_that_is_added_and_does_not_start_is_forgotten() {
        let mut world = three(Strategy::OneForAll);
        world.add(permanent());
        world.exit(ChildId(3), Abnormal);
        assert_eq!(world.log(), "start d1, gone d NotStarted, forgotten d, up");
    }
}

mod a_root_that_ends {
    use super::*;

    fn tree() -> Policy {
        Policy {
            backoff: Backoff::none(),
            ..Policy::supervisor()
        }
    }

    #[test]
    fn processes_that_know_nothing_of_each_other_stop_at_the_same_time() {
        let mut world = up(Rules::root(), vec![permanent(); 3]);
        world.stop();
        assert_eq!(world.log(), "stop c1, stop b1, stop a1");
        let begin = world.now;
        world.settle(false);
        assert_eq!(world.now - begin, permanent().shutdown.unwrap());
    }

    #[test]
    fn a_supervisor_stops_after_those_that_came_later_and_before_those_that_came_earlier() {
        let mut world = up(Rules::root(), [permanent(), tree(), permanent()]);
        world.stop();
        assert_eq!(world.log(), "stop c1");
        world.exit(C, Normal);
        assert_eq!(world.log(), "stop b1");
        world.exit(B, Normal);
        assert_eq!(world.log(), "stop a1");
    }
}

mod a_supervisor_that_comes_up_again {
    use super::*;

    #[test]
    fn counts_on_so_that_no_incarnation_is_taken_for_one_of_its_last_life() {
        let mut world = up(Rules::default(), vec![permanent(); 2]);
        world.exit(B, Abnormal);
        let mut next = Decider::new(Rules::default(), vec![permanent(); 2], 0);
        next.count_on(&world.decider, [1, 2]);
        assert_eq!(next.next_timer, world.decider.next_timer);
        let started = next.on(world.now, Event::Start);
        assert_eq!(started, [Action::Start(Incarnation { child: A, number: 2 })]);
    }
}
