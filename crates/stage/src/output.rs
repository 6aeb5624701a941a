//! Standard output: results only. What people read goes to standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::StageError;

static ASIDE: AtomicBool = AtomicBool::new(false);

/// Sends results to standard error from now on (`true`), or back to standard output (`false`).
///
/// For a program that runs several stages and has a result of its own.
pub fn results_aside(aside: bool) {
    ASIDE.store(aside, Ordering::SeqCst);
}

/// Prints one result line (a newline is added) and flushes.
///
/// A reader that has gone away (`smoltune evaluate … | head -1`) is no error: nobody is left to
/// tell. A full disk is one; `println!` would panic in both cases.
///
/// # Errors
/// [`crate::Exit::Failed`] when standard output cannot be written, other than a closed pipe.
pub fn emit(text: &str) -> Result<(), StageError> {
    if ASIDE.load(Ordering::SeqCst) {
        crate::progress::say(text);
        return Ok(());
    }
    let mut out = io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"));
    match written.and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(StageError::failed(format!(
            "cannot write to standard output: {e}"
        ))),
        _ => Ok(()),
    }
}

/// Prints `value` as one indented JSON object, for `--json`.
///
/// # Errors
/// As [`emit`]; also when `value` cannot be put in JSON.
pub fn emit_json(value: &impl Serialize) -> Result<(), StageError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| StageError::failed(format!("cannot put the result into JSON: {e}")))?;
    emit(&text)
}
