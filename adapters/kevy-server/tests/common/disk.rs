//! Disks that can lose their power, and slow ones: ext4 images that are mounted through loop devices. Needs root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `EXT4_IOC_SHUTDOWN` without flushing even the journal: what a power cut does.
const SHUTDOWN: &str = "open(my $fs, '<', $ARGV[0]) or die \"$!\"; my $how = pack('I', 2); \
                        ioctl($fs, 0x8004587d, $how) or die \"$!\"";

/// Where the kernel is told how fast a device may be for everybody.
const WRITE_RATE: &str = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device";

/// Runs a program that must succeed.
#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {} failed: {said}", args.join(" "));
}

/// A disk: an image with a file system, mounted where a node keeps its data.
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
    cuts: u32,
    slow: Option<String>,
}

impl Disk {
    pub fn new(megabytes: u64, image: PathBuf, at: &Path) -> Self {
        std::fs::File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        run("mkfs.ext4", &["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image.to_string_lossy()]);
        let disk = Self { image, at: at.to_owned(), cuts: 0, slow: None };
        disk.mount();
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", &self.image.to_string_lossy(), &self.at.to_string_lossy()]);
    }

    /// From now on it takes so many bytes per second, and whoever has more for it waits.
    #[track_caller]
    pub fn slow_down(&mut self, bytes: u64) {
        let at = std::fs::metadata(&self.at).unwrap().dev();
        let device = format!("{}:{}", rustix::fs::major(at), rustix::fs::minor(at));
        std::fs::write(WRITE_RATE, format!("{device} {bytes}")).unwrap_or_else(|error| {
            panic!("{WRITE_RATE} is needed, of version 1 of control groups: {error}")
        });
        self.slow = Some(device);
    }

    /// From now on nothing reaches it.
    pub fn cut(&self) {
        run("perl", &["-e", SHUTDOWN, &self.at.to_string_lossy()]);
    }

    /// What had not reached it is gone; what is there is read again. From a copy: the kernel may hold the old one for a
    /// while, and a file system that is mounted twice is one, and stays shut down.
    pub fn power_up(&mut self) {
        self.cuts += 1;
        let next = self.image.with_extension(self.cuts.to_string());
        let old = std::mem::replace(&mut self.image, next);
        run("cp", &["--sparse=always", &old.to_string_lossy(), &self.image.to_string_lossy()]);
        run("umount", &["--lazy", &self.at.to_string_lossy()]);
        std::fs::remove_file(old).unwrap();
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(device) = &self.slow {
            drop(std::fs::write(WRITE_RATE, format!("{device} 0")));
        }
        // Lazily: after a failed test a process may still hold a file.
        drop(Command::new("umount").arg("--lazy").arg(&self.at).output());
    }
}
