//! What all tile products share: the configuration of the tile registers.

use std::arch::asm;

/// What `ldtilecfg` reads: rows and bytes in a row of each tile register.
#[repr(C, align(64))]
pub(crate) struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Rows and bytes in a row of the eight tiles.
    pub(crate) fn new(tiles: [(usize, usize); 8]) -> Self {
        let mut config = Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for (i, (rows, bytes)) in tiles.into_iter().enumerate() {
            config.row_bytes[i] = bytes as u16;
            config.rows[i] = rows as u8;
        }
        config
    }

    /// Makes the tile registers ready, and empty.
    ///
    /// # Safety
    /// The CPU must have AMX, the process may use it, and no tile have more than 16 rows of 64 bytes.
    /// [`release`] must follow in this thread.
    pub(crate) unsafe fn load(&self) {
        // SAFETY: the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, readonly)) }
    }
}

/// Gives the tile registers back, so that the system need not save them.
///
/// # Safety
/// As for [`Config::load`].
pub(crate) unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}
