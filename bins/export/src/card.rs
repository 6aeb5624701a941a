//! The model card: `README.md` with the front matter that model hubs read.
//!
//! It says what is known from files and nothing else: the base, the settings and data of the
//! training from the manifest beside the adapter, scores from a report that was given. It names files, not
//! paths: where they lay on one machine concerns nobody.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use smollm_model::ModelSource;
use stage::{FileRecord, Manifest};

use crate::args::{Args, Format};
use crate::last_part;
use crate::scores::Scores;

/// What a card is made of.
pub(crate) struct Card<'a> {
    pub(crate) args: &'a Args,
    /// The base model as it was named.
    pub(crate) base: &'a str,
    /// The adapter's folder, if there is an adapter.
    pub(crate) adapter: Option<&'a Path>,
    pub(crate) license: Option<&'a str>,
    pub(crate) scores: Option<&'a Scores>,
    /// The export's own record: what it read and wrote.
    pub(crate) manifest: &'a Manifest,
}

impl Card<'_> {
    /// The text of the card. The same work gives the same bytes.
    pub(crate) fn text(&self) -> String {
        let base = last_part(self.base);
        let mut text = self.front_matter();
        let tuned = self.adapter.map_or("", |_| ", fine-tuned");
        line(&mut text, &format!("# {base}{tuned}\n"));
        line(&mut text, &self.what());
        line(&mut text, &format!("\n## Use\n\n{}", self.usage()));
        if let Some(scores) = self.scores {
            line(&mut text, &format!("\n## Scores\n\n{}", scores.markdown()));
        }
        let trained = self.adapter.and_then(|dir| {
            let manifest = Manifest::read(&dir.join(crate::MANIFEST_FILE)).ok()?;
            (manifest.stage == "train").then_some(manifest)
        });
        if let Some(trained) = trained {
            line(&mut text, &training(&trained));
        }
        line(&mut text, "\n## Files\n\nRead:\n");
        line(&mut text, &files(&self.manifest.inputs));
        line(&mut text, "\nWritten:\n");
        line(&mut text, &files(&self.manifest.outputs));
        let version = &self.manifest.smoltune;
        line(&mut text, &format!("\nMade by smoltune {version}."));
        text
    }

    fn front_matter(&self) -> String {
        let mut text = "---\n".to_owned();
        // Hubs link to the base by its id; a path would be a broken link.
        if let Ok(ModelSource::Hub { id, .. }) = ModelSource::parse(self.base) {
            line(&mut text, &format!("base_model: {id}"));
            let relation = match (self.args.format.is_adapter(), self.adapter) {
                (true, _) => Some("adapter"),
                (false, Some(_)) => Some("finetune"),
                // Hubs have no word for another type of numbers.
                (false, None) => self.is_quantized().then_some("quantized"),
            };
            if let Some(relation) = relation {
                line(&mut text, &format!("base_model_relation: {relation}"));
            }
        }
        let library = match self.args.format {
            Format::Safetensors => "transformers",
            Format::Gguf | Format::GgufAdapter => "gguf",
            Format::Peft => "peft",
            Format::Mlx => "mlx",
        };
        line(&mut text, &format!("library_name: {library}"));
        if let Some(license) = self.license {
            line(
                &mut text,
                &format!("license: {}", serde_json::json!(license)),
            );
        }
        line(&mut text, "pipeline_tag: text-generation\ntags:");
        if self.adapter.is_some() {
            line(&mut text, "- lora");
        }
        line(&mut text, "- smoltune\n---\n");
        text
    }

    fn what(&self) -> String {
        let base = last_part(self.base);
        match (self.args.format.is_adapter(), self.adapter) {
            (true, _) => format!("A LoRA adapter for {base}."),
            (false, Some(_)) => format!("{base} with a LoRA adapter merged into its weights."),
            (false, None) => format!(
                "{base} in another format, weights stored as {}.",
                self.stored()
            ),
        }
    }

    fn is_quantized(&self) -> bool {
        self.args.format == Format::Gguf && self.args.outtype().is_quantized()
    }

    /// How the weights of a model are stored.
    fn stored(&self) -> &'static str {
        match self.args.format {
            Format::Safetensors => self.args.dtype.unwrap_or_default().stored().1,
            _ => self.args.outtype().name(),
        }
    }

    fn usage(&self) -> String {
        let base = match ModelSource::parse(self.base) {
            Ok(ModelSource::Hub { id, .. }) => id,
            _ => "BASE".to_owned(),
        };
        let written = |end: &str| {
            let names = self
                .manifest
                .outputs
                .iter()
                .map(|file| last_part(&file.path));
            names
                .into_iter()
                .find(|name| name.ends_with(end))
                .unwrap_or_default()
        };
        match self.args.format {
            Format::Safetensors => {
                "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                model = AutoModelForCausalLM.from_pretrained(\".\")\n\
                tokenizer = AutoTokenizer.from_pretrained(\".\")\n```"
                    .to_owned()
            }
            Format::Gguf => format!("```sh\nllama-cli -m {}\n```", written(".gguf")),
            Format::GgufAdapter => {
                let file = written(".gguf");
                format!("```sh\nllama-cli -m BASE.gguf --lora {file}\n```")
            }
            Format::Peft => format!(
                "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n\
                 model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(\"{base}\"), \".\")\n```"
            ),
            Format::Mlx => {
                format!(
                    "```sh\nmlx_lm.generate --model {base} --adapter-path . --prompt \"Hello\"\n```"
                )
            }
        }
    }
}

/// Settings, seeds and data of the training.
fn training(manifest: &Manifest) -> String {
    let mut text = "\n## Training\n\n| setting | value |\n|---|---|\n".to_owned();
    let set = manifest.arguments.iter();
    let set = set.filter(|(_, value)| !value.is_null() && !is_empty(value));
    for (name, value) in set {
        line(&mut text, &format!("| {name} | {} |", cell(value)));
    }
    for (name, seed) in &manifest.seeds {
        line(&mut text, &format!("| {name} | {seed} |"));
    }
    line(&mut text, "\nTrained from:\n");
    line(&mut text, &files(&manifest.inputs));
    let facts = [
        ("steps", "optimiser steps"),
        ("loss", "training loss at the end"),
        ("eval_loss", "evaluation loss at the end"),
    ];
    let mut said = Vec::new();
    for (key, name) in facts {
        match manifest.facts.get(key) {
            Some(Value::Number(whole)) if whole.is_u64() => said.push(format!("{name}: {whole}")),
            Some(Value::Number(n)) => {
                said.push(format!("{name}: {:.4}", n.as_f64().unwrap_or(f64::NAN)));
            }
            _ => {}
        }
    }
    if manifest.facts.get("complete") == Some(&Value::Bool(false)) {
        said.push("stopped before its end".to_owned());
    }
    let rows = manifest.facts.get("train_rows");
    if let Some(rows) = rows.and_then(|rows| rows.get("used")) {
        said.insert(0, format!("training rows: {rows}"));
    }
    if !said.is_empty() {
        line(&mut text, &format!("\n{}.", said.join("; ")));
    }
    text.trim_end().to_owned()
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// A value in a table: text as it is, the rest as JSON, nothing that ends the cell.
fn cell(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    text.replace('|', "\\|").replace('\n', " ")
}

fn files(records: &[FileRecord]) -> String {
    let mut text = "| file | bytes | SHA-256 |\n|---|---:|---|".to_owned();
    for record in records {
        let (name, bytes, sha) = (last_part(&record.path), record.bytes, &record.sha256);
        let _ = write!(text, "\n| {name} | {bytes} | `{sha}` |");
    }
    text
}

fn line(text: &mut String, more: &str) {
    text.push_str(more);
    text.push('\n');
}
