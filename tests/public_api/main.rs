//! The public surface of every crate that is meant to be published, and of the simulator, written down: the source without bodies,
//! docs and what is private, so that a change of it shows in the diff that makes it.
//!
//! Read from the source, because rustdoc gives out what it knows in a form that no stable toolchain promises. The compiler sees to it
//! (`unreachable_pub`) that what is `pub` there can be reached.
//!
//! What grows is `non_exhaustive`: errors, enums, reports. What a user fills in stays open (`Options`, `Settings` and views of Sentinel, `Pages`,
//! `Copying`, plans and habits of the simulator), and so does what somebody has to carry out case by case (`News` of the companion,
//! `Task` of a command line).

// Clippy knows only `#[test]` functions as tests, not the helpers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::{Attribute, Field, Fields, ImplItem, Item, TraitItem, Visibility, parse_quote};

/// Where the source is, where its surface stands, and how many files there are at least: fewer, and this looks in the wrong place.
const CRATES: [(&str, &str, usize); 9] = [
    ("src", "surface.txt", 50),
    (SIMULATOR, "sim.txt", 30),
    ("adapters/compare/src", "compare.txt", 4),
    ("adapters/kevy-server/src", "kevy-server.txt", 50),
    ("adapters/noise/src", "noise.txt", 3),
    ("adapters/ops/src", "ops.txt", 15),
    ("adapters/sentinel/src", "sentinel.txt", 5),
    ("adapters/watchdog/src", "watchdog.txt", 3),
    ("adapters/witness/src", "witness.txt", 3),
];
const REWRITE: &str = "REWRITE=1 cargo test --test public_api";
/// In the crate, and written down apart: it serves tests.
const SIMULATOR: &str = "src/sim";

#[test]
fn the_public_surfaces_are_what_is_written_down() {
    let wrong: String =
        CRATES.iter().map(|(source, written, files_min)| check(source, written, *files_min)).collect();
    assert!(
        wrong.is_empty(),
        "the public surface is not what is written down:{wrong}\nIf that is meant, `{REWRITE}` writes it down; \
         CHANGELOG.md says what users have to do"
    );
}

/// The lines that are gone or new.
fn check(source: &str, written: &str, files_min: usize) -> String {
    let mut files = Vec::new();
    read(Path::new(source), &mut files);
    files.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(files.len() >= files_min, "{source}: only {} files found", files.len());
    let types: BTreeSet<String> = files.iter().flat_map(|(_, items)| items).filter_map(public_type).collect();
    let shown: Vec<String> = files
        .into_iter()
        .map(|(path, items)| (path, items.into_iter().filter_map(|item| surface(item, &types)).collect()))
        .filter(|(_, items): &(PathBuf, Vec<Item>)| !items.is_empty())
        .map(|(path, items)| {
            let file = syn::File { shebang: None, attrs: Vec::new(), items };
            format!("// {}\n{}", path.display(), prettyplease::unparse(&file))
        })
        .collect();
    let (now, path) = (shown.join("\n"), Path::new("tests/public_api").join(written));
    if std::env::var_os("REWRITE").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let before = fs::read_to_string(&path).unwrap_or_default();
    let missing = |of: &str, from: &str, mark: char| -> String {
        let known: BTreeSet<&str> = from.lines().collect();
        of.lines().filter(|line| !known.contains(line)).map(|line| format!("\n{mark} {line}")).collect()
    };
    match before == now {
        true => String::new(),
        false => {
            format!("\n{}:{}{}", path.display(), missing(&before, &now, '-'), missing(&now, &before, '+'))
        }
    }
}

/// All files below `folder` with their items; enums that a macro declares are enums, structs are left as they stand.
fn read(folder: &Path, files: &mut Vec<(PathBuf, Vec<Item>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path != Path::new(SIMULATOR) {
            read(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let items = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap().items;
            let declared = |item| match item {
                Item::Macro(listed) if listed.ident.is_none() => {
                    listed.mac.parse_body().map_or(Item::Macro(listed), Item::Enum)
                }
                other => other,
            };
            files.push((path, items.into_iter().map(declared).collect()));
        }
    }
}

fn public_type(item: &Item) -> Option<String> {
    let (visible, name) = match item {
        Item::Struct(of) => (&of.vis, &of.ident),
        Item::Enum(of) => (&of.vis, &of.ident),
        Item::Trait(of) => (&of.vis, &of.ident),
        // Declared by a macro of its own.
        Item::Macro(of) => {
            let tokens = of.mac.tokens.to_string();
            let name = tokens.split("pub struct ").nth(1)?.split(' ').next()?;
            return Some(name.to_owned());
        }
        _ => return None,
    };
    is_public(visible).then(|| name.to_string())
}

fn is_public(visible: &Visibility) -> bool {
    matches!(visible, Visibility::Public(_))
}

/// Docs and hints to the compiler are no part of it.
fn bare(attributes: &mut Vec<Attribute>) {
    let tells = ["cfg", "derive", "deprecated", "must_use", "non_exhaustive", "async_trait"];
    attributes.retain(|attribute| tells.iter().any(|name| attribute.path().is_ident(name)));
}

/// What others see of an item, if they see any of it.
fn surface(mut item: Item, types: &BTreeSet<String>) -> Option<Item> {
    let visible = match &mut item {
        Item::Const(of) => (bare(&mut of.attrs), of.expr = parse_quote!(_), is_public(&of.vis)).2,
        Item::Enum(of) => {
            of.variants.iter_mut().for_each(|variant| {
                bare(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| bare(&mut field.attrs));
            });
            (bare(&mut of.attrs), is_public(&of.vis)).1
        }
        Item::Fn(of) => (bare(&mut of.attrs), of.block = parse_quote!({}), is_public(&of.vis)).2,
        Item::Impl(of) => {
            bare(&mut of.attrs);
            let inherent = of.trait_.is_none();
            of.items.retain_mut(|item| match item {
                ImplItem::Fn(of) => {
                    (bare(&mut of.attrs), of.block = parse_quote!({}), inherent && is_public(&of.vis)).2
                }
                ImplItem::Const(of) => {
                    (bare(&mut of.attrs), of.expr = parse_quote!(_), inherent && is_public(&of.vis)).2
                }
                ImplItem::Type(of) => (bare(&mut of.attrs), !inherent).1,
                _ => false,
            });
            let known = matches!(&*of.self_ty, syn::Type::Path(path)
                if path.path.segments.last().is_some_and(|last| types.contains(&last.ident.to_string())));
            known && (!inherent || !of.items.is_empty())
        }
        Item::Mod(of) => (bare(&mut of.attrs), is_public(&of.vis)).1,
        Item::Struct(of) => {
            hide(&mut of.fields);
            (bare(&mut of.attrs), is_public(&of.vis)).1
        }
        Item::Trait(of) => {
            of.items.iter_mut().for_each(|item| {
                if let TraitItem::Fn(of) = item {
                    bare(&mut of.attrs);
                    of.default = of.default.is_some().then(|| parse_quote!({}));
                }
            });
            (bare(&mut of.attrs), is_public(&of.vis)).1
        }
        Item::Type(of) => (bare(&mut of.attrs), is_public(&of.vis)).1,
        Item::Macro(_) => public_type(&item).is_some(),
        Item::Use(of) => (bare(&mut of.attrs), is_public(&of.vis)).1,
        _ => false,
    };
    visible.then_some(item)
}

/// Private fields are one, whatever they are.
fn hide(fields: &mut Fields) {
    let Fields::Named(named) = fields else { return };
    let hidden = named.named.iter().any(|field| !is_public(&field.vis));
    named.named =
        std::mem::take(&mut named.named).into_iter().filter(|field| is_public(&field.vis)).collect();
    named.named.iter_mut().for_each(|field| bare(&mut field.attrs));
    if hidden {
        let ty = parse_quote!(_);
        let (attrs, mutability) = (Vec::new(), syn::FieldMutability::None);
        let (vis, ident) = (Visibility::Inherited, Some(parse_quote!(_private)));
        named.named.push(Field { attrs, vis, mutability, ident, colon_token: None, ty });
    }
}
