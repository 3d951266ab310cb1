//! Plain tables: columns as wide as what is in them, numbers to the right.

pub(super) use crate::values::units::grouped as number;

/// Rows of cells under a header.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// The columns that hold text; all others hold numbers.
    text_columns: usize,
}

impl Table {
    /// An empty table. The first `text_columns` hold text.
    pub(super) fn new(text_columns: usize, header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(ToString::to_string).collect()], text_columns }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, each indented by two spaces.
    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let cell = match column < self.text_columns {
                    true => format!(" {cell:<width$} "),
                    false => format!(" {cell:>width$} "),
                };
                line.push_str(&cell);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A number of bytes in the largest unit that leaves a whole digit.
pub(super) fn bytes(value: u64) -> String {
    let mut amount = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if amount < 1024.0 {
            return match unit {
                "B" => format!("{value} B"),
                unit => format!("{amount:.1} {unit}"),
            };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(1, &["name", "count"]);
        table.row(vec!["a".to_owned(), number(1_234_567)]);
        table.row(vec!["longer".to_owned(), number(12)]);
        assert_eq!(
            table.render(),
            "  name        count\n  a       1,234,567\n  longer         12\n"
        );
    }

    #[test]
    fn amounts_are_readable() {
        assert_eq!([0, 999, 1000, 1_000_000].map(number), ["0", "999", "1,000", "1,000,000"]);
        assert_eq!(
            [0, 1023, 1024, 5 << 20, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "16384.0 PiB"]
        );
    }
}
