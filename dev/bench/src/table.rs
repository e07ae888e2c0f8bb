//! One table: each line a figure, its baseline, the ratio of both, the target and whether it is met.

use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy)]
pub enum Figure {
    /// Of a file or of memory.
    Bytes(u64),
    /// From one moment to another.
    Time(Duration),
    /// Of calls, say.
    Count(usize),
}

impl Figure {
    /// In bytes, seconds or by number.
    pub fn value(self) -> f64 {
        match self {
            Self::Bytes(bytes) => bytes as f64,
            Self::Time(time) => time.as_secs_f64(),
            Self::Count(count) => count as f64,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{:.2} MB", *bytes as f64 / 1e6),
            Self::Time(time) if *time < Duration::from_micros(20) => {
                write!(f, "{:.2} µs", time.as_secs_f64() * 1e6)
            }
            Self::Time(time) if *time < Duration::from_millis(1) => write!(f, "{} µs", time.as_micros()),
            Self::Time(time) => write!(f, "{:.2} ms", time.as_secs_f64() * 1e3),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

pub struct Row {
    what: String,
    figure: Option<Figure>,
    baseline: Option<(Figure, &'static str)>,
    target: Option<Target>,
}

enum Target {
    AtMost(Figure),
    RatioUpTo(f64),
    RatioFrom(f64),
}

impl Row {
    /// A line with a figure and nothing to hold against it.
    pub fn new(what: impl Into<String>, figure: Figure) -> Self {
        Self { what: what.into(), figure: Some(figure), baseline: None, target: None }
    }

    /// A line for what could not be measured here.
    pub fn not_measured(what: impl Into<String>) -> Self {
        Self { what: what.into(), figure: None, baseline: None, target: None }
    }

    /// The same measured of a bare function.
    pub fn beside_hello(self, hello: Figure) -> Self {
        self.beside(hello, "hello")
    }

    /// The same measured of something else, in a word.
    pub fn beside(self, baseline: Figure, name: &'static str) -> Self {
        Self { baseline: Some((baseline, name)), ..self }
    }

    /// The figure is to be no larger.
    pub fn at_most(self, limit: Figure) -> Self {
        Self { target: Some(Target::AtMost(limit)), ..self }
    }

    /// The figure is to be no more than so many times the baseline.
    pub fn at_most_times(self, ratio: f64) -> Self {
        Self { target: Some(Target::RatioUpTo(ratio)), ..self }
    }

    /// The figure is to be no less than so many times the baseline.
    pub fn at_least_times(self, ratio: f64) -> Self {
        Self { target: Some(Target::RatioFrom(ratio)), ..self }
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.figure?.value() / self.baseline?.0.value())
    }

    fn met(&self) -> Option<bool> {
        match self.target.as_ref()? {
            Target::AtMost(limit) => Some(self.figure?.value() <= limit.value()),
            Target::RatioUpTo(limit) => Some(self.ratio()? <= *limit),
            Target::RatioFrom(limit) => Some(self.ratio()? >= *limit),
        }
    }

    fn cells(&self) -> [String; 6] {
        let target = match &self.target {
            Some(Target::AtMost(limit)) => format!("≤ {limit}"),
            Some(Target::RatioUpTo(limit)) => format!("≤ {limit} ×"),
            Some(Target::RatioFrom(limit)) => format!("≥ {limit} ×"),
            None => String::new(),
        };
        [
            self.what.clone(),
            self.figure.map_or_else(|| "not measured".to_owned(), |figure| figure.to_string()),
            self.baseline.map(|(baseline, name)| format!("{name} {baseline}")).unwrap_or_default(),
            self.ratio().map(ratio_text).unwrap_or_default(),
            target,
            self.met().map(|met| if met { "met" } else { "MISSED" }.to_owned()).unwrap_or_default(),
        ]
    }
}

fn ratio_text(ratio: f64) -> String {
    match ratio {
        0.1.. => format!("{ratio:.2} ×"),
        _ => format!("{ratio:.3} ×"),
    }
}

/// The table, as Markdown that is also fit for a terminal.
pub fn render(rows: &[Row]) -> String {
    let head = ["", "figure", "baseline", "ratio", "target", ""].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.iter().map(Row::cells));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    let rule = widths.map(|width| "-".repeat(width));
    lines.insert(1, rule);
    let mut table = String::new();
    for cells in lines {
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let cell = match column {
                0 => format!("| {cell:<width$} "),
                _ => format!("| {cell:>width$} "),
            };
            table.push_str(&cell);
        }
        table.push_str("|\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whether_its_target_is_met() {
        let ms = |ms| Figure::Time(Duration::from_millis(ms));
        let met = |row: Row| row.met();
        assert_eq!(met(Row::new("", ms(5))), None);
        assert_eq!(met(Row::not_measured("").at_most(ms(5))), None);
        assert_eq!(met(Row::new("", ms(5)).at_most(ms(5))), Some(true));
        assert_eq!(met(Row::new("", ms(6)).at_most(ms(5))), Some(false));
        assert_eq!(met(Row::new("", ms(6)).beside_hello(ms(2)).at_most_times(3.0)), Some(true));
        assert_eq!(met(Row::new("", ms(7)).beside_hello(ms(2)).at_most_times(3.0)), Some(false));
        assert_eq!(met(Row::new("", ms(7)).beside(ms(2), "ingest").at_least_times(3.0)), Some(true));
        assert_eq!(met(Row::new("", ms(5)).beside(ms(2), "ingest").at_least_times(3.0)), Some(false));
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            Row::new("size", Figure::Bytes(5_500_000)).at_most(Figure::Bytes(6_000_000)),
            Row::new("calls", Figure::Count(3)).beside(Figure::Count(600), "one each"),
            Row::not_measured("the rest").at_most(Figure::Time(Duration::from_millis(2))),
        ];
        assert_eq!(
            render(&rows),
            "\
|          |       figure |     baseline |   ratio |    target |     |
| -------- | ------------ | ------------ | ------- | --------- | --- |
| size     |      5.50 MB |              |         | ≤ 6.00 MB | met |
| calls    |            3 | one each 600 | 0.005 × |           |     |
| the rest | not measured |              |         | ≤ 2.00 ms |     |
"
        );
    }
}
