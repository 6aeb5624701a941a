//! Ctrl-C: the first asks, the second insists.
//!
//! A stage that can stop at a safe point calls [`install`] once and then [`check`] (or
//! [`requested`]) between pieces of work. A stage that does not install it is ended by the system
//! at the first Ctrl-C, as any other program.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Exit, StageError};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

/// Starts listening. Safe to call more than once; only the first call has an effect.
pub fn install() {
    INSTALLED.call_once(|| {
        // If no handler can be set, Ctrl-C simply ends the process: nothing to report.
        let _ = ctrlc::set_handler(|| {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            crate::progress::say("stopping at the next safe point; Ctrl-C again stops at once");
        });
    });
}

/// Whether the user has asked to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error once the user has asked to stop; `resume` says how to go on later.
///
/// # Errors
/// [`Exit::Interrupted`] after the first Ctrl-C.
pub fn check(resume: &str) -> Result<(), StageError> {
    if requested() {
        Err(StageError::interrupted(format!("interrupted; {resume}")))
    } else {
        Ok(())
    }
}
