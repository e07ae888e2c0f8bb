//! What AWS's services have in common.

use md5::{Digest, Md5};

/// The region that functions run in.
pub const REGION: &str = "eu-west-1";
/// The account that queues and functions belong to.
pub const ACCOUNT: &str = "000000000000";

pub(crate) fn queue_arn(queue: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}")
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}
