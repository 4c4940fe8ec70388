//! A small disk of its own under each node's vote record, to fill up and to make read-only.
//!
//! A tmpfs, mounted in this program's own mount namespace, so that the machine's disks are left alone and
//! nothing stays behind. Read-only is made in the server's own mount namespace: an open lock file forbids it for the
//! disk as a whole, but not for another mount of the same directory, through which every later access goes.

use crate::space::{NAMES, run};
use kevy_elect_harness::failure::Failure;
use kevy_elect_harness::verdict::Node;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Room for the record and for what a node notes beside it.
const SIZE: &str = "size=4m,mode=0700";
/// What fills it.
const FILLER: &str = "filler";
/// From large to small, so that not a byte is left.
const CHUNKS: [usize; 3] = [65_536, 4096, 1];
/// More than [`SIZE`] holds of any chunk but the smallest: a disk that takes more is not the one that was meant.
const WRITES_MAX: usize = 8192;

/// The disks. Dropping it unmounts them.
pub(crate) struct Disks(Vec<PathBuf>);

impl Disks {
    /// One per node.
    pub(crate) fn mount(nodes: usize) -> Result<Self, Failure> {
        // Mounted one by one into the struct: an error unmounts those that were.
        let mut disks = Self(Vec::new());
        for node in 0..nodes {
            let path = Path::new(NAMES).join(format!("votes-{}", node + 1));
            fs::create_dir_all(&path).map_err(Failure::os(format!("create {}", path.display())))?;
            run("mount", &["-t", "tmpfs", "-o", SIZE, "none", &path.to_string_lossy()])?;
            disks.0.push(path);
        }
        Ok(disks)
    }

    /// Where a node's disk is.
    pub(crate) fn path(&self, node: Node) -> &Path {
        &self.0[node]
    }

    /// Leaves no room for a byte.
    pub(crate) fn fill(&self, node: Node) -> Result<(), Failure> {
        let path = self.0[node].join(FILLER);
        let failed = || Failure::os(format!("fill {}", path.display()));
        let mut file = File::create(&path).map_err(failed())?;
        for size in CHUNKS {
            let chunk = vec![b'.'; size];
            let mut full = false;
            for _ in 0..WRITES_MAX {
                match file.write_all(&chunk) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => {
                        full = true;
                        break;
                    }
                    Err(error) => return Err(failed()(error)),
                }
            }
            if !full {
                return Err(failed()(std::io::Error::other("it takes more than it should hold")));
            }
        }
        Ok(())
    }

    /// There is room again.
    pub(crate) fn empty(&self, node: Node) -> Result<(), Failure> {
        match fs::remove_file(self.0[node].join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Failure::os("remove what fills a disk")(error))
            }
            _ => Ok(()),
        }
    }

    /// Lets the server with this process id write no more.
    pub(crate) fn freeze(&self, node: Node, pid: u32) -> Result<(), Failure> {
        let (pid, path) = (pid.to_string(), self.0[node].to_string_lossy());
        run("nsenter", &["-t", &pid, "-m", "mount", "--bind", &path, &path])?;
        run("nsenter", &["-t", &pid, "-m", "mount", "-o", "remount,bind,ro", &path])
    }

    /// It may again. A process started meanwhile never was forbidden.
    pub(crate) fn thaw(&self, node: Node, pid: u32) -> Result<(), Failure> {
        run("nsenter", &["-t", &pid.to_string(), "-m", "umount", &self.0[node].to_string_lossy()])
    }

    /// Everything on it is gone.
    pub(crate) fn wipe(&self, node: Node) -> Result<(), Failure> {
        wipe(&self.0[node])
    }
}

/// Removes what is in a directory; links to other places stay.
pub(crate) fn wipe(directory: &Path) -> Result<(), Failure> {
    let failed = || Failure::os(format!("wipe {}", directory.display()));
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let kind = entry.file_type().map_err(failed())?;
        let removed = match () {
            () if kind.is_symlink() => Ok(()),
            () if kind.is_dir() => fs::remove_dir_all(entry.path()),
            () => fs::remove_file(entry.path()),
        };
        removed.map_err(failed())?;
    }
    Ok(())
}

impl Drop for Disks {
    fn drop(&mut self) {
        for path in &self.0 {
            // Lazily: a process that is just dying may still hold a file.
            let _ = run("umount", &["--lazy", &path.to_string_lossy()]);
        }
    }
}
