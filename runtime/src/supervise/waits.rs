//! Calls that wait for each other: found by the waits that processes report, once a call has waited for a while.
//!
//! A wait goes from the message that is handled to the call that its handler made. It is stuck behind another wait where
//! the call has not begun, and a message that the callee handles, and that waits itself, keeps it from beginning: one of
//! the two runs alone. A round of such waits never ends by itself, so the wait that closes it is told. Pure, but for the
//! look at whether a call has begun.

use crate::wire::control::{Answer, ChildId, LinkId, Wait};
use std::collections::HashMap;

use super::host::Host;
use super::requests::Reply;

/// The waits that are known.
#[derive(Debug, Default)]
pub(crate) struct Waits(HashMap<(Option<ChildId>, u64), Waiting>);

#[derive(Debug)]
struct Waiting {
    edge: Edge,
    reply: Reply,
}

/// One wait.
#[derive(Debug, Clone, PartialEq)]
struct Edge {
    /// The process whose message waits, and the actor that it called.
    from: ChildId,
    to: ChildId,
    link: LinkId,
    number: u64,
    /// Whether the call will run alone, and whether the message that waits does.
    exclusive: bool,
    holds: bool,
    name: String,
}

/// The path of a round of waits that `start` closes, if it does.
fn round<'e>(start: &'e Edge, edges: &'e [&'e Edge]) -> Option<Vec<&'e Edge>> {
    let mut stack = vec![vec![start]];
    let mut seen: Vec<&Edge> = Vec::new();
    while let Some(path) = stack.pop() {
        let last = *path.last()?;
        for next in edges.iter().copied().filter(|next| last.is_behind(next)) {
            if next == start {
                return Some(path);
            }
            if !seen.contains(&next) {
                seen.push(next);
                stack.push(path.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

impl Edge {
    /// Whether this call cannot begin before that message is done.
    fn is_behind(&self, other: &Edge) -> bool {
        self.to == other.from && (self.exclusive || other.holds)
    }
}

impl Host {
    /// A call that was made within a message of a child has waited for a while.
    pub(super) fn waits(&mut self, by: Option<ChildId>, wait: Wait, reply: Reply) {
        let to = self.links.get(&wait.link).map(|link| link.server());
        let (Some(from), Some(to)) = (by, to) else {
            return reply.answer(Ok(Answer::Done));
        };
        let Wait {
            wait,
            link,
            number,
            exclusive,
            holds,
            name,
        } = wait;
        let edge = Edge {
            from,
            to,
            link,
            number,
            exclusive,
            holds,
            name,
        };
        let stuck = self.waits.0.values().map(|waiting| &waiting.edge);
        let stuck: Vec<_> = stuck.chain([&edge]).filter(|edge| self.is_stuck(edge)).collect();
        match round(&edge, &stuck) {
            Some(path) => {
                let names = path.iter().chain([&path[0]]).map(|edge| edge.name.clone());
                reply.answer(Ok(Answer::Cycle(names.collect())));
            }
            None => drop(self.waits.0.insert((by, wait), Waiting { edge, reply })),
        }
    }

    /// That call has ended.
    pub(super) fn waits_no_more(&mut self, by: Option<ChildId>, wait: u64) {
        if let Some(waiting) = self.waits.0.remove(&(by, wait)) {
            waiting.reply.answer(Ok(Answer::Done));
        }
    }

    /// A process is dead, and what it waited for with it.
    pub(super) fn forget_waits_of(&mut self, who: ChildId) {
        self.waits.0.retain(|(by, _), _| *by != Some(who));
    }

    /// Whether a wait is one for a call that has not begun.
    fn is_stuck(&self, edge: &Edge) -> bool {
        let begun = self.links.get(&edge.link).and_then(|link| {
            let life = self.process(edge.to)?.life.as_ref()?;
            Some(link.begun(life))
        });
        begun.is_some_and(|begun| begun < edge.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: u64, to: u64, exclusive: bool, holds: bool) -> Edge {
        Edge {
            from: ChildId(from),
            to: ChildId(to),
            link: LinkId(from * 100 + to),
            number: 1,
            exclusive,
            holds,
            name: format!("{from}"),
        }
    }

    fn closes(edges: &[Edge]) -> bool {
        let all: Vec<_> = edges.iter().collect();
        round(&edges[edges.len() - 1], &all).is_some()
    }

    #[test]
    fn a_round_is_found_however_long_it_is() {
        for n in 2..20 {
            let edges: Vec<_> = (0..n).map(|i| edge(i, (i + 1) % n, true, true)).collect();
            assert!(closes(&edges), "{n}");
            assert!(!closes(&edges[1..]), "{n}");
        }
    }

    #[test]
    fn calls_that_may_run_beside_what_waits_make_no_round() {
        assert!(!closes(&[edge(1, 2, false, false), edge(2, 1, false, false)]));
        assert!(closes(&[edge(1, 2, false, true), edge(2, 1, false, true)]));
        assert!(closes(&[edge(1, 2, true, false), edge(2, 1, true, false)]));
        assert!(!closes(&[edge(1, 2, true, false), edge(2, 1, false, false)]));
    }

    #[test]
    fn a_branch_beside_a_round_does_not_hide_it() {
        let edges = [
            edge(1, 2, true, true),
            edge(2, 3, true, true),
            edge(2, 4, true, true),
            edge(4, 1, true, true),
        ];
        assert!(closes(&edges));
    }
}
