//! What only tests ask of the deployed stack: the roles' rights ([`permissions`]), and the inspector's page in a browser
//! ([`inspector`]).

mod inspector;
mod permissions;

use std::time::Duration;

const DEADLINE_AFTER: Duration = Duration::from_secs(60);
