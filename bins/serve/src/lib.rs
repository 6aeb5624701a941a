//! Answers over HTTP, as the OpenAI API does.
//!
//! Many clients, one model. The decision this crate embodies: *one thread owns the engine, and nothing that a client
//! does can make it wait*. Handlers read, check and encode requests in threads of their own and hand them over; the
//! engine hands back one token at a time, through a channel with room for the whole answer. A client that goes away drops
//! its channel, and that is all it takes to cancel its request. What the server takes on is bounded before any work is
//! done: connections, bodies, answers that run or wait, tokens, time.
//!
//! | file | what it decides |
//! |---|---|
//! | `fields`, `options`, `chat`, `completions` | what a request means; what is not understood is refused, never ignored |
//! | `ask` | prompts to token ids, and whether an answer fits |
//! | `worker` | the engine's thread |
//! | `writer` | tokens to text: whole characters, nothing of a stop string |
//! | `respond`, `reply` | whole replies and streams |
//! | `routes`, `body`, `keys`, `api_error`, `metrics` | HTTP |
//! | `server`, `patient` | connections, from the first to the last |
//! | `load` | the command line to models |
//!
//! A server within another program, here over a model for tests:
//!
//! ```
//! use std::net::TcpListener;
//!
//! use loader::{ModelSpec, stop_ids};
//! use serve::{ModelName, Models, Server, Settings};
//!
//! # let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
//! let spec = ModelSpec::new(&format!("{root}/fixtures/tiny-model"));
//! let loaded = loader::load(&spec)?;
//! let (model, prompter) = (loaded.model, loaded.prompter);
//! let models = Models {
//!     stop_ids: stop_ids(&prompter, model.config(), false).into(),
//!     config: model.config().clone(),
//!     prompter,
//!     names: vec![ModelName { id: "tiny".into(), adapter: None, system: None }],
//! };
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let server = Server::start(listener, models, Settings::default(), move |worker| worker.run(&model))?;
//! println!("http://{}/v1", server.address());
//! server.stop();
//! server.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod api_error;
mod app;
mod args;
mod ask;
mod body;
mod chat;
mod completions;
mod fields;
mod keys;
mod load;
mod metrics;
mod models;
mod options;
mod patient;
mod reply;
mod respond;
mod routes;
mod server;
mod worker;
mod writer;

use std::net::TcpListener;

use stage::StageError;

pub use app::Settings;
pub use args::Args;
pub use keys::Keys;
pub use models::{ModelName, Models};
pub use server::Server;
pub use worker::Worker;

/// Answers until a signal ends it.
///
/// # Errors
/// Exit code 2 for flags that make no sense or contradict each other, 3 for models or keys that cannot be read, 1 if it
/// cannot listen or the engine breaks.
pub fn run(args: &Args) -> Result<(), StageError> {
    let settings = args.settings()?;
    let place = (args.host, args.port);
    // Before the weights are read: a port that is taken is told at once.
    let listener = TcpListener::bind(place).map_err(|e| {
        let text = format!(
            "cannot listen at {} port {}: {e}; choose another --port",
            args.host, args.port
        );
        StageError::failed(text)
    })?;
    if !args.host.is_loopback() && settings.keys.is_empty() {
        server::say(
            "warning: other machines can reach this server, and it wants no key; see --api-key-file",
        );
    }
    let (models, model) = load::load(args)?;
    let ids: Vec<String> = models.names.iter().map(|name| name.id.clone()).collect();
    let server = Server::start(listener, models, settings, move |worker| worker.run(model))?;
    server.stop_on_signals();
    server::say(&format!("answering as {}; Ctrl-C ends", ids.join(", ")));
    stage::emit(&format!("http://{}", server.address()))?;
    server.wait()
}
