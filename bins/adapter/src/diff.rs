//! How two adapters differ.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lora::{Adapter, LoraConfig, Site};
use serde::Serialize;
use serde_json::{Map, Value};
use smollm_model::Tensor;
use stage::{OrExit, StageError};

use crate::table;

/// Flags of `diff`.
#[derive(Debug, Clone, clap::Args)]
pub struct DiffArgs {
    /// The first adapter's folder
    #[arg(value_name = "FIRST")]
    pub first: PathBuf,
    /// The second adapter's folder
    #[arg(value_name = "SECOND")]
    pub second: PathBuf,
    /// A line for each module instead of one for each projection
    #[arg(long)]
    pub modules: bool,
    /// Print one JSON object with every module
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The first folder.
    pub first: String,
    /// The second folder.
    pub second: String,
    /// Fields of the configuration that differ.
    pub config: Vec<Field>,
    /// All updates together; of DoRA adapters, their low-rank parts.
    pub all: Distance,
    /// `‖m₁ − m₂‖ / ‖m₁‖` over the modules of which both have a magnitude; none where there is none.
    pub magnitudes: Option<f64>,
    /// Every module that one of them has.
    pub modules: Vec<Module>,
}

/// A field of the configuration that differs.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    /// Its name in `adapter_config.json`.
    pub name: String,
    /// Its value in the first.
    pub first: Value,
    /// Its value in the second.
    pub second: Value,
}

/// One module.
#[derive(Debug, Clone, Serialize)]
pub struct Module {
    /// Its path in the base model.
    pub path: String,
    #[serde(skip)]
    module: smollm_model::Module,
    /// How far apart the updates are.
    #[serde(flatten)]
    pub distance: Distance,
    #[serde(skip)]
    product: f64,
}

/// How far apart two updates are.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Distance {
    /// `‖ΔW₁‖`.
    pub first_norm: f64,
    /// `‖ΔW₂‖`.
    pub second_norm: f64,
    /// `‖ΔW₁ − ΔW₂‖ / ‖ΔW₁‖`; none where the first is zero.
    pub relative: Option<f64>,
    /// Their cosine; none where one is zero.
    pub cosine: Option<f64>,
}

impl Distance {
    /// From both squared norms and the inner product.
    fn new(first: f64, second: f64, product: f64) -> Self {
        let apart = first - 2.0 * product + second;
        // Rounding may leave a zero a hair below it; what is no number must not become one.
        let apart = if apart < 0.0 { 0.0 } else { apart };
        let both = (first * second).sqrt();
        Self {
            first_norm: first.sqrt(),
            second_norm: second.sqrt(),
            relative: (first != 0.0).then(|| (apart / first).sqrt()),
            cosine: (both != 0.0).then(|| (product / both).clamp(-1.0, 1.0)),
        }
    }

    fn cells(&self) -> Vec<String> {
        let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.6}"));
        vec![
            format!("{:.6}", self.first_norm),
            format!("{:.6}", self.second_norm),
            some(self.relative),
            some(self.cosine),
        ]
    }
}

/// Compares two adapters: their configurations, and their updates module by module.
///
/// # Errors
/// Exit code 3 where one cannot be read, or the two are for models of other shapes.
pub fn diff(args: &DiffArgs) -> Result<Diff, StageError> {
    let (first, second) = (crate::load(&args.first)?, crate::load(&args.second)?);
    let both = first.pairs().chain(second.pairs());
    let sites: BTreeSet<Site> = both.map(|(site, _)| site).collect();
    let modules = sites.into_iter().map(|site| module(&first, &second, site));
    let modules = modules.collect::<Result<Vec<_>, _>>()?;
    Ok(Diff {
        first: args.first.display().to_string(),
        second: args.second.display().to_string(),
        config: fields(first.config(), second.config()),
        all: together(&modules.iter()),
        magnitudes: magnitudes(&first, &second)?,
        modules,
    })
}

fn module(first: &Adapter, second: &Adapter, site: Site) -> Result<Module, StageError> {
    let across = first.update_product(second, site).or_bad_data()?;
    let square = |adapter: &Adapter| adapter.update_square(site).or_bad_data();
    Ok(Module {
        path: site.path(),
        module: site.module(),
        distance: Distance::new(square(first)?, square(second)?, across),
        product: across,
    })
}

/// How far apart the magnitudes are, as one vector; shapes are known to fit.
fn magnitudes(first: &Adapter, second: &Adapter) -> Result<Option<f64>, StageError> {
    let (mut apart, mut size) = (0.0, None);
    for (site, ours) in first.pairs() {
        let theirs = second.pair(site).and_then(|pair| pair.magnitude.as_ref());
        let (Some(ours), Some(theirs)) = (&ours.magnitude, theirs) else {
            continue;
        };
        let values = |tensor: &Tensor| tensor.to_vec1::<f32>().or_failed();
        for (x, y) in values(ours)?.into_iter().zip(values(theirs)?) {
            let (x, y) = (f64::from(x), f64::from(y));
            apart += (x - y).powi(2);
            *size.get_or_insert(0.0) += x * x;
        }
    }
    Ok(size.map(|size: f64| (apart / size).sqrt()))
}

/// Several modules as one.
fn together<'a>(modules: &(impl Iterator<Item = &'a Module> + Clone)) -> Distance {
    let sum = |of: &dyn Fn(&Module) -> f64| modules.clone().map(of).sum();
    Distance::new(
        sum(&|m| m.distance.first_norm.powi(2)),
        sum(&|m| m.distance.second_norm.powi(2)),
        sum(&|m| m.product),
    )
}

fn fields(first: &LoraConfig, second: &LoraConfig) -> Vec<Field> {
    let map = |config: &LoraConfig| Map::<String, Value>::from(config.clone());
    let (first, second) = (map(first), map(second));
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let of = |map: &Map<String, Value>, name: &String| map.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| Field {
            name: name.clone(),
            first: of(&first, name),
            second: of(&second, name),
        })
        .filter(|field| field.first != field.second)
        .collect()
}

impl Diff {
    pub(crate) fn text(&self, each: bool) -> String {
        let changed = self.config.iter();
        let changed = changed.map(
            |Field {
                 name,
                 first,
                 second,
             }| format!("{name}: {first} -> {second}"),
        );
        let mut lines: Vec<String> = changed.collect();
        if lines.is_empty() {
            lines.push("the configurations are the same".to_owned());
        }
        let row = |name: &str, distance: &Distance| {
            let mut row = vec![name.to_owned()];
            row.extend(distance.cells());
            row
        };
        let mut rows: Vec<Vec<String>> = if each {
            let all = self.modules.iter();
            all.map(|module| row(&module.path, &module.distance))
                .collect()
        } else {
            let of = |kind: smollm_model::Module| {
                let modules = self.modules.iter().filter(move |m| m.module == kind);
                modules.clone().next()?;
                Some(row(kind.name(), &together(&modules)))
            };
            let kinds = smollm_model::Module::ALL.into_iter();
            kinds.filter_map(of).collect()
        };
        rows.push(row("all", &self.all));
        let first = if each { "module" } else { "projection" };
        let header = [first, "first", "second", "difference/first", "cosine"];
        if let Some(apart) = self.magnitudes {
            lines.push(format!(
                "magnitudes: difference/first {apart:.6}; below, the low-rank parts"
            ));
        }
        format!("{}\n\n{}", lines.join("\n"), table::lines(&header, &rows))
    }
}
