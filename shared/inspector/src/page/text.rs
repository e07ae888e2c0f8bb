//! Text of others.

use maud::{Markup, html};

/// So many characters are shown at once.
pub(crate) const SHOWN: usize = 2_000;

/// A text as what it is: characters that would act on others, or that nobody sees, are shown by their numbers.
pub(crate) fn shown(text: &str) -> Markup {
    let cut = text.char_indices().nth(SHOWN).map_or(text.len(), |(place, _)| place);
    html! {
        bdi { (visible(&text[..cut])) }
        @if cut < text.len() { span.cut { " … " (text.chars().count() - SHOWN) " more characters" } }
    }
}

/// The same without marks, for attributes.
pub(crate) fn plain(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect()
}

fn visible(text: &str) -> Markup {
    html! {
        @for piece in text.split_inclusive(is_odd) {
            @match piece.chars().next_back().filter(|c| is_odd(*c)) {
                Some(odd) => {
                    (piece[..piece.len() - odd.len_utf8()])
                    span.odd title="a character that is not shown as itself" { "U+" (format!("{:04X}", odd as u32)) }
                },
                None => (piece),
            }
        }
    }
}

/// Controls, marks of direction, and what has no width.
pub(super) fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_text_is_shown_by_its_number() {
        let html = shown("a<script>\u{202e}b\r\"'&").into_string();
        assert_eq!(
            html.replace(" title=\"a character that is not shown as itself\"", ""),
            "<bdi>a&lt;script&gt;<span class=\"odd\">U+202E</span>b<span class=\"odd\">U+000D</span>&quot;'&amp;</bdi>"
        );
        assert_eq!(plain("a\u{202e}b\rc"), "a\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let html = shown(&"é".repeat(SHOWN + 3)).into_string();
        assert!(html.contains("3 more characters") && html.len() < 2 * SHOWN + 100);
    }
}
