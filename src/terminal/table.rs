//! A table in box-drawing characters.

use super::Paint;

/// Which side a column's cells stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table under construction. Cells are plain text, one character a column wide each.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    total: Option<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new(), total: None }
    }

    /// Adds a row; cells beyond the headings are left out, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(self.fitted(cells));
    }

    /// Sets the row below the last line.
    pub fn total(&mut self, cells: impl IntoIterator<Item = String>) {
        self.total = Some(self.fitted(cells));
    }

    fn fitted(&self, cells: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.resize(self.columns.len(), String::new());
        cells
    }

    /// The lines, each with its line feed.
    pub fn render(&self, paint: Paint) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().chain(&self.total).map(|row| length(&row[column]));
                cells.chain([length(&self.columns[column].0)]).max().unwrap_or(0)
            })
            .collect();
        let rule = |left: &str, cross: &str, right: &str| {
            let lines: Vec<_> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            paint.dim(&format!("{left}{}{right}", lines.join(cross))) + "\n"
        };
        let headings: Vec<_> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        let mut text = rule("┌", "┬", "┐");
        text += &self.line(&headings, &widths, paint, |cell| paint.bold(cell));
        text += &rule("├", "┼", "┤");
        for row in &self.rows {
            text += &self.line(row, &widths, paint, str::to_owned);
        }
        if let Some(total) = &self.total {
            text += &rule("├", "┼", "┤");
            text += &self.line(total, &widths, paint, |cell| paint.bold(cell));
        }
        text + &rule("└", "┴", "┘")
    }

    fn line(
        &self,
        cells: &[String],
        widths: &[usize],
        paint: Paint,
        mark: impl Fn(&str) -> String,
    ) -> String {
        let bar = paint.dim("│");
        let mut text = bar.clone();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(&self.columns) {
            let space = " ".repeat(width - length(cell));
            let cell = mark(cell);
            text += &match align {
                Align::Left => format!(" {cell}{space} {bar}"),
                Align::Right => format!(" {space}{cell} {bar}"),
            };
        }
        text + "\n"
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&[("table", Align::Left), ("rows", Align::Right)]);
        table.row(["splits".to_owned(), "12".to_owned()]);
        table.row(["é".to_owned()]);
        table.total(["total".to_owned(), "1,234".to_owned()]);
        let expected = "\
┌────────┬───────┐
│ table  │  rows │
├────────┼───────┤
│ splits │    12 │
│ é      │       │
├────────┼───────┤
│ total  │ 1,234 │
└────────┴───────┘
";
        assert_eq!(table.render(Paint::plain()), expected);
        assert!(table.render(Paint(true)).contains("\x1b[1mtotal\x1b[0m"));
    }
}
