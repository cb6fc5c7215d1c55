//! A subscriber that serves until the program sets one of its own, and never stands in its way.
//!
//! The global default can be set once, and `tracing_subscriber::fmt::init()` panics if it was. So the
//! library's subscriber is not the global default: a [`StandIn`] is the *scoped* default of each thread
//! that the library runs ([`adopt_thread`]), and hands everything on to the library's subscriber or, from
//! the moment that the program sets a global default, to that. A subscriber that the program scopes to a
//! thread or a future lies above the stand-in and needs no help.
//!
//! # How a global default is noticed
//!
//! While a scoped default is set, `tracing` tells a thread neither what the global one is nor whether
//! there is one. But to make a `Dispatch`, which comes before setting it, asks every living subscriber for
//! its level: from then on the stand-in is *in doubt*, and looks from a fresh thread, which has no scoped
//! default, before each event, until it finds one. A look costs a thread, so after a second of doubt there
//! is one in ten milliseconds; a program that makes a subscriber, and sets it globally only after more
//! than a second, may be heard by the library's for that much longer.
//!
//! # Threads of the program's own
//!
//! A thread that the program started itself has no scoped default, so nothing arrives from it. When such a
//! thread meets a callsite for the first time in this process, `tracing` shows it to the stand-in; that is
//! the moment for the stand-in to take the global default, and with it all threads. Until then the place
//! stays free. What is still lost: what such a thread logs from callsites that an adopted thread met
//! earlier, before it meets one of its own.
//!
//! # Spans
//!
//! A span stays with the subscriber that it began in. Ids of two subscribers may be equal, so the stand-in
//! gives out its own and keeps, for each, the subscriber and that one's id.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::dispatcher::{self, DefaultGuard, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, NoSubscriber, Subscriber};
use tracing::{Event, Metadata};
use tracing_core::span::Current;

use super::record::Values;
use super::values;

static INSTALLED: OnceLock<Dispatch> = OnceLock::new();

thread_local! {
    static ADOPTED: Cell<bool> = const { Cell::new(false) };
    static GUARD: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
    /// The stand-in's spans that this thread is in.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// Whose subscriber hears what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Library,
    Program,
}

/// Installs the library's subscriber for this process and adopts the calling thread, unless a subscriber
/// is set already. Returns whether it did.
pub(super) fn install(ours: impl FnOnce() -> Dispatch) -> bool {
    if !dispatcher::get_default(|current| current.is::<NoSubscriber>()) {
        return false;
    }
    ADOPTED.set(true);
    INSTALLED.get_or_init(|| Dispatch::new(StandIn::new(ours())));
    adopt_thread();
    true
}

/// Registers what is dropped with a thread, so that the children of this process need not.
pub(super) fn prepare() {
    drop(dispatcher::set_default(&Dispatch::none()));
    GUARD.set(None);
}

/// See [`setup::adopt_thread`](super::setup::adopt_thread).
pub(super) fn adopt_thread() {
    ADOPTED.set(true);
    let Some((dispatch, stand_in)) = installed() else {
        return;
    };
    if stand_in.program().is_none() && GUARD.with_borrow(Option::is_none) {
        let guard = dispatcher::set_default(dispatch);
        GUARD.set(Some(guard));
    }
}

/// See [`setup::step_aside`](super::setup::step_aside).
pub(super) fn step_aside() {
    let program = installed().and_then(|(_, stand_in)| stand_in.program());
    if program.is_some() {
        // The guard takes effect outside of the borrow: dropping it may log.
        drop(GUARD.take());
    }
}

/// Calls `then` with the subscriber that hears this thread.
pub(super) fn with_current<T>(mut then: impl FnMut(&Dispatch, Whose) -> T) -> T {
    dispatcher::get_default(|current| {
        if !current.is::<NoSubscriber>() && !current.is::<StandIn>() {
            return then(current, Whose::Program);
        }
        match installed() {
            Some((_, stand_in)) => {
                let (dispatch, whose) = stand_in.current();
                then(dispatch, whose)
            }
            None => then(current, Whose::Program),
        }
    })
}

fn installed() -> Option<(&'static Dispatch, &'static StandIn)> {
    let dispatch = INSTALLED.get()?;
    Some((dispatch, dispatch.downcast_ref()?))
}

struct StandIn {
    library: Dispatch,
    program: OnceLock<Dispatch>,
    doubt: Mutex<Option<Doubt>>,
    in_doubt: AtomicBool,
    /// The first `Dispatch` that asks the stand-in for its level is its own.
    made: AtomicBool,
    holds_global: AtomicBool,
    met: Mutex<HashSet<Identifier>>,
    spans: [Mutex<HashMap<u64, Slot>>; N_SHARDS],
    next_span: AtomicU64,
}

const N_SHARDS: usize = 16;

/// Somebody has made a `Dispatch`, which may become the global default.
struct Doubt {
    since: Instant,
    looked: Instant,
}

impl Doubt {
    fn should_look(&mut self, now: Instant) -> bool {
        let fresh = now.duration_since(self.since) < Duration::from_secs(1);
        let look = fresh || now.duration_since(self.looked) >= Duration::from_millis(10);
        if look {
            self.looked = now;
        }
        look
    }
}

/// Where a span really is.
#[derive(Clone)]
struct Slot {
    dispatch: Dispatch,
    whose: Whose,
    id: Id,
    metadata: &'static Metadata<'static>,
}

impl StandIn {
    fn new(library: Dispatch) -> Self {
        Self {
            library,
            program: OnceLock::new(),
            doubt: Mutex::default(),
            in_doubt: AtomicBool::new(false),
            made: AtomicBool::new(false),
            holds_global: AtomicBool::new(false),
            met: Mutex::default(),
            spans: Default::default(),
            next_span: AtomicU64::new(1),
        }
    }

    fn current(&self) -> (&Dispatch, Whose) {
        match self.program() {
            Some(dispatch) => (dispatch, Whose::Program),
            None => (&self.library, Whose::Library),
        }
    }

    /// The global default that the program has set, if it did.
    fn program(&self) -> Option<&Dispatch> {
        let known = self.program.get();
        if known.is_some() || !self.in_doubt() {
            return known;
        }
        if !self.should_look(Instant::now()) {
            return None;
        }
        let found = look()?;
        Some(self.program.get_or_init(|| found))
    }

    fn should_look(&self, now: Instant) -> bool {
        lock(&self.doubt)
            .as_mut()
            .is_some_and(|doubt| doubt.should_look(now))
    }

    fn begin_doubt(&self, now: Instant) {
        *lock(&self.doubt) = Some(Doubt {
            since: now,
            looked: now,
        });
        self.in_doubt.store(true, Ordering::Release);
    }

    fn in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire) && !self.holds_global.load(Ordering::Acquire)
    }

    /// A thread that nobody adopted has met `metadata`: take the global default, if it is free.
    fn take_global(&self) {
        if self.in_doubt() || self.program.get().is_some() {
            return;
        }
        if let Some(dispatch) = INSTALLED.get()
            && dispatcher::set_global_default(dispatch.clone()).is_ok()
        {
            self.holds_global.store(true, Ordering::Release);
        }
    }

    fn meets(&self, metadata: &'static Metadata<'static>) -> bool {
        lock(&self.met).insert(metadata.callsite())
    }

    fn keep(&self, slot: Slot) -> Id {
        let id = Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed));
        lock(self.shard(&id)).insert(id.into_u64(), slot);
        id
    }

    /// A copy, as no lock is held while a subscriber runs.
    fn slot(&self, id: &Id) -> Option<Slot> {
        lock(self.shard(id)).get(&id.into_u64()).cloned()
    }

    fn shard(&self, id: &Id) -> &Mutex<HashMap<u64, Slot>> {
        &self.spans[id.into_u64() as usize % N_SHARDS]
    }

    /// The id by which the subscriber that is current knows the span; none if the span is not in it.
    fn translated(&self, id: &Id, whose: Whose) -> Option<Id> {
        self.slot(id)
            .filter(|slot| slot.whose == whose)
            .map(|slot| slot.id)
    }
}

impl Subscriber for StandIn {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = self.library.register_callsite(metadata);
        // A callsite is shown again whenever a `Dispatch` is made, by whatever thread makes it.
        if self.meets(metadata) && !ADOPTED.get() && !interest.is_never() {
            self.take_global();
        }
        interest
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        if self.made.swap(true, Ordering::AcqRel) {
            self.begin_doubt(Instant::now());
        }
        // The library's subscriber is asked too, by itself.
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.current().0.enabled(metadata)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let (dispatch, whose) = self.current();
        let (metadata, set) = (attributes.metadata(), attributes.values());
        let parent = attributes.parent().map(|parent| self.translated(parent, whose));
        let id = match parent {
            None => dispatch.new_span(attributes),
            Some(None) => dispatch.new_span(&Attributes::new_root(metadata, set)),
            Some(Some(parent)) => dispatch.new_span(&Attributes::child_of(parent, metadata, set)),
        };
        self.keep(Slot {
            dispatch: dispatch.clone(),
            whose,
            id,
            metadata,
        })
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(slot) = self.slot(span) {
            slot.dispatch.record(&slot.id, values);
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        if let Some(slot) = self.slot(span)
            && let Some(follows) = self.translated(follows, slot.whose)
        {
            slot.dispatch.record_follows_from(&slot.id, &follows);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let (dispatch, whose) = self.current();
        let Some(parent) = event.parent() else {
            return dispatch.event(event);
        };
        // An event cannot be given another parent: make it again.
        let metadata = event.metadata();
        let recorded = Values::take(|visitor| event.record(visitor));
        values::with_set(metadata.fields(), &values::slots(&recorded), |set| {
            let parent = self.translated(parent, whose);
            dispatch.event(&Event::new_child_of(parent, metadata, set));
        });
    }

    fn enter(&self, span: &Id) {
        if let Some(slot) = self.slot(span) {
            slot.dispatch.enter(&slot.id);
            ENTERED.with_borrow_mut(|entered| entered.push(span.clone()));
        }
    }

    fn exit(&self, span: &Id) {
        if let Some(slot) = self.slot(span) {
            slot.dispatch.exit(&slot.id);
            ENTERED.with_borrow_mut(|entered| {
                if let Some(last) = entered.iter().rposition(|id| id == span) {
                    entered.remove(last);
                }
            });
        }
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(slot) = self.slot(span) {
            let id = slot.dispatch.clone_span(&slot.id);
            if id != slot.id {
                return self.keep(Slot { id, ..slot });
            }
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let closed = self
            .slot(&span)
            .is_some_and(|slot| slot.dispatch.try_close(slot.id));
        if closed {
            lock(self.shard(&span)).remove(&span.into_u64());
        }
        closed
    }

    fn current_span(&self) -> Current {
        let innermost = ENTERED.with_borrow(|entered| entered.last().cloned());
        let found = innermost.and_then(|id| self.slot(&id).map(|slot| (id, slot.metadata)));
        found.map_or_else(Current::none, |(id, metadata)| Current::new(id, metadata))
    }
}

/// What a thread without a scoped default sees.
fn look() -> Option<Dispatch> {
    let looker = thread::Builder::new()
        .name("procession-look".into())
        .stack_size(64 << 10);
    let looker = looker.spawn(|| dispatcher::get_default(Dispatch::clone)).ok()?;
    let found = looker.join().ok()?;
    (!found.is::<NoSubscriber>() && !found.is::<StandIn>()).then_some(found)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
