//! The control socket, metrics and dashboard, each through its real interface.

mod ctl;
mod limits;
mod page;
mod peers;
mod reading;
mod rules;
mod saving;
mod socket;
