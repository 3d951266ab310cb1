//! The program where the kernel has less to give than it wants: features, rights, limits.

mod features;
mod limits;
mod rights;
