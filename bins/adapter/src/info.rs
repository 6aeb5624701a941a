//! What an adapter is.

use std::path::PathBuf;

use lora::{Adapter, LoraConfig, Site};
use serde::Serialize;
use stage::{OrExit, StageError};

use crate::table;

/// Flags of `info`.
#[derive(Debug, Clone, clap::Args)]
pub struct InfoArgs {
    /// The adapter's folder
    #[arg(value_name = "DIR")]
    pub adapter: PathBuf,
    /// A line for each module instead of one for each projection
    #[arg(long)]
    pub modules: bool,
    /// Print one JSON object: configuration, every module
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// The folder.
    pub adapter: String,
    /// The configuration, as it is in the file.
    pub config: LoraConfig,
    /// One more than the last layer that has an update.
    pub layers: usize,
    /// Modules that have an update.
    pub sites: usize,
    /// Numbers in the tensors.
    pub parameters: usize,
    /// Bytes of the files.
    pub bytes: u64,
    /// The norm of all updates together.
    pub norm: f64,
    /// Every module, layer by layer.
    pub modules: Vec<Module>,
}

/// One module's update.
#[derive(Debug, Clone, Serialize)]
pub struct Module {
    /// Its path in the base model.
    pub path: String,
    /// The last part of it.
    pub projection: &'static str,
    /// Rank of the update.
    pub rank: usize,
    /// What multiplies `B A`.
    pub scale: f64,
    /// Numbers in the tensors.
    pub parameters: usize,
    /// Frobenius norm of `scale · B A`, without DoRA's magnitudes.
    pub norm: f64,
}

/// Reads an adapter and measures its updates.
///
/// # Errors
/// Exit code 3 where it is missing, damaged, or of a kind that is not supported.
pub fn info(args: &InfoArgs) -> Result<Info, StageError> {
    let dir = &args.adapter;
    let adapter = crate::load(dir)?;
    let modules = adapter
        .pairs()
        .map(|(site, _)| module(&adapter, site))
        .collect::<Result<Vec<_>, _>>()?;
    let bytes = [lora::CONFIG_FILE, lora::WEIGHTS_FILE]
        .iter()
        .filter_map(|name| std::fs::metadata(dir.join(name)).ok());
    Ok(Info {
        adapter: dir.display().to_string(),
        config: adapter.config().clone(),
        layers: adapter.layers(),
        sites: modules.len(),
        parameters: adapter.parameters(),
        bytes: bytes.map(|about| about.len()).sum(),
        norm: together(modules.iter().map(|module| module.norm)),
        modules,
    })
}

fn module(adapter: &Adapter, site: Site) -> Result<Module, StageError> {
    let pair = adapter.pair(site);
    let parameters = pair.map_or(0, |pair| pair.tensors().map(|(_, t)| t.elem_count()).sum());
    Ok(Module {
        path: site.path(),
        projection: site.module().name(),
        rank: pair.map_or(0, |pair| pair.a.dims()[0]),
        scale: adapter.scale(site),
        parameters,
        norm: adapter.update_norm(site).or_bad_data()?,
    })
}

/// The norm of several matrices as one.
pub(crate) fn together(norms: impl Iterator<Item = f64>) -> f64 {
    norms.map(|norm| norm * norm).sum::<f64>().sqrt()
}

impl Info {
    pub(crate) fn text(&self, each: bool) -> String {
        let config = &self.config;
        let base = config.base_model_name_or_path.as_deref();
        let rslora = if config.use_rslora {
            ", rank-stabilised"
        } else {
            ""
        };
        let (dora, part) = if config.use_dora {
            (", DoRA", " (their low-rank parts; magnitudes aside)")
        } else {
            ("", "")
        };
        let head = format!(
            "{}: {} modules in {} layers, {} parameters, {} bytes\n\
             base {}, r {}, lora_alpha {}{rslora}{dora}, target_modules {}\n\
             norm of all updates {:.6}{part}\n\n",
            self.adapter,
            self.sites,
            self.layers,
            self.parameters,
            self.bytes,
            base.unwrap_or("not named"),
            config.r,
            config.lora_alpha,
            config.target_modules,
            self.norm,
        );
        let rows: Vec<Vec<String>> = if each {
            self.modules
                .iter()
                .map(|module| {
                    vec![
                        module.path.clone(),
                        module.rank.to_string(),
                        format!("{:.4}", module.scale),
                        module.parameters.to_string(),
                        format!("{:.6}", module.norm),
                    ]
                })
                .collect()
        } else {
            let names = smollm_model::Module::ALL.map(smollm_model::Module::name);
            names.iter().filter_map(|name| self.row(name)).collect()
        };
        let first = if each { "module" } else { "projection" };
        let header = [first, "rank", "scale", "parameters", "norm of update"];
        head + &table::lines(&header, &rows)
    }

    /// The modules of one projection together.
    fn row(&self, projection: &str) -> Option<Vec<String>> {
        let of = || self.modules.iter().filter(|m| m.projection == projection);
        let first = of().next()?;
        let one = |same: bool, text: String| if same { text } else { "several".to_owned() };
        let parameters: usize = of().map(|m| m.parameters).sum();
        Some(vec![
            projection.to_owned(),
            one(of().all(|m| m.rank == first.rank), first.rank.to_string()),
            one(
                of().all(|m| m.scale == first.scale),
                format!("{:.4}", first.scale),
            ),
            parameters.to_string(),
            format!("{:.6}", together(of().map(|m| m.norm))),
        ])
    }
}
