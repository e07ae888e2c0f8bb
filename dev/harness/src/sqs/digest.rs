//! The MD5 digests by which SQS lets clients check what it took.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::message::Attribute;

/// Over the attributes by name, each as length-prefixed name, type and value with a byte for the kind of
/// the value before it; none of no attributes.
pub(super) fn attributes_md5(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut hash = Md5::new();
    for (name, attribute) in attributes {
        let (kind, value) = attribute.value().unwrap_or_default();
        for (before, bytes) in
            [(None, name.as_bytes()), (None, attribute.data_type.as_bytes()), (Some(kind), &value)]
        {
            hash.update(before.as_slice());
            hash.update((bytes.len() as u32).to_be_bytes());
            hash.update(bytes);
        }
    }
    Some(hex::encode(hash.finalize()))
}
