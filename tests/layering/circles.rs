//! Which files import each other in a circle.

use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// Groups of files that cannot be read one after the other: each imports, by way of others perhaps, every other one of its group.
/// `rooms` are folders whose modules are found at the root too: by both paths it is the same file.
pub(crate) fn circles(files: &[Source], rooms: &[&str]) -> Vec<Vec<String>> {
    let outside = |path: &[String]| {
        let inside = path.len() > 1 && rooms.contains(&path[0].as_str());
        inside.then(|| path[1..].to_vec())
    };
    let numbered = || files.iter().enumerate();
    let mut modules: BTreeMap<Vec<String>, usize> =
        numbered().filter_map(|(number, file)| Some((outside(&file.path)?, number))).collect();
    modules.extend(numbered().map(|(number, file)| (file.path.clone(), number)));
    let imports: Vec<BTreeSet<usize>> = files
        .iter()
        .enumerate()
        .map(|(number, file)| {
            let named = file.mentions.iter().filter_map(|mention| {
                if !mention.import && mention.path[0] == "crate" && file.path.starts_with(&mention.path[1..])
                {
                    return None; // `pub(in crate::...)`
                }
                let path = match mention.path[0].as_str() {
                    "crate" => mention.path[1..].to_vec(),
                    // Declared here, which is no import.
                    _ if mention.path.len() == 1 => return None,
                    // Perhaps a module inside this one.
                    _ => [file.path.clone(), mention.path.clone()].concat(),
                };
                // The longest path that is a file; what follows is an item in it.
                (1..=path.len()).rev().find_map(|length| modules.get(&path[..length]))
            });
            named.copied().filter(|other| *other != number).collect()
        })
        .collect();
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(|from| reach(from, &imports)).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for file in 0..files.len() {
        let circle: Vec<usize> = (0..files.len())
            .filter(|other| reached[file].contains(other) && reached[*other].contains(&file))
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            found.push(circle.into_iter().map(|number| files[number].shown.clone()).collect());
        }
    }
    found
}

fn reach(from: usize, imports: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let (mut reached, mut pending) = (BTreeSet::new(), vec![from]);
    while let Some(file) = pending.pop() {
        pending.extend(imports[file].iter().filter(|next| reached.insert(**next)));
    }
    reached
}
