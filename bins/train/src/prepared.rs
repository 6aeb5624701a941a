//! Everything that a run begins with, read and checked, before a weight is loaded.

use std::path::{Path, PathBuf};

use loader::Opened;
use lora::{Adapter, Sample, TrainConfig};
use smollm_model::Checkpointing;
use stage::StageError;

use crate::args::Args;
use crate::device::Device;
use crate::plan::{self, Planning};
use crate::rows::{self, Encoded, RowCounts};
use crate::scorer::{self, Questions};
use crate::{check, say, start};

/// Model, adapter and rows.
pub(crate) struct Prepared {
    pub(crate) opened: Opened,
    pub(crate) start: Adapter,
    pub(crate) rows: Encoded,
    pub(crate) eval_file: Option<PathBuf>,
    pub(crate) eval_rows: Option<Encoded>,
    pub(crate) questions: Option<Questions>,
    pub(crate) device: Device,
    /// Of the frozen weights in memory.
    weight_bytes: usize,
}

impl Prepared {
    /// Reads what the command line names.
    pub(crate) fn new(args: &Args) -> Result<Self, StageError> {
        check(args)?;
        scorer::check(args)?;
        let opened = loader::open(&args.model())?
            .with_system(args.system.clone().filter(|text| !text.is_empty()))
            .with_date(args.date);
        let start = start::adapter(args, &opened)?;
        let device = Device::choose(args, opened.config(), &start)?;

        let context = opened.config().max_position_embeddings;
        let encode = |path: &Path| rows::encode_file(path, opened.prompter(), args, context);
        let rows = encode(&args.train_csv)?;
        say(&rows.counts.text("training"));
        let eval_file = args.eval_file();
        let eval_rows = eval_file.as_deref().map(encode).transpose()?;
        let eval = eval_file.as_deref().zip(eval_rows.as_ref());
        let questions = scorer::questions(args, &opened, eval)?;
        let options = plan::options(args, Checkpointing::None);
        let changed = start::changed(args, &start);
        let weight_bytes = opened.training_weight_bytes(options, &changed)?;
        Ok(Self {
            opened,
            start,
            rows,
            eval_file,
            eval_rows,
            questions,
            device,
            weight_bytes,
        })
    }

    /// The evaluation rows; none where there is no file.
    pub(crate) fn eval_samples(&self) -> &[Sample] {
        self.eval_rows.as_ref().map_or(&[], |rows| &rows.samples)
    }

    /// What became of the rows of both files.
    pub(crate) fn counts(&self) -> (RowCounts, Option<RowCounts>) {
        let eval = self.eval_rows.as_ref().map(|rows| rows.counts.clone());
        (self.rows.counts.clone(), eval)
    }

    /// What a plan needs to know; `held`: bytes of a base that is in memory already.
    pub(crate) fn planning<'a>(
        &'a self,
        args: &'a Args,
        config: &'a TrainConfig,
        held: u64,
    ) -> Planning<'a> {
        Planning {
            held,
            device: self.device,
            args,
            config,
            opened: &self.opened,
            start: &self.start,
            rows: &self.rows.samples,
            eval_rows: self.eval_samples(),
            questions: self.questions.as_ref(),
            weight_bytes: self.weight_bytes,
        }
    }
}
