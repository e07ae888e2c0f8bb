//! JSON text that is taken apart no further than needed, and put together again without re-typing it.
//!
//! Values stay the text that they are: number spellings, key order, 64-bit ids, odd escapes and any depth of nesting
//! survive, and nothing here recurses over anybody's input.
//!
//! - `value`: one value, as its text. `object`: an object whose fields are taken out. `write`: an object that is written.
//! - `split`: where the fields of a valid object end. `search`: one field of JSON that nobody has vouched for.
//!   `scan`: what both have in common.

mod object;
mod scan;
mod search;
mod split;
mod value;
mod write;

pub use object::{FieldPath, Object};
pub use search::Unchecked;
pub use value::{Json, Kind};
pub use write::{ObjectWriter, quote, sqs_safe};
