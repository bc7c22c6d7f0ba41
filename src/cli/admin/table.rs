//! Rows with aligned columns.
//!
//! # Invariants
//!
//! * Pure. Nothing is cut, and no line ends in spaces.

/// Rows with aligned columns.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Adds a row; all have as many cells.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A line for each row, each behind `indent`.
    pub(super) fn lines(&self, indent: &str) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("{indent}{}", line.trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::default();
        for row in [["peer", "is", ""], ["\u{e4}nn", "online", "x"], ["bob", "offline", ""]] {
            table.row(row.map(String::from));
        }
        assert_eq!(table.lines(" "), [" peer  is", " \u{e4}nn   online   x", " bob   offline"]);
        assert!(Table::default().lines("").is_empty());
    }
}
