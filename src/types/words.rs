//! Enums whose values are words.

/// Declares an enum together with the word of each value, so that a value without a word, or one that is missing in the list of
/// all, cannot be written down.
macro_rules! words {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $visible enum $name {
            $($(#[$doc])* $value),+
        }

        impl $name {
            /// All values, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The word for it on the wire, in metrics and in logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }

            /// The value that has this word.
            pub fn from_word(word: impl AsRef<[u8]>) -> Option<Self> {
                let word = word.as_ref();
                $(if word == $word.as_bytes() {
                    return Some(Self::$value);
                })+
                None
            }
        }
    };
}

/// Declares deliberate faults: an enum that knows all its values. Only the simulator asks for them.
macro_rules! faults {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$doc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(not(feature = "sim"), allow(dead_code, unreachable_pub, reason = "only named, to be denied"))]
        #[non_exhaustive]
        $visible enum $name {
            $($(#[$doc])* $value),+
        }

        #[cfg(feature = "sim")]
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The one of this name, as `Debug` shows it.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(name))
            }
        }
    };
}

pub(crate) use {faults, words};
