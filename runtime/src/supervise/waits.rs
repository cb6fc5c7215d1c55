//! Calls that wait for each other: found by the waits that processes report, once a call has waited for a while.
//!
//! A wait goes from the message that is handled to the call that its handler made. Where the call has begun, it is for
//! the wait of its own handler, if that waits. Where it has not, it is stuck behind each message that the callee handles
//! and that waits itself, if one of the two runs alone. A round of such waits never ends by itself, so one of them is told:
//! the one that closes it, or where its call has begun, which would be undone, the next whose call has not. Pure, but for
//! the look at whether a call has begun.

use crate::wire::control::{Answer, ChildId, Context, LinkId, Wait};
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
    /// The message that waits.
    within: (LinkId, u64),
    /// Whether the call will run alone, and whether the message that waits does.
    exclusive: bool,
    holds: bool,
    name: String,
}

/// A wait, as it is now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Now<'e> {
    edge: &'e Edge,
    /// The call has not begun.
    stuck: bool,
}

/// The path of a round of waits that `start` closes, if it does.
fn round<'e>(start: Now<'e>, all: &[Now<'e>]) -> Option<Vec<Now<'e>>> {
    let mut stack = vec![vec![start]];
    let mut seen: Vec<Now<'_>> = Vec::new();
    while let Some(path) = stack.pop() {
        let last = *path.last()?;
        for next in all.iter().copied().filter(|next| last.is_for(next.edge)) {
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

/// A round, from the wait that is to be told on: of those it goes through the first that is for a call that has not begun.
fn from_told(mut round: Vec<Now<'_>>) -> Vec<Now<'_>> {
    // There is one: calls that have begun are of handlers that those of before have called, and so on without end.
    let told = round.iter().position(|now| now.stuck).unwrap_or(0);
    round.rotate_left(told);
    round
}

impl Waits {
    /// What came over one link comes over another from now on.
    pub(super) fn moved(&mut self, from: LinkId, to: LinkId) {
        let edges = self.0.values_mut().map(|waiting| &mut waiting.edge);
        edges
            .filter(|edge| edge.link == from)
            .for_each(|edge| edge.link = to);
    }
}

impl Now<'_> {
    /// Whether this wait cannot end before that one does.
    fn is_for(&self, other: &Edge) -> bool {
        match self.stuck {
            true => self.edge.to == other.from && (self.edge.exclusive || other.holds),
            false => other.within == (self.edge.link, self.edge.number),
        }
    }
}

impl Host {
    /// A call that was made within a message of a child has waited for a while.
    pub(super) fn waits(&mut self, by: Option<ChildId>, wait: Wait, context: Context, reply: Reply) {
        let to = self.find_any(&wait.target, context).ok();
        let (Some(from), Some(to)) = (by, to) else {
            return reply.answer(Ok(Answer::Done));
        };
        let Wait {
            wait,
            link,
            number,
            target: _,
            within,
            exclusive,
            holds,
            name,
        } = wait;
        let edge = Edge {
            from,
            to,
            link,
            number,
            within,
            exclusive,
            holds,
            name,
        };
        let key = (by, wait);
        self.waits.0.insert(key, Waiting { edge, reply });
        let all: Vec<_> = self.waits.0.values().map(|waiting| self.now(waiting)).collect();
        let Some(path) = round(self.now(&self.waits.0[&key]), &all).map(from_told) else {
            return;
        };
        let names = path.iter().chain([&path[0]]).map(|now| now.edge.name.clone());
        let cycle = Answer::Cycle(names.collect());
        let mut waits = self.waits.0.iter();
        let told = waits.find(|(_, waiting)| std::ptr::eq(&waiting.edge, path[0].edge));
        if let Some(waiting) = told
            .map(|(key, _)| *key)
            .and_then(|key| self.waits.0.remove(&key))
        {
            waiting.reply.answer(Ok(cycle));
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

    fn now<'e>(&self, Waiting { edge, .. }: &'e Waiting) -> Now<'e> {
        let stuck = self.is_stuck(edge);
        Now { edge, stuck }
    }

    /// Whether a wait is one for a call that has not begun. One whose link is gone has not, or is about to be told.
    fn is_stuck(&self, edge: &Edge) -> bool {
        let begun = self.links.get(&edge.link).and_then(|link| {
            let life = self.process(edge.to)?.life.as_ref()?;
            Some(link.begun(life))
        });
        begun.is_none_or(|begun| begun < edge.number)
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
            within: (LinkId(0), 0),
            exclusive,
            holds,
            name: format!("{from}"),
        }
    }

    fn closes(edges: &[Edge]) -> bool {
        closes_where(edges, |_| true)
    }

    fn closes_where(edges: &[Edge], stuck: impl Fn(&Edge) -> bool) -> bool {
        let now = |edge| Now {
            edge,
            stuck: stuck(edge),
        };
        let all: Vec<_> = edges.iter().map(now).collect();
        round(all[all.len() - 1], &all).is_some()
    }

    #[test]
    fn a_round_that_goes_through_calls_that_run_is_found() {
        // The first waits for its own call to the second, which waits for the third, where the first is called.
        let runs = edge(1, 2, true, true);
        let its = Edge {
            within: (runs.link, runs.number),
            ..edge(2, 3, true, true)
        };
        let edges = [runs.clone(), its, edge(3, 1, true, true)];
        assert!(closes_where(&edges, |edge| *edge != runs));
        // Whichever closes it, the call that runs is not ended.
        let all = edges.each_ref().map(|edge| Now {
            edge,
            stuck: *edge != runs,
        });
        let told = all.map(|closing| from_told(round(closing, &all).unwrap())[0].edge);
        assert_eq!(told, [&edges[1], &edges[1], &edges[2]]);
        // Another message of the second waits there: the first does not wait for that.
        let other = Edge {
            within: (runs.link, 2),
            ..edges[1].clone()
        };
        assert!(!closes_where(
            &[runs.clone(), other, edges[2].clone()],
            |edge| *edge != runs
        ));
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
