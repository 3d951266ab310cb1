//! The UDP tracker protocol (BEP 15).

pub mod connection_id;
pub mod connection_key;
#[cfg(test)]
pub(crate) mod golden;
pub mod handler;
pub mod request;
pub mod request_write;
pub mod response;
pub mod response_parse;
pub mod wire;
