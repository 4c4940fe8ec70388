//! Lines for people, on standard error.

use kevy_config::LogLevel;
use log::LevelFilter;

/// Every decision of the election, one line each, beside what the server says. `RUST_LOG` overrides the level.
pub fn begin(level: LogLevel) {
    let level = match level {
        LogLevel::Trace => LevelFilter::Trace,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Error => LevelFilter::Error,
        _ => LevelFilter::Info,
    };
    let logger = env_logger::Builder::new()
        .filter_level(level)
        .format_timestamp_micros()
        .parse_default_env()
        .try_init();
    // Someone who embeds this crate has a logger already.
    drop(logger);
}
