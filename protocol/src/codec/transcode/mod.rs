//! The conversion table of SPEC.md §10: one value from one notation into the other, without a tree between them.
//! Both directions take checked payloads only and never fail; what is written around a payload is not their business.

mod timestamp;
mod to_json;
mod to_msgpack;

pub(crate) use to_json::msgpack_to_json;
pub(crate) use to_msgpack::json_to_msgpack;
