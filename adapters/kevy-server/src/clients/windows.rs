//! Tables with a `WINDOW`: kevy moves their older rows out of memory into files of its own, by itself, on every node. A snapshot then
//! names the files and not the rows, also one that is a copy for a replica, which has no such files: it ends at the first look at such
//! a row (docs/upstream.md). So no node of an election has such a table.

use kevy_index::{TableCatalog, parse_table_declare_partitioned};
use kevy_rt::ArgvView;
use std::path::Path;

/// The refusal of a declaration.
pub(crate) const REFUSED: &str = "ERR a table with a WINDOW cannot be copied to a replica: kevy 7.0.0 would copy the names of this \
    node's files instead of its rows; declare the table without WINDOW";

/// What kevy up to 6.4 kept tables in.
const CATALOG_BEFORE_7: &str = "table-catalog.meta";

/// Whether a command declares such a table.
pub(crate) fn declares<A: ArgvView + ?Sized>(args: &A) -> bool {
    let words: Vec<&[u8]> = (0..args.len()).map(|i| &args[i]).collect();
    words.iter().any(|word| word.eq_ignore_ascii_case(b"WINDOW"))
        && parse_table_declare_partitioned(&words).is_ok_and(|(table, _)| table.window.is_some())
}

/// The name of such a table in what kevy keeps beside a keyspace, if there is one.
pub(crate) fn declared_beside<A: ArgvView + ?Sized>(frame: &A) -> Option<String> {
    declared(std::str::from_utf8(frame.get(5)?).ok()?)
}

fn declared(catalog: &str) -> Option<String> {
    let tables = TableCatalog::from_sidecar(catalog)?;
    let table = tables.iter().find(|table| table.window.is_some())?;
    Some(String::from_utf8_lossy(&table.name).into_owned())
}

/// Why a node with such a table does not start.
pub(crate) fn why(table: &str) -> String {
    format!(
        "table {table} has a WINDOW, and could not be copied to a replica: without elections (enabled = false) drop it, declare it \
         without WINDOW, and write its rows anew"
    )
}

/// Refuses a data directory in which rows have been moved into files, or are about to be.
pub(crate) fn refuse(data_dir: &Path, shards: usize) -> Result<(), String> {
    let is_rows = |name: &str| name.starts_with("row-") && name.ends_with(".seg");
    for shard in 0..shards {
        let dir = kevy_persist::layout::segs_dir(data_dir, shard);
        let names =
            std::fs::read_dir(&dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.file_name()));
        if names.filter_map(|name| name.into_string().ok()).any(|name| is_rows(&name)) {
            return Err(format!(
                "{} holds rows of a table with a WINDOW, which could not be copied to a replica: without elections (enabled = \
                 false) drop the table, declare it without WINDOW, write its rows anew, and start once more, so that kevy removes the files",
                dir.display()
            ));
        }
    }
    let before = std::fs::read_to_string(data_dir.join(CATALOG_BEFORE_7)).unwrap_or_default();
    declared(&before).map_or(Ok(()), |table| Err(why(&table)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kevy_rt::Argv;

    #[test]
    fn only_a_whole_declaration_with_a_window_is_one() {
        let argv =
            |line: &str| Argv::from(line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
        let table = "t PREFIX t: PK id COLUMN id i64 COLUMN window i64 INDEX window range";
        for verb in ["TABLE.DECLARE", "table.ensure", "TABLE.REPLACE"] {
            assert!(!declares(&argv(&format!("{verb} {table}"))), "a column may be called so");
            assert!(declares(&argv(&format!("{verb} {table} window window SPAN 100 BUCKET 10"))));
            assert!(!declares(&argv(&format!("{verb} {table} WINDOW"))), "kevy itself refuses it");
        }
    }
}
