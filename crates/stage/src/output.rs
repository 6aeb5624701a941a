//! Standard output: results only. What people read goes to standard error.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::StageError;

/// Where results go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Results {
    /// Standard output, where they belong.
    Stdout,
    /// Standard error: a program that runs several stages has a result of its own.
    Stderr,
    /// Nowhere: such a program shows them in another form.
    Nowhere,
}

static RESULTS: AtomicU8 = AtomicU8::new(Results::Stdout as u8);

/// Sends results ([`emit`], [`emit_json`]) elsewhere from now on.
pub fn send_results(to: Results) {
    RESULTS.store(to as u8, Ordering::SeqCst);
}

/// Prints one result line (a newline is added) and flushes.
///
/// A reader that has gone away (`smoltune evaluate … | head -1`) is no error: nobody is left to
/// tell. A full disk is one; `println!` would panic in both cases.
///
/// # Errors
/// [`crate::Exit::Failed`] when standard output cannot be written, other than a closed pipe.
pub fn emit(text: &str) -> Result<(), StageError> {
    let to = RESULTS.load(Ordering::SeqCst);
    if to != Results::Stdout as u8 {
        if to == Results::Stderr as u8 {
            crate::progress::say(text);
        }
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
