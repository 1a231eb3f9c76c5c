//! Sets of flags that have names, for arguments that asyncio calls `flags`.
//!
//! Their numbers are ours: the system's differ from one to the next, and only the crate
//! behind the feature `resolver` knows them.

/// Declares a set of flags, with the operations that such a set has.
macro_rules! flags {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$about_flag:meta])* $flag:ident = $bit:literal;)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(u8);

        impl $name {
            /// No flag.
            pub const NONE: Self = Self(0);
            $($(#[$about_flag])* pub const $flag: Self = Self($bit);)*

            /// Says whether all of `others` are among these.
            #[must_use]
            pub const fn contains(self, others: Self) -> bool {
                self.0 & others.0 == others.0
            }
        }

        impl std::ops::BitOr for $name {
            type Output = Self;

            fn bitor(self, others: Self) -> Self {
                Self(self.0 | others.0)
            }
        }

        /// The names, with `|` between them.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let all = [$((Self::$flag, stringify!($flag)),)*];
                let mut between = "";
                for (_, name) in all.iter().filter(|(flag, _)| self.contains(*flag)) {
                    write!(f, "{between}{name}")?;
                    between = " | ";
                }
                f.write_str(if between.is_empty() { "NONE" } else { "" })
            }
        }
    };
}

pub(super) use flags;
