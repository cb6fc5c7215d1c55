//! What a process keeps for its next message, and gives back when none comes.

use procession::LinkKind;
use procession::prelude::*;
use tests::{proc, until, within};

/// What a few pages more or less may come to, in KiB.
const A_LITTLE: usize = 48;

#[derive(Default)]
struct Hearer {
    heard: usize,
}

#[actor]
impl Hearer {
    fn hear(&mut self, block: &[u8]) {
        self.heard += block.len();
    }
    fn heard(&self) -> usize {
        self.heard
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn what_an_actor_had_for_its_messages_is_given_back_when_none_come() {
    // Over other links nothing is kept that would be worth a timer.
    if procession::in_use().await.unwrap().link != LinkKind::Ring {
        return;
    }
    let hearer = Hearer::spawn().await.unwrap();
    let pid = within("call", hearer.pid()).await.unwrap();
    let before = proc::private_kib(pid);
    let mut most = before;
    for _ in 0..64 {
        for _ in 0..64 {
            within("tell", hearer.hear(&[7; 1024]).tell()).await.unwrap();
        }
        within("call", hearer.heard()).await.unwrap();
        most = most.max(proc::private_kib(pid));
    }
    assert!(most > before, "{before} KiB, and {most} under load");
    let rests = || proc::private_kib(pid) <= before + A_LITTLE;
    until(format!("of {most} KiB no more than {before} are left"), rests).await;
    assert_eq!(within("call", hearer.heard()).await.unwrap(), 64 * 64 * 1024);
}
