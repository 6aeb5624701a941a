//! What a person at a terminal sees.

use rexpect::session::spawn_command;

use crate::support::{child, folder};

#[test]
fn a_terminal_shows_the_losses_as_bars_and_what_goes_with_them() {
    let (_dir, out) = folder();
    let mut command = child(&out, "60");
    command.env("TERM", "xterm").args(["--logging-steps", "50"]);
    let mut session = spawn_command(command, Some(60_000)).unwrap();
    // A byte at a time is how the session reads, so that a bar is three characters.
    let bars = "(\u{e2}\u{96}[\u{81}-\u{88}]){4}";
    let line = format!("loss {bars} [0-9.]+  [0-9]+ tokens/s  lr [0-9.e-]+  norm [0-9.]+");
    session.exp_regex(&line).unwrap();
    session.exp_string("step 50: loss").unwrap();
    session.exp_eof().unwrap();
}
