//! Columns for people.

/// Rows as lines: the first column to the left, the others to the right.
pub(crate) fn lines(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let cells = cells.map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if i == 0 {
                text += &format!("{cell}{padding}");
            } else {
                text += &format!("  {padding}{cell}");
            }
        }
        text.trim_end().to_owned()
    };
    let rows = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    let all: Vec<String> = std::iter::once(line(header.to_vec())).chain(rows).collect();
    all.join("\n")
}
