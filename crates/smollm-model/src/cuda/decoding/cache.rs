//! The memory of all pages.

use super::pages::{DeviceCache, PAGE_TOKENS, Pool};
use crate::ModelConfig;
use crate::cuda::{Element, KernelError, Machine, Memory};

/// Pages that there is room for at first.
const FIRST: usize = 64;

/// Keys and values of all sequences. In each layer, page `p` is `[key-value head][64 tokens][head_dim]`.
pub(super) struct Cache<'m> {
    machine: &'m dyn Machine,
    pool: Pool,
    layers: Vec<[Option<Memory<'m>>; 2]>,
    /// Bytes of a page in one layer, of keys or of values.
    page: usize,
    capacity: usize,
}

impl<'m> Cache<'m> {
    /// No pages yet.
    pub(super) fn new(machine: &'m dyn Machine, config: &ModelConfig, element: Element) -> Self {
        Self {
            machine,
            pool: Pool::default(),
            layers: (0..config.num_hidden_layers)
                .map(|_| [None, None])
                .collect(),
            page: config.key_value_width() * PAGE_TOKENS * element.bytes(),
            capacity: 0,
        }
    }

    /// Where a layer's keys and values begin.
    pub(super) fn layer(&self, layer: usize) -> [u64; 2] {
        let [keys, values] = &self.layers[layer];
        [keys, values].map(|memory| memory.as_ref().map_or(0, Memory::address))
    }

    /// Whether a sequence was read by the model that this is the memory of.
    pub(super) fn knows(&self, cache: &DeviceCache) -> bool {
        cache.belongs_to(&self.pool)
    }

    /// Makes room for `more` tokens of a sequence.
    ///
    /// # Errors
    /// If there is not enough memory; the sequence is as it was then.
    pub(super) fn reserve(
        &mut self,
        cache: &mut DeviceCache,
        more: usize,
    ) -> Result<(), KernelError> {
        self.grow(self.pool.count_with(cache.missing(more)))?;
        let Some(copy) = cache.reserve(&self.pool, more) else {
            return Ok(());
        };
        for memory in self.layers.iter().flatten().flatten() {
            let place = |number: u32| memory.address() + u64::from(number) * self.page as u64;
            // SAFETY: `grow` made room for every page that was given out; pages do not overlap.
            unsafe {
                self.machine
                    .copy(place(copy.to), place(copy.from()), self.page)?;
            }
        }
        Ok(())
    }

    /// Room for `wanted` pages, and a quarter more than there was where that can be had.
    fn grow(&mut self, wanted: usize) -> Result<(), KernelError> {
        if wanted <= self.capacity {
            return Ok(());
        }
        let ahead = wanted.max(self.capacity * 5 / 4).max(FIRST);
        let used = self.capacity * self.page;
        let mut capacity = ahead;
        for memory in self.layers.iter_mut().flatten() {
            let larger = Memory::new(self.machine, ahead * self.page)
                .or_else(|_| Memory::new(self.machine, wanted * self.page))?;
            if let Some(old) = memory.as_ref() {
                // SAFETY: both are at least as long.
                unsafe { self.machine.copy(larger.address(), old.address(), used)? };
            }
            capacity = capacity.min(larger.bytes() / self.page);
            *memory = Some(larger);
        }
        self.capacity = capacity;
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let all = self.layers.iter().flatten().flatten();
        all.map(Memory::bytes).sum()
    }
}
