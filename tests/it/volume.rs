//! A volume of its own for a test, so small that it can be filled.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A file system in memory that only programs started [`Volume::enter`] see; gone when dropped.
///
/// It needs no rights: `unshare` makes whoever runs the tests the administrator of a name space with the volume in it.
pub(crate) struct Volume {
    holder: Child,
    mounted: TempDir,
}

impl Volume {
    /// A volume of so many MiB.
    pub(crate) fn new(mebibytes: usize) -> Self {
        let mounted = tempfile::tempdir().unwrap();
        let script =
            format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\" && echo mounted && exec sleep 100000");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .arg(mounted.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs: apt-get install -y util-linux");
        let mut told = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert_eq!(
            told.trim(),
            "mounted",
            "user name spaces are needed: sysctl kernel.unprivileged_userns_clone=1"
        );
        Self { holder, mounted }
    }

    /// How a command begins that is to see the volume.
    pub(crate) fn enter(&self) -> Vec<OsString> {
        let holder = self.holder.id().to_string();
        ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", &holder]
            .map(OsString::from)
            .to_vec()
    }

    /// Where those commands find it.
    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Where everyone else does.
    pub(crate) fn outside(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(self.mounted.path().strip_prefix("/").unwrap())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.outside().join("ballast")).unwrap();
        for block in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![1; block]).is_ok() {}
        }
    }

    /// Gives the room back that [`Volume::fill`] took.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.outside().join("ballast")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
