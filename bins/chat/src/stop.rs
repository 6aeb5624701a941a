//! Ctrl-C stops an answer; where there is none to stop, it ends the program.

use std::sync::atomic::{AtomicBool, Ordering};

use stage::Exit;

static ANSWERING: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening.
pub(crate) fn install() {
    // If no handler can be set, Ctrl-C simply ends the program.
    let _ = ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if again || !ANSWERING.load(Ordering::SeqCst) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    });
}

/// Marks the time in which Ctrl-C stops an answer.
pub(crate) struct Answering;

impl Answering {
    pub(crate) fn begin() -> Self {
        REQUESTED.store(false, Ordering::SeqCst);
        ANSWERING.store(true, Ordering::SeqCst);
        Self
    }
}

/// Whether the answer is to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWERING.store(false, Ordering::SeqCst);
        REQUESTED.store(false, Ordering::SeqCst);
    }
}
