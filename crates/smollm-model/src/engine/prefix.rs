//! What prompts have in common.

use std::collections::VecDeque;

/// A common beginning shorter than this is computed again: copying it saves less than waiting for it costs.
pub(super) const WORTH_SHARING: usize = 8;

/// Answers that ended stay for this many more, so that a conversation's next turn finds its beginning.
const KEPT: usize = 4;

/// How many tokens `a` and `b` begin with in common.
pub(super) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Prompts of answers that ended, with what the decoder remembers of them.
#[derive(Debug)]
pub(super) struct Prefixes<C> {
    kept: VecDeque<Kept<C>>,
}

#[derive(Debug)]
struct Kept<C> {
    adapter: Option<usize>,
    prompt: Vec<u32>,
    cache: C,
}

impl<C> Default for Prefixes<C> {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
        }
    }
}

impl<C> Prefixes<C> {
    /// Keeps the cache of an answer that ended; `prompt` is the part of its prompt that was read. The oldest goes.
    pub(super) fn keep(&mut self, adapter: Option<usize>, prompt: Vec<u32>, cache: C) {
        // One that begins a newer one is of no more use than that.
        self.kept
            .retain(|old| old.adapter != adapter || !prompt.starts_with(&old.prompt));
        self.kept.push_back(Kept {
            adapter,
            prompt,
            cache,
        });
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// The cache that shares most with `wanted`, and how many tokens.
    pub(super) fn best(&self, adapter: Option<usize>, wanted: &[u32]) -> Option<(&C, usize)> {
        let same = self.kept.iter().filter(|kept| kept.adapter == adapter);
        same.map(|kept| (&kept.cache, shared(&kept.prompt, wanted)))
            .max_by_key(|(_, tokens)| *tokens)
    }
}
