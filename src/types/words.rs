//! Enums that know their values.

/// Declares an enum that knows its values, and the words for them: a value without a word, or one that is missing in the list of all,
/// cannot be written down. For this workspace; not part of the interface.
///
/// - `Value = "word"`: `ALL`, `as_str` and `from_word`, for the wire, metrics and logs.
/// - `Value = "word" => "what it is"`: `ALL`, `name` and `spelled`, for command lines and reports.
/// - `Value`: only `ALL`.
#[doc(hidden)]
#[macro_export]
macro_rules! words {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $crate::words! {
            $(#[$about])*
            #[derive(Hash, PartialOrd, Ord)]
            $visible enum $name { $($(#[$doc])* $value),+ }
        }

        #[allow(dead_code, reason = "not every list is read back")]
        impl $name {
            /// The word for it on the wire, in metrics and in logs.
            $visible const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }

            /// The value that has this word.
            $visible fn from_word(word: impl AsRef<[u8]>) -> Option<Self> {
                let word = word.as_ref();
                $(if word == $word.as_bytes() {
                    return Some(Self::$value);
                })+
                None
            }
        }
    };
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal => $spelled:literal),+ $(,)? }) => {
        $crate::words! {
            $(#[$about])*
            #[derive(Hash, PartialOrd, Ord)]
            $visible enum $name { $(#[doc = $spelled] $(#[$doc])* $value),+ }
        }

        #[allow(dead_code, reason = "not every list is shown")]
        impl $name {
            /// As on the command line.
            $visible const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }

            /// As a person would say it.
            $visible const fn spelled(self) -> &'static str {
                match self {
                    $(Self::$value => $spelled),+
                }
            }
        }
    };
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$doc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible enum $name {
            $($(#[$doc])* $value),+
        }

        #[allow(dead_code, unreachable_pub, reason = "not every list is walked, or seen outside")]
        impl $name {
            /// All values, in the order in which they are reported.
            $visible const ALL: &'static [Self] = &[$(Self::$value),+];
        }
    };
}

/// Declares deliberate faults: an enum that knows all its values. Only the simulator asks for them.
macro_rules! faults {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($body:tt)+ }) => {
        $crate::words! {
            $(#[$about])*
            #[cfg_attr(not(feature = "sim"), allow(dead_code, unreachable_pub, reason = "hosts have none on"))]
            #[non_exhaustive]
            $visible enum $name { $($body)+ }
        }

        #[cfg(feature = "sim")]
        impl $name {
            /// The one of this name, as `Debug` shows it.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|fault| format!("{fault:?}").eq_ignore_ascii_case(name))
            }
        }
    };
}

pub(crate) use {faults, words};
