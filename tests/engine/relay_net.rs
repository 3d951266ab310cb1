//! The relay's operating-system side on real interfaces, in network namespaces of its own.
//!
//! These tests need root. Without it they fail and say so, unless RINGTIDE_SKIP_NAMESPACES=1.
#![allow(unreachable_pub)]

mod capture;
mod control;
mod egress;
mod filters;
mod frames;
mod handed;
mod links;
mod memberships;
mod pool;
