//! The terminal: text or JSON, colours, tables, questions, and a sign of life for whatever takes longer than a second.

use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::error::Error;
use crate::options::Consent;

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const RED: Style = AnsiColor::Red.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const GREEN: Style = AnsiColor::Green.on_default();

/// Where a command's answer goes.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// JSON for scripts, not text.
    pub json: bool,
}

impl Console {
    /// Prints a line for people; of a command that prints JSON it goes to the other stream.
    pub fn say(self, text: impl AsRef<str>) {
        if self.json {
            anstream::eprintln!("{}", text.as_ref());
        } else {
            anstream::println!("{}", text.as_ref());
        }
    }

    /// Prints a line for people; nothing where JSON is wanted.
    pub fn say_unless_json(self, text: impl AsRef<str>) {
        if !self.json {
            self.say(text);
        }
    }

    /// Prints a document if JSON is wanted, otherwise what `text` prints.
    ///
    /// # Errors
    /// If there is nobody to print to.
    pub fn show(self, document: &impl Serialize, text: impl FnOnce()) -> Result<(), Error> {
        if self.json {
            let json = serde_json::to_string_pretty(document)
                .map_err(|error| Error::Io("JSON".to_owned(), error.into()))?;
            writeln!(io::stdout(), "{json}").map_err(|error| Error::Io("the output".to_owned(), error))
        } else {
            text();
            Ok(())
        }
    }

    /// Waits for something, and says on a terminal what it waits for when that takes more than a second.
    pub async fn wait<T>(self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let second = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            done = &mut work => return done,
            () = second => (),
        }
        if !io::stderr().is_terminal() {
            return work.await;
        }
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        spinner.finish_and_clear();
        done
    }

    /// Asks whether to go on. Who gave `--yes` is not asked; where nobody can be asked the answer is no.
    ///
    /// # Errors
    /// [`Error::NotConfirmed`] if the answer is no.
    pub fn ask(self, question: &str, consent: &Consent) -> Result<(), Error> {
        if consent.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Error::NotConfirmed("there is nobody to ask; --yes goes on without a question"));
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Error::Io("the terminal".to_owned(), error))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Error::NotConfirmed("you did not say yes")),
        }
    }

    /// Asks for a secret without showing it; from something other than a terminal it is the first line.
    ///
    /// # Errors
    /// If nothing can be read.
    pub fn secret(self, prompt: &str) -> Result<String, Error> {
        let read = if io::stdin().is_terminal() {
            rpassword::prompt_password(format!("{prompt}: "))
        } else {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        };
        let secret = read.map_err(|error| Error::Io("the terminal".to_owned(), error))?;
        Ok(secret.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A table without lines, as wide as the terminal at most.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A text of somebody else's, without what would move the cursor or turn the direction of writing.
pub fn printable(text: &str) -> String {
    let is_safe = |c: &char| {
        !c.is_control()
            && !matches!(*c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(is_safe).collect()
}

/// A text in a style.
pub fn styled(style: Style, text: impl AsRef<str>) -> String {
    format!("{style}{}{style:#}", text.as_ref())
}

/// Small bars, one for each value, as high as it is beside the largest.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        if *value <= 0.0 { ' ' } else { BARS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1] }
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_sent_cannot_act_on_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c\r\nd"), "a[31mbcd");
    }

    #[test]
    fn a_sparkline_is_as_high_as_its_largest_value() {
        assert_eq!(sparkline(&[0.0, 1.0, 4.0, 8.0]), " ▁▄█");
        assert_eq!(sparkline(&[0.0, 0.0]), "  ");
    }

    #[test]
    fn a_table_has_a_head_and_no_lines() {
        let text = table(&["name", "count"], [vec!["segment".to_owned(), "3".to_owned()]]);
        assert_eq!(text, " NAME     COUNT\n segment  3");
    }
}
