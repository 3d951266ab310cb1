//! What runs went through, to show that the generators reach all of it.

/// Declares an enum of what a run can go through, with the list of its variants, and `Coverage`,
/// which counts them.
macro_rules! seen {
    ($($(#[$doc:meta])* $variant:ident,)+) => {
        /// Something that a run can go through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Seen { $($(#[$doc])* $variant,)+ }

        impl Seen {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];
        }

        /// How often each [`Seen`] was.
        #[derive(Clone)]
        pub(crate) struct Coverage([u64; Seen::ALL.len()]);

        impl Default for Coverage {
            fn default() -> Self {
                Self([0; Seen::ALL.len()])
            }
        }

        impl Coverage {
            pub(crate) fn note(&mut self, what: Seen) {
                self.0[what as usize] += 1;
            }

            pub(crate) fn note_if(&mut self, condition: bool, what: Seen) {
                self.0[what as usize] += u64::from(condition);
            }

            pub(crate) fn merge(&mut self, other: &Self) {
                self.0.iter_mut().zip(other.0).for_each(|(sum, part)| *sum += part);
            }

            /// What never happened.
            pub(crate) fn missing(&self) -> Vec<Seen> {
                let never = |what: &Seen| self.0[*what as usize] == 0;
                Seen::ALL.iter().copied().filter(never).collect()
            }
        }
    };
}
