//! `ingest` beside its twins as bars, for docs/performance.md.

use std::fmt::Write as _;

use crate::table::Figure;
use crate::twins::Contender;

const WIDTH: usize = 720;
/// Where bars begin, and how long the longest is; behind it there is room for its figure.
const LEFT: usize = 100;
const LONGEST: f64 = 500.0;
const LINE: usize = 24;

/// Legible on white and on black, since the page is read on both.
const OURS: &str = "#d9480f";
const THEIRS: &str = "#767676";

/// One of a contender's figures.
type Pick = fn(&Contender) -> Figure;

/// An SVG image: a group of bars for each figure, each group to its own scale.
pub fn render(contenders: &[Contender]) -> String {
    let groups: [(&str, Pick); 3] = [
        ("From the start of the process to the first answer", |contender| Figure::Time(contender.start)),
        ("A warm answer, one KB on SQS (a stand-in on this machine)", |contender| {
            Figure::Time(contender.answer)
        }),
        ("Resident memory, after 550 answers", |contender| contender.memory),
    ];
    let mut bars = String::new();
    let mut top = 0;
    for (title, figure) in groups {
        top += LINE;
        line(&mut bars, 0, top, THEIRS, title);
        let most =
            contenders.iter().map(|contender| figure(contender).value()).fold(f64::MIN_POSITIVE, f64::max);
        for (number, contender) in contenders.iter().enumerate() {
            top += LINE;
            let (figure, colour) = (figure(contender), if number == 0 { OURS } else { THEIRS });
            let length = (figure.value() / most * LONGEST).max(1.0);
            line(&mut bars, 0, top, colour, contender.language);
            // Writing to a string cannot fail.
            let _ = writeln!(
                bars,
                r#"<rect x="{LEFT}" y="{}" width="{length:.0}" height="14" fill="{colour}"/>"#,
                top - 12
            );
            line(&mut bars, LEFT + length as usize + 8, top, colour, &figure.to_string());
        }
        top += LINE / 2;
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" font-family="sans-serif" font-size="14">
{bars}</svg>
"#
    )
}

fn line(svg: &mut String, x: usize, y: usize, colour: &str, text: &str) {
    let _ = writeln!(svg, r#"<text x="{x}" y="{y}" fill="{colour}">{text}</text>"#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let contender = |language, milliseconds| Contender {
            language,
            start: Duration::from_millis(milliseconds),
            answer: Duration::from_micros(milliseconds),
            memory: Figure::Bytes(milliseconds * 1_000_000),
        };
        let svg = render(&[contender("Rust", 5), contender("Python", 250)]);
        assert_eq!(svg.matches(&format!(r#"width="10" height="14" fill="{OURS}""#)).count(), 3, "{svg}");
        assert_eq!(svg.matches(&format!(r#"width="500" height="14" fill="{THEIRS}""#)).count(), 3);
        assert!(svg.contains(">5.00 ms</text>") && svg.contains(">250.00 MB</text>"));
    }
}
