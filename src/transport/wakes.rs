//! Waking tasks only after a lock is released.
//!
//! A wake under the lock could deadlock: it may drop a cancelled task on some executors, and dropping the
//! future of `Transport::run` takes the same lock again.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Tasks to be woken.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    /// Nearly always there is one; it costs no allocation.
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakes {
    pub(super) fn add(&mut self, task: Waker) {
        match &self.first {
            None => self.first = Some(task),
            Some(first) if first.will_wake(&task) => {}
            Some(_) => self.more.push(task),
        }
    }

    #[cfg(feature = "test-util")]
    pub(super) fn append(&mut self, other: Self) {
        other.first.into_iter().chain(other.more).for_each(|task| self.add(task));
    }

    fn wake(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

/// What collects tasks to be woken while it is locked.
pub(super) trait Wakeful {
    fn take_wakes(&mut self) -> Wakes;
}

/// A locked value; who has to be woken is woken when the lock is gone.
pub(super) struct Locked<'a, T: Wakeful> {
    guard: MutexGuard<'a, T>,
    wakes: WakeLast,
}

/// Dropped after the lock: fields are dropped in the order in which they are declared.
#[derive(Default)]
struct WakeLast(Wakes);

impl Drop for WakeLast {
    fn drop(&mut self) {
        std::mem::take(&mut self.0).wake();
    }
}

impl<'a, T: Wakeful> Locked<'a, T> {
    /// Locks, also after a panic: every change is complete before anything that could panic.
    pub(super) fn new(mutex: &'a Mutex<T>) -> Self {
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        Self { guard, wakes: WakeLast::default() }
    }
}

impl<T: Wakeful> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        self.wakes.0 = self.guard.take_wakes();
    }
}

impl<T: Wakeful> Deref for Locked<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: Wakeful> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
