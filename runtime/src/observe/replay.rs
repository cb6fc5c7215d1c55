//! The host's side: emits what children logged into the host's subscriber, as if it happened here.
//!
//! One [`Replay`] belongs to the relay thread. An event keeps the child's target, level, fields, file and
//! line, and gets two fields more, `child` and `pid`. The spans around it are made in the host's
//! subscriber, entered while it is emitted, and kept until the child says that they closed or
//! [`Replay::forget`] says that it ended, so that a subscriber which times or counts spans sees each of
//! them once. The host's filter has the last word on events and spans, each time.
//!
//! Bytes from a child are input: what does not decode is ignored, with one warning for each process.
//! What one child can make the host keep is bounded ([`MOST_SPANS`], and the bounds of
//! [`callsite`](super::callsite)); beyond it, spans are made anew for each event. A subscriber that
//! panics costs the event it was on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Event, Metadata};

use super::callsite::{Interner, Shape, Site};
use super::record::{self, Callsite, Malformed, Record, Values};
use super::stand_in::{self, Whose};
use super::values::{self, Slots};

/// The open spans of one process that are kept.
const MOST_SPANS: usize = 16_384;

#[derive(Debug)]
pub(crate) struct Replay {
    interner: Interner,
    processes: HashMap<u32, Process>,
    whose: Whose,
}

#[derive(Debug, Default)]
struct Process {
    spans: HashMap<u64, Kept>,
    warned: bool,
}

thread_local! {
    /// The state of the relay thread.
    static REPLAY: RefCell<Replay> = {
        super::setup::adopt_thread();
        RefCell::new(Replay::new())
    };
}

/// Takes one record of a process, on the relay thread; an empty one says that the process is gone.
pub(crate) fn sink(pid: i32, record: &[u8]) {
    let pid = pid.unsigned_abs();
    REPLAY.with_borrow_mut(|replay| match record {
        [] => replay.forget(pid),
        record => replay.replay(pid, record),
    });
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self {
            interner: Interner::new(),
            processes: HashMap::new(),
            whose: Whose::Library,
        }
    }

    /// Emits one record of process `pid`.
    pub(crate) fn replay(&mut self, pid: u32, record: &[u8]) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.read(pid, record)));
        if let Ok(Err(why)) = outcome {
            self.warn_once(pid, &why);
        }
    }

    /// Closes what process `pid` left open. To be called once its last record was replayed: its pid may
    /// return as another process.
    pub(crate) fn forget(&mut self, pid: u32) {
        let process = self.processes.remove(&pid);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(process)));
    }

    fn read(&mut self, pid: u32, record: &[u8]) -> Result<(), Malformed> {
        match record::decode(record)? {
            Record::Event(event) => self.event(pid, &event),
            Record::Closed { span } => self.close(pid, span),
        }
        Ok(())
    }

    fn event(&mut self, pid: u32, event: &record::Event<'_>) {
        // Before the subscriber is entered: a new callsite is shown to the subscribers.
        let site = self.interner.site(Shape::Event, &event.callsite);
        let spans = event.spans.iter();
        let spans: Vec<_> = spans
            .map(|span| (self.interner.site(Shape::Span, &span.callsite), span))
            .collect();
        stand_in::with_current(|dispatch, whose| {
            self.keep_for(whose);
            let process = self.processes.entry(pid).or_default();
            let scope = process.enter(dispatch, &spans);
            emit(dispatch, site, scope.innermost(), pid, event);
        });
    }

    fn close(&mut self, pid: u32, span: u64) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.spans.remove(&span);
        }
    }

    /// Spans of one subscriber mean nothing to another.
    fn keep_for(&mut self, whose: Whose) {
        if self.whose != whose {
            self.whose = whose;
            self.processes
                .values_mut()
                .for_each(|process| process.spans.clear());
        }
    }

    fn warn_once(&mut self, pid: u32, why: &Malformed) {
        let process = self.processes.entry(pid).or_default();
        if !std::mem::replace(&mut process.warned, true) {
            tracing::warn!(pid, %why, "a child sent what is no log record: ignored, like any more of them");
        }
    }
}

impl Process {
    /// Enters the host's spans for these of the child, which are made or brought up to date first.
    fn enter(&mut self, dispatch: &Dispatch, spans: &[(Site, &record::Span<'_>)]) -> Scope {
        let mut scope = Scope::default();
        for (site, span) in spans {
            if let Some(open) = self.open(dispatch, *site, span, scope.innermost()) {
                scope.enter(open);
            }
        }
        scope
    }

    /// `None` if the host's filter drops the span.
    fn open(
        &mut self,
        dispatch: &Dispatch,
        site: Site,
        span: &record::Span<'_>,
        parent: Option<Id>,
    ) -> Option<Arc<Open>> {
        if let Some(kept) = self.spans.get_mut(&span.id)
            && std::ptr::eq(kept.open.metadata, site.metadata())
        {
            kept.update(site, span);
            return Some(Arc::clone(&kept.open));
        }
        if !dispatch.enabled(site.metadata()) {
            return None;
        }
        let open = Arc::new(Open::new(dispatch, site, span, parent));
        if self.spans.len() < MOST_SPANS {
            let kept = Kept {
                open: Arc::clone(&open),
                values: span.values.clone(),
            };
            self.spans.insert(span.id, kept);
        }
        Some(open)
    }
}

/// A child's span that will be named again.
#[derive(Debug)]
struct Kept {
    open: Arc<Open>,
    values: Values,
}

impl Kept {
    fn update(&mut self, site: Site, span: &record::Span<'_>) {
        let changes = self.values.changes(&span.values);
        if !changes.is_empty() {
            self.open.record(site, &span.callsite, &changes);
            self.values.merge(changes);
        }
    }
}

/// A span in the host's subscriber, which closes when this is dropped.
#[derive(Debug)]
struct Open {
    dispatch: Dispatch,
    id: Id,
    metadata: &'static Metadata<'static>,
}

impl Open {
    fn new(dispatch: &Dispatch, site: Site, span: &record::Span<'_>, parent: Option<Id>) -> Self {
        let metadata = site.metadata();
        let slots = slots(site, &span.callsite, &span.values);
        let id = values::with_set(metadata.fields(), &slots, |set| {
            dispatch.new_span(&match parent {
                Some(parent) => Attributes::child_of(parent, metadata, set),
                None => Attributes::new_root(metadata, set),
            })
        });
        Self {
            dispatch: dispatch.clone(),
            id,
            metadata,
        }
    }

    fn record(&self, site: Site, callsite: &Callsite<'_>, changes: &Values) {
        let slots = slots(site, callsite, changes);
        values::with_set(self.metadata.fields(), &slots, |set| {
            self.dispatch.record(&self.id, &tracing::span::Record::new(set));
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.dispatch.try_close(self.id.clone());
    }
}

/// The spans that this thread is in for the time of one event, outermost first.
#[derive(Default)]
struct Scope(Vec<Arc<Open>>);

impl Scope {
    fn enter(&mut self, open: Arc<Open>) {
        open.dispatch.enter(&open.id);
        self.0.push(open);
    }

    fn innermost(&self) -> Option<Id> {
        self.0.last().map(|open| open.id.clone())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        while let Some(open) = self.0.pop() {
            open.dispatch.exit(&open.id);
        }
    }
}

fn emit(dispatch: &Dispatch, site: Site, parent: Option<Id>, pid: u32, event: &record::Event<'_>) {
    let metadata = site.metadata();
    if !dispatch.enabled(metadata) {
        return;
    }
    let mut slots = slots(site, &event.callsite, &event.values);
    let n_own = metadata.fields().len() - 2;
    slots.push((n_own, Box::new(tracing::field::display(event.child))));
    slots.push((n_own + 1, Box::new(pid)));
    values::with_set(metadata.fields(), &slots, |set| {
        dispatch.event(&Event::new_child_of(parent.clone(), metadata, set));
    });
}

fn slots<'a>(site: Site, callsite: &Callsite<'_>, values: &'a Values) -> Slots<'a> {
    match site {
        Site::Own(_) => values::slots(values),
        Site::Plain(_) => values::plain_slots(callsite, values),
    }
}

#[cfg(test)]
mod tests;
