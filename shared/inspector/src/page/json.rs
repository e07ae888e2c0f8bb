//! JSON that can be folded, whose fields know what they are linked with.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::ruled::RuledRequest;
use super::text::{plain, shown};
use crate::links::{Links, escaped};

/// So many fields are shown at once.
const FIELDS: usize = 3_000;

/// What a field's pointer says of it.
pub(crate) enum Side<'a> {
    /// What came: the pointers that something was made of.
    Came { used: &'a BTreeSet<&'a str>, is_linked: bool },
    /// What is sent: by the name of its request; and what it would be otherwise.
    Sent { request: &'a str, links: &'a Links, before: Before<'a> },
}

/// What a request would be otherwise, so that a field can say who changed it.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    Unknown,
    /// Of a first-party event: without a blueprint.
    WithoutBlueprint(&'a Value),
    /// Of what rules hold for.
    WithoutRules(RuledRequest<'a>),
}

impl Before<'_> {
    /// Who changed a field, in words.
    fn author(self, pointer: &str, value: &Value) -> Option<String> {
        match self {
            Before::Unknown => None,
            Before::WithoutBlueprint(before) => {
                before.pointer(pointer).is_none().then(|| "renamed by the blueprint".to_owned())
            }
            Before::WithoutRules(ruled) => {
                ruled.author(pointer, Some(value)).map(|author| format!("by {author}"))
            }
        }
    }
}

/// A document.
pub(crate) fn tree(value: &Value, side: &Side<'_>) -> Markup {
    let mut left = FIELDS;
    html! {
        div.json { (node(None, value, "", side, &mut left)) }
        @if left == 0 { p.cut { "Only the first " (FIELDS) " fields are shown." } }
    }
}

fn node(name: Option<&str>, value: &Value, pointer: &str, side: &Side<'_>, left: &mut usize) -> Markup {
    if *left == 0 {
        return html! {};
    }
    *left -= 1;
    let label = html! { @if let Some(name) = name { span.name { (shown(name)) } ": " } };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let children = fields.iter().map(|(name, value)| {
                let pointer = format!("{pointer}/{}", escaped(name));
                node(Some(name), value, &pointer, side, left)
            });
            let children: Vec<Markup> = children.collect();
            folded(is_carried(pointer, side), &label, ("{", "}"), fields.len(), children)
        }
        Value::Array(all) if !all.is_empty() => {
            let children = all
                .iter()
                .enumerate()
                .map(|(place, value)| node(None, value, &format!("{pointer}/{place}"), side, left));
            let children: Vec<Markup> = children.collect();
            folded(is_carried(pointer, side), &label, ("[", "]"), all.len(), children)
        }
        _ => leaf(&label, value, pointer, side),
    }
}

/// What no field of the destination's own is made of goes under `vero`.
fn is_carried(pointer: &str, side: &Side<'_>) -> bool {
    pointer.ends_with("/vero") && matches!(side, Side::Sent { .. })
}

fn folded(
    is_carried: bool,
    label: &Markup,
    (open, close): (&str, &str),
    count: usize,
    children: Vec<Markup>,
) -> Markup {
    html! {
        details.carried[is_carried] open {
            summary { (label) (open) span.count { " " (count) } @if is_carried { span.note { " carried along as it came" } } }
            div.children { @for child in children { (child) } }
            (close)
        }
    }
}

fn leaf(label: &Markup, value: &Value, pointer: &str, side: &Side<'_>) -> Markup {
    let (path, from, note) = match side {
        Side::Came { used, is_linked } => {
            let is_lost = *is_linked && !used.contains(pointer) && !value.is_null();
            (pointer.to_owned(), String::new(), is_lost.then(|| "not sent".to_owned()))
        }
        Side::Sent { request, links, before } => {
            let from = links.get(&format!("{request}#{pointer}"));
            let from: Vec<&str> = from.into_iter().flatten().map(String::as_str).collect();
            let note = before.author(pointer, value);
            (format!("{request}#{pointer}"), from.join("\n"), note)
        }
    };
    html! {
        div.leaf data-path=(plain(&path)) data-from=(plain(&from)) tabindex=[(!from.is_empty()).then_some("0")] {
            (label)
            @match value {
                Value::String(text) => { span.text { "\"" (shown(text)) "\"" } },
                Value::Object(_) => "{}",
                Value::Array(_) => "[]",
                other => span.atom { (other.to_string()) },
            }
            @if let Some(note) = note { span.note { " " (shown(&note)) } }
        }
    }
}
