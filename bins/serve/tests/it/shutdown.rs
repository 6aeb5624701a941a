//! The end of a server.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use serve::Settings;

use crate::answers::ask;
use crate::client::{Events, chat, get, text_of};
use crate::rig::{Rig, expected};

#[test]
fn running_requests_are_finished_and_new_ones_refused() {
    let rig = Rig::new();
    rig.gate.close();
    let address = rig.address;
    let stream = Events::chat(address, &ask("Name a bird.", 20));
    let whole = thread::spawn(move || chat(address, &ask("Name a bird.", 20)));
    rig.handed(2);
    rig.stop();
    let refused = chat(address, &ask("Name a bird.", 2));
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(get(address, "/health").status, 503);
    rig.gate.open();
    let (content, ..) = expected(&[chat_prompt::Message::user("Name a bird.")], 20);
    assert_eq!(text_of(&stream.all(), 0), content);
    assert_eq!(whole.join().unwrap().content(), content);
    rig.wait().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn what_takes_too_long_to_finish_is_cut_off() {
    let rig = Rig::start(Settings {
        drain: Duration::from_millis(200),
        ..Settings::default()
    });
    rig.gate.close();
    let stream = Events::chat(rig.address, &ask("Name a bird.", 20));
    rig.handed(1);
    rig.stop();
    let events: Vec<String> = stream.collect();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "shutting_down");
    rig.gate.open();
    rig.wait().unwrap();
}
