//! The paged cache of keys and values: who holds which page.
//!
//! A page has room for 64 tokens in every layer. Complete pages never change, so sequences that begin alike share them;
//! an incomplete one is copied before the first token is added to it.

use std::sync::{Arc, Mutex, PoisonError};

/// Tokens of a page.
pub(super) const PAGE_TOKENS: usize = 64;

/// Numbers of pages: those given back, and how many there ever were.
#[derive(Debug, Default)]
struct Numbers {
    free: Vec<u32>,
    count: u32,
}

/// Gives out pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<Numbers>>);

/// A page that somebody holds.
#[derive(Debug)]
pub(super) struct Page {
    number: u32,
    pool: Pool,
}

impl Pool {
    /// A page that nobody holds.
    pub(super) fn take(&self) -> Page {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.free.pop().unwrap_or_else(|| {
            numbers.count += 1;
            numbers.count - 1
        });
        drop(numbers);
        Page {
            number,
            pool: self.clone(),
        }
    }

    /// How many pages there must be room for when `more` have been taken.
    pub(super) fn count_with(&self, more: usize) -> usize {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.count as usize + more.saturating_sub(numbers.free.len())
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut numbers = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.free.push(self.number);
    }
}

/// What a [`super::DeviceLlama`] remembers of one sequence.
#[derive(Debug, Default)]
pub struct DeviceCache {
    pages: Vec<Arc<Page>>,
    tokens: usize,
    /// The page whose beginning belongs to this sequence, to be copied when a token is added.
    begun: Option<Arc<Page>>,
}

impl DeviceCache {
    /// Tokens remembered.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The numbers of its pages, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.pages.iter().map(|page| page.number)
    }

    /// The first `tokens` of it.
    pub(super) fn prefix(&self, tokens: usize) -> Self {
        let tokens = tokens.min(self.tokens);
        let whole = tokens / PAGE_TOKENS;
        let rest = (!tokens.is_multiple_of(PAGE_TOKENS))
            .then(|| self.pages.get(whole).or(self.begun.as_ref()));
        Self {
            pages: self.pages[..whole].to_vec(),
            tokens,
            begun: rest.flatten().cloned(),
        }
    }

    /// Whether all that it remembers is in pages of `pool`.
    pub(super) fn belongs_to(&self, pool: &Pool) -> bool {
        let mut pages = self.pages.iter().chain(&self.begun);
        pages.all(|page| page.pool.is(pool))
    }

    /// Pages that have to be taken before `more` tokens are added.
    pub(super) fn missing(&self, more: usize) -> usize {
        let wanted = (self.tokens + more).div_ceil(PAGE_TOKENS);
        wanted.saturating_sub(self.pages.len())
    }

    /// Makes room for `more` tokens. Returns a copy that has to be made first, from one page to another.
    pub(super) fn reserve(&mut self, pool: &Pool, more: usize) -> Option<PageCopy> {
        let copy = self.begun.take().map(|from| {
            let to = pool.take();
            let copy = PageCopy {
                from,
                to: to.number,
            };
            self.pages.push(Arc::new(to));
            copy
        });
        for _ in 0..self.missing(more) {
            self.pages.push(Arc::new(pool.take()));
        }
        copy
    }

    /// Notes that `more` tokens have been added.
    pub(super) fn added(&mut self, more: usize) {
        self.tokens += more;
    }
}

/// A page whose contents another one needs; held until they are copied.
#[derive(Debug)]
pub(super) struct PageCopy {
    from: Arc<Page>,
    pub(super) to: u32,
}

impl PageCopy {
    pub(super) fn from(&self) -> u32 {
        self.from.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Pool, tokens: usize) -> DeviceCache {
        let mut cache = DeviceCache::default();
        assert!(cache.reserve(pool, tokens).is_none());
        cache.added(tokens);
        cache
    }

    #[test]
    fn complete_pages_are_shared_and_an_incomplete_one_is_copied() {
        let pool = Pool::default();
        let from = filled(&pool, 150);
        let mut to = from.prefix(140);
        assert_eq!((to.tokens(), to.numbers().count()), (140, 2));
        let copy = to.reserve(&pool, 1).unwrap();
        assert_eq!((copy.from(), copy.to), (2, 3));
        to.added(1);
        assert!(from.numbers().eq([0, 1, 2]) && to.numbers().eq([0, 1, 3]));
        assert!(to.reserve(&pool, 1).is_none(), "a page is copied once");
    }

    #[test]
    fn a_prefix_of_a_prefix_needs_no_page_of_its_own() {
        let pool = Pool::default();
        let from = filled(&pool, 100);
        let between = from.prefix(90);
        let mut to = between.prefix(80);
        drop((from, between));
        let copy = to.reserve(&pool, 1).unwrap();
        assert_eq!(copy.from(), 1, "the page is still held");
        assert_eq!(from_numbers(&to), [0, 2]);
    }

    fn from_numbers(cache: &DeviceCache) -> Vec<u32> {
        cache.numbers().collect()
    }

    #[test]
    fn pages_that_nobody_holds_are_given_out_again() {
        let pool = Pool::default();
        let first = filled(&pool, 200);
        let kept = first.prefix(64);
        drop(first);
        let second = filled(&pool, 190);
        assert_eq!(pool.count_with(0), 4);
        assert_eq!((second.missing(2), second.missing(3)), (0, 1));
        assert!(second.belongs_to(&pool) && !second.belongs_to(&Pool::default()));
        assert!(!second.numbers().any(|n| kept.numbers().any(|k| k == n)));
    }

    #[test]
    fn whole_pages_leave_nothing_to_copy() {
        let pool = Pool::default();
        let mut to = filled(&pool, 130).prefix(128);
        assert!(to.reserve(&pool, 3).is_none());
        assert_eq!(to.numbers().count(), 3);
    }
}
