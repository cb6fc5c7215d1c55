//! What the environment asks for is what is used: so a run of the whole suite is a run of what it says.

use procession::prelude::*;
use procession::{LinkKind, StartMode};
use tests::{proc, within};

#[derive(Default)]
struct Linked;

#[actor]
impl Linked {
    fn number(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn the_start_mode_and_the_link_kind_of_this_run_are_those_that_the_environment_names() {
    let asked = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let start = asked("PROCESSION_START").map_or(StartMode::ForkServer, |mode| mode.parse().unwrap());
    let link = asked("PROCESSION_LINK").map_or(LinkKind::default(), |kind| kind.parse().unwrap());
    let in_use = procession::in_use().await.unwrap();
    assert_eq!((in_use.start, in_use.link), (start, link));
    assert!(in_use.fork_server.is_some(), "the children have a guardian");
}

#[procession::test]
async fn an_actor_that_was_called_over_a_ring_has_it_in_its_memory_and_no_other_has() {
    let linked = within("a spawn", Linked::spawn()).await.unwrap();
    let number = within("a call", linked.number()).await.unwrap();
    let link = procession::in_use().await.unwrap().link;
    assert_eq!(proc::has_ring(number), link == LinkKind::Ring);
}
