//! The UDP tracker protocol (BEP 15).

pub mod connection_id;
pub mod connection_key;
pub mod handler;
