//! Ctrl-C stops an answer; where there is none to stop, it ends the program, unless a person is there: at the prompt the
//! editor takes it, and one that comes a moment after an answer's end must not take the conversation with it.

use std::sync::atomic::{AtomicBool, Ordering};

use stage::Exit;

static ANSWERING: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// What a person is told who presses Ctrl-C where there is nothing to stop.
pub(crate) const HINT: &str = "(Ctrl-D or /exit ends)";

/// Starts listening.
pub(crate) fn install(person: bool) {
    // If no handler can be set, Ctrl-C simply ends the program.
    let _ = ctrlc::set_handler(move || {
        let answering = ANSWERING.load(Ordering::SeqCst);
        if person && !answering {
            crate::say(HINT);
        } else if !answering || REQUESTED.swap(true, Ordering::SeqCst) {
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
