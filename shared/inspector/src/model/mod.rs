//! What commands show and judge, without I/O: a stack's state, its figures, dead letters, log lines, what was found of
//! an event, and its story.

pub mod evidence;
pub mod figures;
pub mod known;
pub mod letter;
pub mod log_line;
pub mod mapping;
pub mod state;
pub mod story;
pub mod switches;
pub mod time;
