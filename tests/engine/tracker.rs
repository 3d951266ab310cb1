//! The tracker on the real ring, as clients meet it: every rule of BEP 15 that can be seen from
//! outside.

mod access;
mod addresses;
mod announce;
mod connection;
mod limits;
mod numwant;
mod scrape;
mod source_limits;
