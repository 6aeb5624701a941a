//! Small tables, for the terminal and for Markdown.

use std::fmt::Write as _;

/// A header and rows of as many cells; the first column is text, the others are numbers.
#[derive(Debug, Clone)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(|&cell| cell.to_owned()).collect()])
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    /// Columns lined up, each line after `indent`.
    pub(crate) fn text(&self, indent: &str) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(i, (cell, &width))| pad(cell, width, i == 0));
            format!(
                "{indent}{}",
                cells.collect::<Vec<_>>().join("  ").trim_end()
            )
        };
        self.0.iter().map(line).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for (at, row) in self.0.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(i, (cell, &width))| pad(&cell.replace('|', "\\|"), width, i == 0))
                .collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
            if at == 0 {
                let rule = widths.iter().enumerate().map(|(i, &width)| {
                    let dashes = "-".repeat(width.max(3) - 1);
                    if i == 0 {
                        format!("{dashes}-")
                    } else {
                        format!("{dashes}:")
                    }
                });
                let _ = writeln!(out, "| {} |", rule.collect::<Vec<_>>().join(" | "));
            }
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.0[0].len();
        let width = |row: &Vec<String>, i: usize| row.get(i).map_or(0, |cell| cell.chars().count());
        (0..columns)
            .map(|i| {
                self.0
                    .iter()
                    .map(|row| width(row, i))
                    .max()
                    .unwrap_or(0)
                    .max(3)
            })
            .collect()
    }
}

/// Text to the left, numbers to the right.
fn pad(cell: &str, width: usize, left: bool) -> String {
    if left {
        format!("{cell:<width$}")
    } else {
        format!("{cell:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["part", "rows"]);
        table.row(vec!["train|ing".into(), "7".into()]);
        assert_eq!(table.text("> "), ["> part       rows", "> train|ing     7"]);
        assert_eq!(
            table.markdown(),
            "| part      | rows |\n| --------- | ---: |\n| train\\|ing |    7 |\n"
        );
    }
}
