//! A server over the tiny model, whose engine can be held still.

use std::borrow::Cow;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use chat_prompt::Message;
use loader::{Loaded, ModelSpec, stop_ids};
use serve::{ModelName, Models, Server, Settings};
use smollm_model::{
    Decoder, GenerationConfig, KvCache, Llama, ModelConfig, ModelError, Segment, generate,
};
use stage::StageError;

/// What the engine does before each pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Go,
    Wait,
    Break,
}

/// Tells the engine whether to go on.
#[derive(Clone)]
pub(crate) struct Gate(Arc<(Mutex<Order>, Condvar)>);

impl Gate {
    fn set(&self, order: Order) {
        *self.0.0.lock().unwrap() = order;
        self.0.1.notify_all();
    }

    pub(crate) fn close(&self) {
        self.set(Order::Wait);
    }

    pub(crate) fn open(&self) {
        self.set(Order::Go);
    }

    /// The next pass fails.
    pub(crate) fn break_down(&self) {
        self.set(Order::Break);
    }
}

struct Gated<'a> {
    model: &'a Llama,
    gate: Gate,
}

impl Decoder for Gated<'_> {
    type Cache = KvCache;

    fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    fn adapters(&self) -> usize {
        0
    }

    fn copy_prefix(&self, from: &KvCache, tokens: usize, to: &mut KvCache) {
        self.model.copy_prefix(from, tokens, to);
    }

    fn pass(
        &mut self,
        segments: &mut [Segment<'_, KvCache>],
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        let (order, changed) = &*self.gate.0;
        let mut order = order.lock().unwrap();
        while *order == Order::Wait {
            order = changed.wait(order).unwrap();
        }
        if *order == Order::Break {
            return Err(ModelError::EmptySequence { index: 77 });
        }
        drop(order);
        self.model.pass(segments)
    }
}

/// A server that runs.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) gate: Gate,
    server: Server,
}

pub(crate) const SYSTEM: &str = "Say less.";

pub(crate) fn load() -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-model");
    loader::load(&ModelSpec::new(path.to_str().unwrap())).unwrap()
}

impl Rig {
    pub(crate) fn start(settings: Settings) -> Self {
        let Loaded {
            model, prompter, ..
        } = load();
        let name = |id: &str, system: Option<&str>| ModelName {
            id: id.to_owned(),
            adapter: None,
            system: system.map(str::to_owned),
        };
        let models = Models {
            stop_ids: stop_ids(&prompter, model.config(), false).into(),
            config: model.config().clone(),
            prompter,
            names: vec![name("tiny", None), name("hub/terse", Some(SYSTEM))],
        };
        let gate = Gate(Arc::new((Mutex::new(Order::Go), Condvar::new())));
        let held = gate.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start(listener, models, settings, move |worker| {
            worker.run(Gated {
                model: &model,
                gate: held,
            })
        });
        let server = server.unwrap();
        Self {
            address: server.address(),
            gate,
            server,
        }
    }

    /// With default settings.
    pub(crate) fn new() -> Self {
        Self::start(Settings::default())
    }

    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    pub(crate) fn wait(self) -> Result<(), StageError> {
        self.server.wait()
    }

    /// A number of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = crate::client::get(self.address, "/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until `name` is `value`.
    pub(crate) fn until(&self, name: &str, value: f64) {
        for _ in 0..3000 {
            if self.metric(name) == value {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{name} is {}, expected {value}", self.metric(name));
    }
}

impl Rig {
    /// Waits until the engine was handed `times` requests of "Name a bird.".
    pub(crate) fn handed(&self, times: usize) {
        let (_, prompt, _) = expected(&[Message::user("Name a bird.")], 1);
        self.until("smoltune_prompt_tokens_total", (times * prompt) as f64);
    }
}

/// What `generate` answers to a conversation: text, and how many tokens prompt and answer have.
pub(crate) fn expected(messages: &[Message], max_new_tokens: usize) -> (String, usize, usize) {
    let loaded = load();
    let prompt = loaded.prompter.encode_chat(messages, true).unwrap();
    let config = GenerationConfig {
        max_new_tokens,
        stop_ids: stop_ids(&loaded.prompter, loaded.model.config(), false),
        ..GenerationConfig::default()
    };
    let tokens = prompt.len();
    let answers = generate(&loaded.model, &[prompt], &config, &mut |_| {
        std::ops::ControlFlow::Continue(())
    });
    let ids = answers.unwrap().remove(0).ids;
    (
        loaded.prompter.decode(&ids, true).unwrap(),
        tokens,
        ids.len(),
    )
}
