//! What a process has one of: values that live as long as it does, tasks beside its others, the clock.
//!
//! In a program each is what it looks like: a static, a task of the runtime, the kernel's clock. The simulation (`sim`)
//! runs many processes in one thread, on a clock of its own; there each is that of the process whose code runs. No other
//! file knows of the difference.

use crate::crash::Point;
use std::future::Future;
use std::sync::OnceLock;
use tokio::runtime;
use tokio::task::AbortHandle;

#[cfg(test)]
pub(crate) use simulated::{World, enter};

/// A value of which each process has one, made once, for good.
#[derive(Debug)]
pub(crate) struct Local<T>(OnceLock<T>);

impl<T: 'static> Local<T> {
    pub(crate) const fn new() -> Self {
        Local(OnceLock::new())
    }

    pub(crate) fn get(&'static self) -> Option<&'static T> {
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            return simulated::get(&*world, self);
        }
        self.0.get()
    }

    pub(crate) fn get_or_init(&'static self, make: impl FnOnce() -> T) -> &'static T {
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            return match simulated::get(&*world, self) {
                Some(value) => value,
                None => simulated::set(&*world, self, make()),
            };
        }
        self.0.get_or_init(make)
    }

    /// Gives it back where there is one already.
    pub(crate) fn set(&'static self, value: T) -> Result<(), T> {
        #[cfg(test)]
        if let Some(world) = simulated::world() {
            return match simulated::get(&*world, self) {
                Some(_) => Err(value),
                None => {
                    simulated::set(&*world, self, value);
                    Ok(())
                }
            };
        }
        self.0.set(value)
    }
}

/// A runtime of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RuntimeId {
    runtime: runtime::Id,
    #[cfg(test)]
    process: usize,
}

impl RuntimeId {
    pub(crate) fn of(runtime: &runtime::Handle) -> Self {
        RuntimeId {
            runtime: runtime.id(),
            #[cfg(test)]
            process: simulated::world().map_or(0, |world| world.process()),
        }
    }
}

/// A task that was spawned on this thread.
#[derive(Debug)]
pub(crate) struct Task(Kind);

#[derive(Debug)]
enum Kind {
    Real(AbortHandle),
    #[cfg(test)]
    Simulated(std::rc::Rc<dyn World>, u64),
}

impl Task {
    /// Drops it where it stands.
    pub(crate) fn abort(&self) {
        match &self.0 {
            Kind::Real(task) => task.abort(),
            #[cfg(test)]
            Kind::Simulated(world, task) => world.abort(*task),
        }
    }
}

/// Runs a future beside the others of the current runtime.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        world.spawn(Box::pin(future));
        return;
    }
    tokio::spawn(future);
}

/// Runs a future beside the others of this thread.
pub(crate) fn spawn_local(future: impl Future<Output = ()> + 'static) -> Task {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        let task = world.spawn(Box::pin(future));
        return Task(Kind::Simulated(world, task));
    }
    Task(Kind::Real(tokio::task::spawn_local(future).abort_handle()))
}

/// The time, in nanoseconds, where it is not the kernel's.
#[inline]
pub(crate) fn virtual_time() -> Option<u64> {
    #[cfg(test)]
    return simulated::world().map(|world| world.time());
    #[cfg(not(test))]
    None
}

/// The process is at that place.
#[inline]
pub(crate) fn at(point: Point) {
    #[cfg(test)]
    if let Some(world) = simulated::world() {
        world.at(point);
    }
    #[cfg(not(test))]
    let _ = point;
}

/// Something that came with the message of that number, where what comes is no descriptors.
#[inline]
pub(crate) fn came_with<T: 'static>(number: u64) -> Option<T> {
    #[cfg(test)]
    return simulated::world()?
        .came_with(number)?
        .downcast()
        .ok()
        .map(|came| *came);
    #[cfg(not(test))]
    {
        let _ = number;
        None
    }
}

#[cfg(test)]
mod simulated {
    use super::{Local, Point};
    use futures::future::LocalBoxFuture;
    use std::any::Any;
    use std::cell::RefCell;
    use std::fmt::Debug;
    use std::rc::Rc;

    /// What the simulation of a thread knows of the process whose code runs.
    pub(crate) trait World: Debug {
        fn process(&self) -> usize;
        fn get(&self, key: usize) -> Option<&'static dyn Any>;
        fn set(&self, key: usize, value: &'static dyn Any);
        fn spawn(&self, future: LocalBoxFuture<'static, ()>) -> u64;
        fn abort(&self, task: u64);
        fn time(&self) -> u64;
        fn at(&self, point: Point);
        fn came_with(&self, number: u64) -> Option<Box<dyn Any>>;
    }

    thread_local! {
        static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
    }

    pub(super) fn world() -> Option<Rc<dyn World>> {
        WORLD.try_with(|world| world.borrow().clone()).ok().flatten()
    }

    /// From here on this thread is in that world, or in none.
    pub(crate) fn enter(world: Option<Rc<dyn World>>) {
        WORLD.set(world);
    }

    pub(super) fn get<T: 'static>(world: &dyn World, local: &'static Local<T>) -> Option<&'static T> {
        world.get(key(local))?.downcast_ref()
    }

    pub(super) fn set<T: 'static>(world: &dyn World, local: &'static Local<T>, value: T) -> &'static T {
        let value: &'static T = Box::leak(Box::new(value));
        world.set(key(local), value);
        value
    }

    fn key<T>(local: &'static Local<T>) -> usize {
        std::ptr::from_ref(local) as usize
    }
}
