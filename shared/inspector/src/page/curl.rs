//! An event as a command that sends it.

use super::text::is_odd;
use crate::backend::Route;
use crate::model::letter::is_plain;

/// The event as a command; URL and key are the user's to fill in. By `-d`, curl would send the file that an `@` names.
pub(super) fn curl(body: &str, route: Route, kind: Option<&str>) -> String {
    let quoted = quoted(body);
    let to = match route {
        Route::Vero => "\"$WEBHOOK_URL\"".to_owned(),
        Route::Segment => "\"$SEGMENT_WEBHOOK_URL\"".to_owned(),
        Route::Sdk => {
            let kind = kind.filter(|kind| is_plain(kind)).unwrap_or("track").to_lowercase();
            format!("-u \"$WRITE_KEY:\" \"$SDK_HOST/v1/{kind}\"")
        }
    };
    format!("curl -H 'content-type: application/json' --data-raw {quoted} {to}")
}

/// As one word of a shell. What acts on a terminal is written by its bytes.
fn quoted(text: &str) -> String {
    if !text.contains(is_odd) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let word: String = text
        .chars()
        .map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if is_odd(c) => c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            c => c.to_string(),
        })
        .collect();
    format!("$'{word}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_command_sends_the_body_and_nothing_else() {
        let to = |body: &str| curl(body, Route::Vero, None);
        let command = "curl -H 'content-type: application/json' --data-raw ";
        assert_eq!(to("@/etc/passwd"), format!("{command}'@/etc/passwd' \"$WEBHOOK_URL\""));
        assert_eq!(to("a'b\\"), format!(r"{command}'a'\''b\' ") + "\"$WEBHOOK_URL\"");
        let odd = "'\\\u{1b}\u{9b}\u{202e}é\r";
        assert_eq!(to(odd), format!(r"{command}$'\'\\\x1b\xc2\x9b\xe2\x80\xaeé\x0d' ") + "\"$WEBHOOK_URL\"");
    }
}
