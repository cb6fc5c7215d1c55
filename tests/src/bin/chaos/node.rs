//! The actor that is put under load: it writes down what it handles, and sends to its like.

use procession::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tests::oracle::{Flow, Heard, Mode, Oracle, Sending};

/// How many there are.
pub(crate) const N_NODES: u64 = 30;

/// The word of the oracle that is 1 when nothing new is to be sent; behind it the lives of the nodes.
pub(crate) const STOPPING: usize = 0;
const LIVES: usize = 8;

/// No call takes longer than this, whatever happens.
const DEADLINE: Duration = Duration::from_secs(20);

/// The senders that are no nodes are numbered from here.
pub(crate) const HOST: u64 = 1000;
pub(crate) const TASKS: u64 = 2000;

pub(crate) fn name(number: u64) -> String {
    format!("n{number}")
}

/// How many lives a node has had.
pub(crate) fn life_of(oracle: Oracle, number: u64) -> u64 {
    oracle.word(LIVES + number as usize).load(SeqCst)
}

/// What every message carries.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Mark {
    flow: u64,
    seq: u64,
}

/// Numbers that look random, the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// A number below that one.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The oracle of this process.
static ORACLE: OnceLock<Oracle> = OnceLock::new();

pub(crate) fn oracle(path: &std::path::Path) -> Oracle {
    *ORACLE.get_or_init(|| Oracle::open(path).expect("the oracle"))
}

/// One who sends, one message after another.
#[derive(Debug)]
pub(crate) struct Sender {
    oracle: Oracle,
    /// Its number, and which of its lives this is; 0: it is not to die.
    who: (u64, u64),
    dice: Dice,
    flows: HashMap<u64, Flow>,
}

impl Sender {
    pub(crate) fn new(oracle: Oracle, who: (u64, u64), seed: u64) -> Self {
        Sender {
            oracle,
            who,
            dice: Dice::new(seed ^ (who.0 << 20) ^ who.1),
            flows: HashMap::new(),
        }
    }

    /// The next message for that node, as soon as there is a place for it.
    async fn prepare(&mut self, to: u64, mode: Mode) -> Option<(Mark, Sending)> {
        let flow = match self.flows.get(&to) {
            Some(flow) => *flow,
            None => {
                let flow = self.oracle.flow(self.who.0, self.who.1, to)?;
                self.flows.insert(to, flow);
                flow
            }
        };
        while !flow.has_room() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let sending = flow.send(mode);
        let mark = Mark {
            flow: flow.number,
            seq: sending.seq,
        };
        Some((mark, sending))
    }

    /// Sends something to somebody.
    pub(crate) async fn send(&mut self, nodes: impl Fn(u64) -> NodeRef) {
        let to = self.dice.below(N_NODES);
        let node = &nodes(to);
        // Those that may wait for each other in a round are few: a round holds up all who have a part in it.
        match self.dice.below(1000) {
            0..550 => {
                self.tell(node, to, Mode::Tell, |node, mark| node.take(mark).tell())
                    .await
            }
            550..625 => {
                self.tell(node, to, Mode::Tell, |node, mark| node.share(mark).tell())
                    .await
            }
            625..750 => {
                self.tell(node, to, Mode::IdempotentTell, |node, mark| {
                    node.again(mark).tell()
                })
                .await
            }
            750..875 => {
                self.call(node, to, Mode::Call, |node, mark| node.take(mark))
                    .await
            }
            875..935 => {
                self.call(node, to, Mode::Call, |node, mark| node.share(mark))
                    .await
            }
            935..998 => {
                self.call(node, to, Mode::IdempotentCall, |node, mark| node.again(mark))
                    .await
            }
            _ => {
                self.call(node, to, Mode::Call, |node, mark| node.pass(mark, 2))
                    .await
            }
        }
    }

    async fn tell(
        &mut self,
        node: &NodeRef,
        to: u64,
        mode: Mode,
        tell: fn(&NodeRef, Mark) -> procession::Tell,
    ) {
        if let Some((mark, sending)) = self.prepare(to, mode).await {
            let told = tokio::time::timeout(DEADLINE, tell(node, mark)).await;
            sending.told(match told {
                Ok(Ok(())) => Heard::Accepted,
                Ok(Err(_)) => Heard::Refused,
                Err(_) => Heard::Late,
            });
        }
    }

    async fn call(
        &mut self,
        node: &NodeRef,
        to: u64,
        mode: Mode,
        call: fn(&NodeRef, Mark) -> procession::Call<()>,
    ) {
        if let Some((mark, sending)) = self.prepare(to, mode).await {
            sending.told(match call(node, mark).timeout(DEADLINE).await {
                Ok(()) => Heard::Answered,
                Err(CallError::Died { begun, .. }) => Heard::Died { begun },
                Err(CallError::Timeout) => Heard::Late,
                Err(_) => Heard::Refused,
            });
        }
    }
}

/// One of those under load.
#[derive(Debug)]
pub(crate) struct Node {
    oracle: Oracle,
    sender: Sender,
}

#[actor(mailbox = 128)]
impl Node {
    #[init]
    pub(crate) fn new(path: PathBuf, number: u64, seed: u64) -> Self {
        let oracle = oracle(&path);
        let life = oracle.word(LIVES + number as usize).fetch_add(1, SeqCst) + 1;
        let own = Sender::new(oracle, (number, life), seed);
        tokio::task::spawn_local(chatter(oracle, Sender::new(oracle, (number, life), !seed)));
        Node { oracle, sender: own }
    }

    pub(crate) fn take(&mut self, mark: Mark) {
        let flow = self.oracle.get(mark.flow);
        flow.begin(mark.seq);
        flow.end(mark.seq);
    }

    pub(crate) async fn share(&self, mark: Mark) {
        let flow = self.oracle.get(mark.flow);
        flow.begin(mark.seq);
        tokio::time::sleep(Duration::from_millis(1)).await;
        flow.end(mark.seq);
    }

    #[idempotent(retries = 1000)]
    pub(crate) fn again(&mut self, mark: Mark) {
        let flow = self.oracle.get(mark.flow);
        flow.begin(mark.seq);
        flow.end(mark.seq);
    }

    /// Calls another one, which calls another one.
    pub(crate) async fn pass(&mut self, mark: Mark, hops: u64) {
        let flow = self.oracle.get(mark.flow);
        flow.begin(mark.seq);
        let to = self.sender.dice.below(N_NODES);
        let node = NodeRef::named(name(to));
        match hops {
            0 => {
                let tell = self
                    .sender
                    .tell(&node, to, Mode::Tell, |node, mark| node.take(mark).tell());
                tell.await;
            }
            1 => {
                Box::pin(
                    self.sender
                        .call(&node, to, Mode::Call, |node, mark| node.pass(mark, 0)),
                )
                .await
            }
            _ => {
                Box::pin(
                    self.sender
                        .call(&node, to, Mode::Call, |node, mark| node.pass(mark, 1)),
                )
                .await
            }
        }
        flow.end(mark.seq);
    }
}

/// What a node says of itself: by refs that it keeps, and by others that are made for one message.
async fn chatter(oracle: Oracle, mut sender: Sender) {
    let kept: Vec<NodeRef> = (0..N_NODES).map(|to| NodeRef::named(name(to))).collect();
    let is_going = || oracle.word(STOPPING).load(SeqCst) == 0;
    while is_going() {
        for number in 0..sender.dice.below(400) {
            match number % 8 {
                0 => sender.send(|to| NodeRef::named(name(to))).await,
                _ => sender.send(|to| kept[to as usize].clone()).await,
            }
            if !is_going() {
                return;
            }
        }
        let pause = sender.dice.below(4_000);
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }
}

/// Sends so much and comes to an orderly end.
#[task]
pub(crate) async fn burst(path: PathBuf, number: u64, seed: u64, n: u64) {
    let mut sender = Sender::new(oracle(&path), (number, 0), seed);
    for _ in 0..n {
        sender.send(|to| NodeRef::named(name(to))).await;
    }
}
