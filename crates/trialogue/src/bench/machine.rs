//! What the machine says: how long a sync takes, and what processes have used.

use crate::failure::Failure;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::load::Times;

const SYNCS: usize = 500;
const PAGES: u64 = 1024;
const PAGE: usize = 4096;

/// A file whose blocks are there already, as those of a segment of a log are.
pub(crate) struct Probe {
    file: File,
    writes: u64,
}

impl Probe {
    pub(crate) fn create(folder: &Path) -> Result<Self, Failure> {
        let mut file = File::create(folder.join("probe"))?;
        for _ in 0..PAGES {
            file.write_all(&[0; PAGE])?;
        }
        file.sync_all()?;
        Ok(Self { file, writes: 0 })
    }

    /// Writes the next page, and waits until the disk has it: by `fdatasync`, whose time is given.
    pub(crate) fn sync(&mut self) -> Result<Duration, Failure> {
        self.file.write_all_at(&[7; PAGE], self.writes % PAGES * PAGE as u64)?;
        self.writes += 1;
        let began = Instant::now();
        self.file.sync_data()?;
        Ok(began.elapsed())
    }

    /// One sync after the other.
    pub(crate) fn syncs(&mut self) -> Result<Times, Failure> {
        let times: Result<Vec<_>, Failure> = (0..SYNCS).map(|_| self.sync()).collect();
        Ok(Times::of(times?))
    }
}

/// What processes have used, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Written to disks.
    pub(crate) written: u64,
    /// In memory now.
    pub(crate) resident: u64,
}

impl Usage {
    pub(crate) fn of(processes: &[u32]) -> Result<Self, Failure> {
        let mut usage = Self::default();
        for process in processes {
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}"));
            usage.cpu += cpu(&read("stat")?).ok_or_else(|| unreadable("stat"))?;
            usage.written += number(&read("io")?, "write_bytes:").ok_or_else(|| unreadable("io"))?;
            usage.resident += number(&read("status")?, "VmRSS:").ok_or_else(|| unreadable("status"))? * 1024;
        }
        Ok(usage)
    }
}

fn unreadable(name: &str) -> Failure {
    Failure::Failed(format!("/proc/PID/{name} is not as proc(5) describes it"))
}

/// User and system time of `/proc/PID/stat`: its 14th and 15th field, of which the second may contain spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_has_used_can_be_read() {
        let mine = Usage::of(&[std::process::id()]).unwrap();
        assert!(mine.resident > 100_000, "{mine:?}");
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(stat), Some(Duration::from_millis(300 * 1000 / ticks)));
        assert_eq!(number("VmPeak: 1 kB\nVmRSS:\t  42 kB\n", "VmRSS:"), Some(42));
        assert_eq!(number("", "VmRSS:"), None);
    }
}
