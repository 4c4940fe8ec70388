//! Manual pages, made from a program's own description of its command line.

use clap::Command;
use clap_mangen::Man;
use std::path::Path;

/// Writes a page for `command` and one for each of its commands, as `kevy-electctl.1` and `kevy-electctl-status.1`. Says how many.
pub fn write(command: Command, directory: &Path) -> Result<usize, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let name = command.get_name().to_owned();
    pages(&command, &name, directory).map_err(failed)
}

fn pages(command: &Command, name: &str, directory: &Path) -> std::io::Result<usize> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(name).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        count += pages(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(count)
}
