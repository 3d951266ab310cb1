//! Namespaces in a row.

use crate::common::{Namespace, connect};

/// A namespace to send from, some for relays, and one to receive in. Interface `right` of each is
/// cabled to `left` of the next: cable n, from 1, joins 10.n.0.1 with 10.n.0.2 and fd0n::1 with
/// fd0n::2.
pub(crate) struct Line(Vec<Namespace>);

impl Line {
    pub(crate) fn new(hops: usize) -> Self {
        let spaces: Vec<_> = (0..hops + 2).map(|_| Namespace::new()).collect();
        for (cable, pair) in spaces.windows(2).enumerate() {
            connect((&pair[0], "right"), (&pair[1], "left"), cable as u8 + 1);
        }
        Self(spaces)
    }

    pub(crate) fn source(&self) -> &Namespace {
        &self.0[0]
    }

    /// The namespace of a relay, from 1.
    pub(crate) fn hop(&self, number: usize) -> &Namespace {
        &self.0[number]
    }

    pub(crate) fn sink(&self) -> &Namespace {
        &self.0[self.0.len() - 1]
    }
}
