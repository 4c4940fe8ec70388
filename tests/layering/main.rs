//! Imports go down only. Reads the source tree and fails on an import that the table below does not allow,
//! so that the layering cannot rot: a clock or a socket inside the elector would end its
//! determinism, and with it everything that the simulator proves.

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod circles;
mod source;
mod unsafety;

use circles::circles;
use source::{Mention, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// One row of the table. `name` is a folder or file of `src`, or one of [`ROOMS`]; the longest one that fits a file counts.
struct Layer {
    name: &'static str,
    /// What it may import of this crate: whole layers from rows above, or single items by name.
    may: &'static [&'static str],
    /// Which other crates.
    crates: &'static [&'static str],
    /// Words and paths of the standard library that must not appear.
    never: &'static [&'static str],
}

/// Same input, same output: no world, no clock, no chance, no order that differs from run to run.
const PURE: &[&str] = &[
    "async",
    "await",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    // All of `std::sync` but `Arc`, which shares what never changes.
    "std::sync::atomic",
    "std::sync::mpsc",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread_local",
    "println",
    "eprintln",
];
/// Nothing spawns and nothing blocks: the host's executor runs it all.
const ASYNC: &[&str] =
    &["std::fs", "std::process", "std::thread", "std::time::Instant", "std::time::SystemTime"];
const NO_NET: &[&str] = &["std::net", "std::thread", "std::time::Instant", "std::time::SystemTime"];
const NO_IO: &[&str] =
    &["std::net", "std::fs", "std::process", "std::thread", "std::time::Instant", "std::time::SystemTime"];

/// Folders whose modules are found at the crate's root: `src/types/ids.rs` is `crate::ids`.
const ROOMS: &[&str] = &["types", "host"];

#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    Layer { name: "words", may: &[], crates: &[], never: PURE },
    Layer { name: "rng", may: &[], crates: &[], never: PURE },
    Layer { name: "ids", may: &[], crates: &["thiserror"], never: PURE },
    Layer { name: "identity", may: &["ids"], crates: &[], never: PURE },
    Layer { name: "time", may: &[], crates: &[], never: PURE },
    Layer { name: "position", may: &["ids"], crates: &["thiserror"], never: PURE },
    Layer { name: "rank", may: &["time", "words"], crates: &["thiserror"], never: PURE },
    Layer { name: "config", may: &["rank", "ids", "time"], crates: &["thiserror"], never: PURE },
    Layer { name: "bounds", may: &["time", "config"], crates: &[], never: PURE },
    Layer { name: "pause", may: &["ids"], crates: &["thiserror"], never: PURE },
    Layer { name: "membership", may: &["ids", "config"], crates: &[], never: PURE },
    Layer { name: "message",
            may: &["words", "ids", "identity", "membership", "time", "position", "pause", "rank", "fence::Health"],
            crates: &[], never: PURE },
    Layer { name: "fence", may: &["words", "time"], crates: &[], never: PURE },
    Layer { name: "change", may: &["ids", "fence"], crates: &["thiserror"], never: PURE },
    Layer { name: "link", may: &["ids"], crates: &[], never: PURE },
    Layer { name: "state", may: &["ids", "time", "identity", "membership", "pause", "position", "message"], crates: &[], never: PURE },
    Layer { name: "transfer", may: &["words", "ids", "time", "position", "fence"], crates: &["thiserror"], never: PURE },
    Layer { name: "terms", may: &["rank", "config", "message"], crates: &[], never: PURE },
    Layer { name: "event",
            may: &["words", "ids", "time", "position", "message", "fence", "transfer", "change", "membership"],
            crates: &["log"], never: PURE },
    Layer { name: "elector",
            may: &["rng", "words", "ids", "identity", "time", "position", "config", "bounds", "message", "fence", "link", "state",
                   "membership", "change", "pause", "rank", "transfer", "event"],
            crates: &["thiserror"], never: PURE },
    Layer { name: "wire",
            may: &["ids", "identity", "membership", "pause", "rank", "time", "position", "message", "fence::Health"],
            crates: &["thiserror"], never: PURE },
    Layer { name: "clock", may: &["time"], crates: &["async_io", "futures", "rustix"], never: NO_IO },
    Layer { name: "host", may: &["ids", "time", "position", "fence"], crates: &["async_trait", "thiserror"], never: NO_IO },
    Layer { name: "store", may: &["ids", "time", "identity", "config", "membership", "pause", "position", "message", "state"],
            crates: &["async_trait", "blocking", "crc32fast", "futures", "thiserror"], never: NO_NET },
    Layer { name: "transport", may: &["rng", "words", "ids", "time", "position", "config", "message", "link", "wire", "clock"],
            crates: &["async_io", "async_trait", "blocking", "futures", "rustix", "thiserror"], never: ASYNC },
    Layer { name: "error", may: &["ids", "host", "store", "transport"], crates: &["thiserror"], never: NO_IO },
    Layer { name: "gate", may: &["time", "clock", "fence"], crates: &[], never: NO_IO },
    Layer { name: "driver",
            may: &["words", "ids", "time", "position", "config", "message", "fence", "link", "state", "membership", "change", "pause",
                   "rank", "transfer", "host", "event", "clock",
                   "store", "transport", "error", "elector", "gate", "terms"],
            crates: &["async_broadcast", "async_trait", "futures", "log", "metrics",
                     "thiserror"],
            never: NO_IO },
    Layer { name: "plugin",
            may: &["terms", "ids", "time", "position", "config", "message", "fence", "link", "state", "membership", "change", "pause",
                   "rank", "transfer", "host", "event", "clock",
                   "store", "transport", "error", "elector", "gate", "driver"],
            crates: &["async_channel", "async_trait", "futures", "thiserror"], never: NO_IO },
    // Virtual time only: a seed must reproduce a run.
    Layer { name: "sim",
            may: &["rng", "words", "ids", "identity", "time", "position", "config", "bounds", "message", "wire", "fence", "link", "state",
                   "host", "membership", "change", "pause", "rank", "transfer", "event", "clock", "store", "transport", "error",
                   "elector", "driver", "plugin"],
            crates: &["async_trait", "futures", "thiserror"],
            never: &["std::net", "std::fs", "std::process", "std::thread", "std::time::Instant", "std::time::SystemTime",
                     "HashMap", "HashSet", "SystemClock"] },
];

/// What an adapter may use of the plugin. Not the machinery: `elector`, `driver`, `wire`, `sim`.
const ADAPTER: Layer = Layer {
    name: "adapters",

    may: &[
        "words",
        "ids",
        "time",
        "position",
        "config",
        "message",
        "pause",
        "rank",
        "change",
        "membership",
        "transfer",
        "host",
        "event",
        "clock",
        "store",
        "transport",
        "error",
        "plugin",
    ],
    crates: &[],
    never: &[],
};

#[test]
fn no_layer_imports_what_it_must_not() {
    let crates = dependencies();
    let mut wrong = Vec::new();
    let mut files = 0;
    for file in sources(&root().join("src")) {
        if file.path == ["lib"] || file.path == ["types"] {
            continue;
        }
        files += 1;
        match layer_of(&file.path) {
            Some(layer) => wrong.extend(violations(layer, &file, &crates)),
            None => wrong.push(format!("{}: no row of the table says what it may import", file.shown)),
        }
    }
    assert!(files >= 15, "only {files} files found: the test looks in the wrong place");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn adapters_use_the_public_api_alone() {
    let mut wrong = Vec::new();
    let mut files = 0;
    for adapter in fs::read_dir(root().join("adapters")).unwrap() {
        let adapter = adapter.unwrap().path();
        if !adapter.join("Cargo.toml").exists() {
            continue; // Rules and a dashboard, no crate.
        }
        for mut file in sources(&adapter.join("src")) {
            files += 1;
            file.hidden.clear(); // The compiler guards privacy here, wherever the code stands.
            // Seen from outside, the plugin is what `crate` is inside.
            file.mentions.retain(|m| m.path[0] == "kevy_elect_plugin");
            file.mentions.iter_mut().for_each(|m| m.path[0] = "crate".to_owned());
            file.path = vec!["adapters".to_owned()];
            wrong.extend(violations(&ADAPTER, &file, &[]));
        }
    }
    assert!(files > 0, "no adapters found: the test looks in the wrong place");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut crates = vec![root().join("src")];
    for folder in ["adapters", "benches", "examples", "tests"] {
        let inside = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        crates.extend(inside.filter(|path| path.join("Cargo.toml").exists()).map(|path| path.join("src")));
    }
    assert!(crates.len() > 15, "only {} crates found: the test looks in the wrong place", crates.len());
    let found: Vec<_> = crates.iter().flat_map(|source| circles(&sources(source), ROOMS)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The test's own test.
#[test]
fn a_circle_is_found_however_long_and_however_it_is_written() {
    let read = |files: &[(&str, &str)]| -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::read(path, &path.split('/').collect::<Vec<_>>(), text))
            .collect()
    };
    for circle in [
        &[("a/b", "use super::c::C;"), ("a/c", "use crate::a::b::B;")][..],
        &[("a", "mod b; use b::B;"), ("a/b", "use super::A;")],
        &[("a", "fn f() { crate::b::f() }"), ("b", "use crate::c::{f, g};"), ("c", "use crate::a;")],
        &[("a", "use crate::b::B;"), ("types/b", "use crate::a::A;")],
        &[("host", "mod b; pub use b::B;"), ("host/b", "use crate::host::A;")],
        &[("a", "use crate::host::b::B;"), ("host/b", "use crate::a::A;")],
    ] {
        assert_eq!(circles(&read(circle), ROOMS).len(), 1, "{circle:?}");
    }
    for line in [
        &[("a", "mod b; mod c; use b::B; pub use c::C;"), ("a/b", "use super::c::C;"), ("a/c", "")][..],
        &[("a", "mod b;"), ("a/b", "pub(in crate::a) struct B; use super::A;")],
        &[("a", "use crate::b::B;"), ("b", "/// [`A`](crate::a::A)\npub struct B;")],
    ] {
        assert!(circles(&read(line), ROOMS).is_empty(), "{line:?}");
    }
}

#[test]
fn every_layer_of_the_table_is_there() {
    for Layer { name, .. } in LAYERS {
        let exists = ROOMS.iter().map(|room| format!("src/{room}/")).chain(["src/".to_owned()]).any(|room| {
            let path = root().join(room).join(name);
            path.is_dir() || path.with_extension("rs").is_file()
        });
        assert!(exists, "src/{name} is missing; was it renamed? Then rename its row");
    }
}

#[test]
fn the_table_itself_goes_down_only() {
    for (row, layer) in LAYERS.iter().enumerate() {
        for may in layer.may.iter().filter(|may| !may.contains("::")) {
            let below = LAYERS[..row].iter().any(|lower| lower.name == *may);
            assert!(below, "{} may import {may}, which is not a row above it", layer.name);
        }
    }
}

/// The test's own test: without it, a reader that finds nothing would pass everything.
#[test]
fn what_is_forbidden_is_found_however_it_is_written() {
    for (layer, text) in [
        ("elector", "use std::net::TcpStream;"),
        ("elector", "use std::{fmt, net};"),
        ("elector", "use std::{fmt, net as n};"),
        ("elector", "use ::std::{time::{Duration, Instant}};"),
        ("elector", "use core::time as t; use std::time;"),
        ("elector", "use std as s;"),
        ("elector", "fn f() { let _ = std::time::Instant::now(); }"),
        ("elector", "fn f() { std :: thread :: sleep(d) }"),
        ("elector", "use std::collections::*; struct S(HashMap<u8, u8>);"),
        ("elector", "use std::collections::{BTreeMap, HashSet};"),
        ("elector", "use std::sync::{Arc, Mutex};"),
        ("elector", "use std::sync::{Arc, atomic::AtomicU64};"),
        ("elector", "async fn f() {}"),
        ("elector", "fn f() { fastrand::u8(..) }"),
        ("elector", "use async_trait::async_trait;"),
        ("elector", "use crate::transport::Transport;"),
        ("elector", "use crate::{ids, store};"),
        ("elector", "use super::super::driver::Driver;"),
        ("elector", "use crate as me;"),
        ("elector", "fn f(s: &crate::clock::SystemClock) {}"),
        ("elector", "const C: char = '\"'; use std::fs; const D: char = '\"';"),
        ("elector", "fn f<'a>(s: &'a str) {} use std::fs; fn g<'b>() {}"),
        ("elector", "#[cfg(test)]\nmod tests { use std::fs; }\nuse std::fs;"),
        ("elector", "mod inline { use super::super::super::driver; }"),
        ("elector", "#[path = \"../driver/mod.rs\"]\nmod d;"),
        ("elector", "include!(\"../driver/mod.rs\");"),
        ("wire", "use crate::config::Config;"),
        ("wire", "use crate::transport::RefuseReason;"),
        ("store", "use crate::driver::Driver;"),
        ("store", "use std::net::TcpListener;"),
        ("clock", "use crate::sim::World;"),
        ("gate", "use crate::plugin::QuorumPlugin;"),
        ("plugin", "use crate::sim::World;"),
        ("driver", "use crate::plugin::QuorumPlugin;"),
        ("sim", "use crate::clock::SystemClock;"),
    ] {
        assert!(!check(layer, text).is_empty(), "{layer} passed with: {text}");
    }
}

#[test]
fn what_is_allowed_passes() {
    for (layer, text) in [
        ("elector", "use crate::ids::{Epoch, NodeId}; use crate::state::HardState; use std::fmt;"),
        ("elector", "use crate::fence::{FenceReason, Health};\nuse super::super::ids::Epoch;"),
        ("elector", "use super::peer::View; use self::votes::Votes; use crate::elector::Output;"),
        ("elector", "pub(crate) fn f() -> std::time::Duration { d }"),
        ("elector", "// use std::fs;\n/* use /* std::net */ std::fs; */ /// see [`crate::driver`]\n"),
        (
            "elector",
            "const S: &str = \"use std::fs;\"; const R: &str = r#\"\" std::net \"#; const B: &[u8] = b\"async\";",
        ),
        ("elector", "#[cfg(test)]\nmod tests { use std::collections::HashMap; use crate::sim::World; }"),
        ("elector", "#[cfg(test)]\n#[allow(clippy::panic, reason = \"[\")]\nmod tests { use std::fs; }"),
        ("elector", "use std::sync::Arc;"),
        ("driver", "use crate::gate::WriteGate; async fn f() { metrics::gauge!(\"x\").set(1.0) }"),
        ("gate", "use crate::clock::Clock; use std::sync::Arc;"),
    ] {
        assert_eq!(check(layer, text), Vec::<String>::new(), "{text}");
    }
}

fn check(layer: &str, text: &str) -> Vec<String> {
    let row = LAYERS.iter().find(|row| row.name == layer).unwrap();
    let mut path: Vec<&str> = layer.split('/').collect();
    path.extend((path.len() == 1).then_some("part"));
    violations(row, &Source::read("(text)", &path, text), &["fastrand".to_owned(), "async_trait".to_owned()])
}

fn violations(layer: &Layer, file: &Source, crates: &[String]) -> Vec<String> {
    let mut wrong: Vec<String> = file.hidden.iter().map(|what| format!("{}: {what}", file.shown)).collect();
    for mention in &file.mentions {
        if let Some(why) = refused(layer, mention, crates) {
            let path = mention.path.join("::");
            wrong.push(format!("{}:{}: `{path}`: `{}` {why}", file.shown, mention.line, layer.name));
        }
    }
    wrong
}

/// Why `layer` must not mention this.
fn refused(layer: &Layer, mention: &Mention, crates: &[String]) -> Option<String> {
    let path: Vec<&str> = mention.path.iter().map(String::as_str).collect();
    for never in layer.never {
        let banned: Vec<&str> = never.split("::").collect();
        let named = if banned.len() == 1 { path.contains(never) } else { path.starts_with(&banned) };
        // An import of `std` or `std::time` gives the banned thing another name.
        if named || mention.import && banned.len() > 1 && banned.starts_with(&path) {
            return Some(format!("must not use {never}"));
        }
    }
    match path[..] {
        ["crate"] if mention.import => Some("must not give the crate another name".to_owned()),
        ["crate"] => None,
        ["crate", ..] => {
            let inside = |name: &str| {
                path[1..].starts_with(&name.split("::").flat_map(|part| part.split('/')).collect::<Vec<_>>())
            };
            let may = inside(layer.name) || layer.may.iter().any(|may| inside(may));
            (!may).then(|| format!("may import {}", layer.may.join(", ")))
        }
        [first, ..] if (path.len() > 1 || mention.import) && crates.iter().any(|name| name == first) => {
            (!layer.crates.contains(&first)).then(|| format!("may use the crates {:?}", layer.crates))
        }
        _ => None,
    }
}

fn layer_of(path: &[String]) -> Option<&'static Layer> {
    let named =
        |path: &[String]| LAYERS.iter().any(|layer| path.first().is_some_and(|first| first == layer.name));
    let path = match path {
        [room, inside @ ..] if ROOMS.contains(&room.as_str()) && named(inside) => inside.join("/"),
        whole => whole.join("/"),
    };
    let fits = |name: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    LAYERS.iter().filter(|layer| fits(layer.name)).max_by_key(|layer| layer.name.len())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The crates that the source can name at all.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    let names = section.lines().take_while(|line| !line.starts_with('['));
    let names: Vec<String> =
        names.filter_map(|line| Some(line.split_once(['=', '.'])?.0.trim().replace('-', "_"))).collect();
    assert!(names.iter().any(|name| name == "thiserror"), "no dependencies found: {names:?}");
    names
}

/// All files under `directory` that are compiled into the product.
fn sources(directory: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut test_only = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let inside = path.strip_prefix(directory).unwrap().with_extension("");
                let mut module: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
                if module.len() > 1 && module.last() == Some(&"mod") {
                    module.pop();
                }
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                let source = Source::read(&shown, &module, &fs::read_to_string(&path).unwrap());
                let parent = if source.path == ["lib"] { &[][..] } else { &source.path[..] };
                test_only.extend(
                    source.test_only.iter().map(|name| [parent, std::slice::from_ref(name)].concat()),
                );
                found.push(source);
            }
        }
    }
    found.retain(|source| !test_only.iter().any(|test| source.path.starts_with(test)));
    found.sort_by(|a, b| a.shown.cmp(&b.shown));
    found
}
