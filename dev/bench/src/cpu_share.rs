//! The share of a core that Lambda gives a function of some memory, as the CPU quota of a cgroup.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// At this memory a function has one whole core (Lambda developer guide, "Configure Lambda function memory").
const WHOLE_CORE_MB: u64 = 1_769;

/// In one of these a process gets its quota, all at once if it wants, and then nothing until the next.
const PERIOD_US: u64 = 20_000;

/// A cgroup with a quota; removed when dropped, if no process is left in it.
pub struct CpuShare {
    folder: PathBuf,
}

impl CpuShare {
    /// Makes the cgroup, of version 1 or 2. It takes the right to do so, which root mostly has.
    pub fn of_memory(mb: u64) -> Result<Self> {
        let quota_us = PERIOD_US * mb / WHOLE_CORE_MB;
        let v1 = Path::new("/sys/fs/cgroup/cpu");
        let (root, limits) = if v1.is_dir() {
            let period = ("cpu.cfs_period_us", PERIOD_US.to_string());
            (v1, vec![period, ("cpu.cfs_quota_us", quota_us.to_string())])
        } else {
            (Path::new("/sys/fs/cgroup"), vec![("cpu.max", format!("{quota_us} {PERIOD_US}"))])
        };
        let folder = root.join(format!("vero-relay-bench-{}-{mb}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let share = Self { folder };
        for (file, value) in limits {
            share.write(file, &value)?;
        }
        Ok(share)
    }

    /// Holds a process, with all of its threads, to the quota from now on.
    pub fn admit(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Only into files that are there: where there is no such controller, this is an error.
    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.folder.join(file);
        let write = || OpenOptions::new().write(true).open(&path)?.write_all(value.as_bytes());
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for CpuShare {
    fn drop(&mut self) {
        // A process that is still in it keeps it.
        let _ = fs::remove_dir(&self.folder);
    }
}
