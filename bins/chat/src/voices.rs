//! The model with each of its adapters: who answers.
//!
//! How the model runs is decided in [`Voices::load`] alone; the conversation is written for any decoder.

use std::path::Path;

use chat_prompt::Prompter;
use loader::{Model, Opened};
use stage::StageError;

use crate::Args;

/// The base model, alone or with one adapter.
#[derive(Debug)]
pub(crate) struct Voice {
    /// The adapter's folder, or `base`.
    pub(crate) name: String,
    /// The adapter's number in the loaded model.
    pub(crate) adapter: Option<usize>,
    /// The system message it was trained with, or the one asked for on the command line.
    pub(crate) system: Option<String>,
}

/// Everyone who can answer.
#[derive(Debug)]
pub(crate) struct Voices {
    /// The base first, then each adapter in the order of the command line.
    pub(crate) all: Vec<Voice>,
    opened: Vec<Opened>,
}

impl Voices {
    /// Finds everything that is asked for, and checks that it fits together; reads no weights.
    ///
    /// # Errors
    /// Exit code 2 for names that contradict each other, 3 for files that cannot be used.
    pub(crate) fn open(args: &Args) -> Result<Self, StageError> {
        let specs = args.model.specs(&args.adapter_dir);
        let mut opened = Vec::new();
        for spec in &specs {
            if opened.is_empty() {
                opened.push(loader::open_base(spec)?);
            }
            let one = loader::open(spec)?;
            opened.extend(Some(one).filter(|one| one.adapter().is_some()));
        }
        let names = loader::variant_names(&opened)?;
        let mut number = 0..;
        let mut voice = |(opened, name): (&Opened, String)| {
            let trained: Option<&Path> = opened.adapter().map(|(dir, _)| dir);
            Ok(Voice {
                name,
                adapter: trained.and_then(|_| number.next()),
                system: stage::system_prompt(args.system.as_deref(), trained, args.force_system)?,
            })
        };
        let all: Result<_, StageError> = opened.iter().zip(names).map(&mut voice).collect();
        Ok(Self { all: all?, opened })
    }

    /// The base model with its files.
    pub(crate) fn base(&self) -> &Opened {
        &self.opened[0]
    }

    /// Template and tokenizer, which are the base's for everyone.
    pub(crate) fn prompter(&self) -> &Prompter {
        self.base().prompter()
    }

    /// Reads the weights, once for all.
    ///
    /// # Errors
    /// Exit code 2 if the adapters belong to different models, 3 if a weight cannot be read.
    pub(crate) fn load(&self, args: &Args) -> Result<Model, StageError> {
        let opened: Vec<&Opened> = self.opened.iter().collect();
        loader::pack(&opened, &args.inference).map_err(StageError::from)
    }
}
