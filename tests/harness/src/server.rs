//! Finding the server binary, and building it first when cargo runs us.

use crate::failure::Failure;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which server is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The one beside this program, built first when cargo runs us.
    Beside,
    /// A `kevy-server` with the plugin inside.
    At(PathBuf),
    /// An unmodified kevy.
    Stock(PathBuf),
}

/// The binary's name.
const NAME: &str = "kevy-server";

/// Where the server to run is.
pub fn locate(wanted: &Server) -> Result<PathBuf, Failure> {
    match wanted {
        Server::At(path) | Server::Stock(path) => existing(path, "there is no such file"),
        Server::Beside => {
            let program = std::env::current_exe().map_err(Failure::os("find this program"))?;
            let beside = program.with_file_name(NAME);
            if let (Some(cargo), Some(manifest)) =
                (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
            {
                build(Path::new(&cargo), Path::new(&manifest), &beside)?;
            }
            existing(
                &beside,
                "build it with `cargo build --release --ignore-rust-version -p kevy-server`, \
                 or name one with --server",
            )
        }
    }
}

/// Brings the server up to date. A stale binary would be measured without anybody noticing.
fn build(cargo: &Path, manifest: &Path, beside: &Path) -> Result<(), Failure> {
    let first = if beside.exists() { "" } else { " (the first time takes a minute or two)" };
    eprintln!("building {NAME}{first} ...");
    let mut command = Command::new(cargo);
    command
        .args(["build", "--ignore-rust-version", "-p", NAME])
        .arg("--manifest-path")
        .arg(manifest.join("Cargo.toml"))
        // Standard output may be somebody's JSON.
        .stdout(Stdio::null());
    let profile = beside.parent();
    if profile.is_some_and(|dir| dir.ends_with("release")) {
        command.arg("--release");
    }
    if let Some(target) = profile.and_then(Path::parent) {
        command.arg("--target-dir").arg(target);
    }
    let status = command.status().map_err(Failure::os(format!("run {}", cargo.display())))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::NoServer { path: beside.into(), why: format!("building it failed ({status}), see above") })
}

fn existing(path: &Path, why: &str) -> Result<PathBuf, Failure> {
    // Absolute, because the servers run in a directory of their own.
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        _ => Err(Failure::NoServer { path: path.into(), why: why.into() }),
    }
}
