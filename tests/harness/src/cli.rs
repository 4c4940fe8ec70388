//! What the command lines of `cargo demo`, `cargo chaos` and `cargo race` share.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use std::time::Duration;

/// One of `all`, by its name; the help lists them with what they mean.
pub fn named<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    means: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let names = all.iter().map(move |one| PossibleValue::new(name(*one)).help(means(*one)));
    PossibleValuesParser::new(names)
        .try_map(move |text| all.iter().copied().find(|one| name(*one) == text).ok_or("there is none"))
}

/// A count within bounds.
pub fn count(min: u64, max: u64) -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u64).range(min..=max).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

/// Whole seconds within bounds.
pub fn seconds(min: u64, max: u64) -> impl TypedValueParser<Value = Duration> {
    clap::value_parser!(u64).range(min..=max).map(Duration::from_secs)
}
