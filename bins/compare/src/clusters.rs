//! Rows that are not independent of each other.

use clap::ValueEnum;
use evaluate::Prediction;
use textmetrics::stats::Clusters;

/// The values of `--cluster-by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClusterBy {
    /// Rows with the same context; without context, the same instruction
    #[default]
    Question,
    /// Rows with the same context
    Context,
    /// Every row for itself
    None,
}

impl ClusterBy {
    /// The clusters of `rows`. The same instruction about another context is another question: half of
    /// a data set may say "Summarise this".
    pub(crate) fn of(self, rows: &[Prediction]) -> Clusters {
        Clusters::sharing(rows.iter().map(|row| {
            let (context, instruction) = (row.context.trim(), row.instruction.trim());
            match self {
                Self::None => None,
                _ if !context.is_empty() => Some(("context", context)),
                Self::Question if !instruction.is_empty() => Some(("instruction", instruction)),
                _ => None,
            }
        }))
    }
}
