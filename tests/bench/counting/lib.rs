//! A global allocator that counts what is asked of the one behind it, for measurements.
//!
//! It is a crate of its own because the others forbid `unsafe`, without which there is no allocator. Each call is handed
//! on as it is.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The allocator `A`, which is counted while somebody wants to know; otherwise that costs one look at a flag.
#[derive(Debug)]
pub struct Counting<A> {
    behind: A,
    is_counting: AtomicBool,
    allocations: AtomicU64,
    bytes: AtomicU64,
}

/// What was asked of an allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Allocations, and changes of the size of one.
    pub allocations: u64,
    /// Their bytes; of a change those that it adds.
    pub bytes: u64,
}

impl<A> Counting<A> {
    /// Counts nothing yet.
    pub const fn new(behind: A) -> Self {
        Self {
            behind,
            is_counting: AtomicBool::new(false),
            allocations: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Runs `work`, and tells what all threads asked for meanwhile. Whoever counts at the same time gets wrong counts.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> (Asked, T) {
        self.allocations.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.is_counting.store(true, Ordering::SeqCst);
        let answer = work();
        self.is_counting.store(false, Ordering::SeqCst);
        let asked = Asked {
            allocations: self.allocations.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        };
        (asked, answer)
    }

    fn count(&self, bytes: usize) {
        if self.is_counting.load(Ordering::Relaxed) {
            self.allocations.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "the trait is unsafe; what is asked goes on unchanged")]
// SAFETY: every call goes to `A`, which keeps the contract, with the arguments that the caller vouches for.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's.
        unsafe { self.behind.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's.
        unsafe { self.behind.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size.saturating_sub(layout.size()));
        // SAFETY: the caller's.
        unsafe { self.behind.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { self.behind.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "an allocator is asked directly")]
    fn what_is_asked_for_is_counted_while_it_is_wanted() {
        let counting = Counting::new(System);
        let layout = Layout::array::<u64>(4).expect("32 bytes");
        let ask = || {
            // SAFETY: each block is given back with the layout that it has by then.
            unsafe {
                let block = counting.alloc(layout);
                let block = counting.realloc(block, layout, 64);
                let grown = Layout::array::<u64>(8).expect("64 bytes");
                counting.dealloc(block, grown);
                counting.dealloc(counting.alloc_zeroed(layout), layout);
            }
        };
        ask();
        assert_eq!(counting.during(ask).0, Asked { allocations: 3, bytes: 96 });
        ask();
        assert_eq!(counting.during(|| 7), (Asked::default(), 7));
    }
}
