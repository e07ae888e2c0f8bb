//! What a proof comes to: a table, and everything that should not have happened.

use std::fmt;

#[derive(Debug, Default)]
pub struct Report {
    pub title: String,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// How to read it.
    pub legend: String,
    /// What broke the promise; empty when all is well.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    /// Markdown that is also fit for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.head.iter().map(|&cell| cell.to_owned()).collect();
        let width = |column: usize| {
            let cells = std::iter::once(&head).chain(&self.rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        writeln!(f, "## {}\n", self.title)?;
        for row in [&head, &rule].into_iter().chain(&self.rows) {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
        }
        writeln!(f, "\n{}", self.legend)?;
        for failure in &self.failures {
            writeln!(f, "FAILED {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let report = Report {
            title: "Title".into(),
            head: vec!["fault", "lost"],
            rows: vec![vec!["endless body".into(), "0".into()]],
            legend: "Legend.".into(),
            failures: vec!["all of it".into()],
        };
        let expected = "## Title\n\n| fault        | lost |\n| ------------ | ---- |\n| endless body | 0    |\n\nLegend.\nFAILED all of it\n";
        assert_eq!(report.to_string(), expected);
    }
}
