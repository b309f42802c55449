//! Memory that this process may still allocate.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::bail;
use rustix::process::{Resource, getrlimit};

use crate::output::format::format_bytes;

/// Memory that can be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// The limit that is reached first.
    pub limit: &'static str,
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({})", format_bytes(self.bytes), self.limit)
    }
}

/// Returns the memory that this process may still allocate: the free memory of the system, or less if the
/// process or one of its cgroups has a lower limit. `None` if the system does not report it.
pub fn available() -> Option<Available> {
    let process = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limit = |resource, field: &str, limit| {
        let used = kilobytes(&process, field)?;
        let bytes = getrlimit(resource).current?.saturating_sub(used);
        Some(Available { bytes, limit })
    };
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_system(&text));
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let cgroups = of_cgroups(Path::new("/sys/fs/cgroup"), &membership);
    let address_space = limit(Resource::As, "VmSize:", "ulimit -v");
    let data = limit(Resource::Data, "VmData:", "ulimit -d");
    let limits = [system, cgroups, address_space, data];
    limits.into_iter().flatten().min_by_key(|available| available.bytes)
}

/// Returns the resident memory of this process in bytes.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(0)
}

/// Checks that `needed` bytes can be allocated. The error names `purpose`, which needs them, and ends with
/// `advice`, the settings to change.
///
/// # Errors
/// Returns an error if less memory is available.
pub fn check(needed: u64, purpose: &str, advice: &str) -> anyhow::Result<()> {
    check_against(available().as_ref(), needed, purpose, advice)
}

fn check_against(
    available: Option<&Available>,
    needed: u64,
    purpose: &str,
    advice: &str,
) -> anyhow::Result<()> {
    match available {
        Some(available) if needed > available.bytes => bail!(
            "not enough memory: {purpose} needs about {}, but only {available} are available; {advice}",
            format_bytes(needed)
        ),
        _ => Ok(()),
    }
}

/// Returns the value of a line such as `MemFree:  123 kB` in bytes.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads `/proc/meminfo`.
fn of_system(meminfo: &str) -> Option<Available> {
    let bytes = kilobytes(meminfo, "MemAvailable:")? + kilobytes(meminfo, "SwapFree:").unwrap_or(0);
    Some(Available { bytes, limit: "memory of the system" })
}

/// Files of a version of cgroups.
struct CgroupFiles {
    limit: &'static str,
    used: &'static str,
    /// Field of `memory.stat` with the cached file contents, which give way to the process.
    cache: &'static str,
}

const VERSION_1: CgroupFiles = CgroupFiles {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: "total_inactive_file ",
};
const VERSION_2: CgroupFiles =
    CgroupFiles { limit: "memory.max", used: "memory.current", cache: "inactive_file " };

/// Returns the memory that the cgroups below `root` leave. `membership` has the format of
/// `/proc/self/cgroup`.
fn of_cgroups(root: &Path, membership: &str) -> Option<Available> {
    let mut bytes: Option<u64> = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, files) = match controllers {
            "" => (root.to_owned(), VERSION_2),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), VERSION_1)
            }
            _ => continue,
        };
        // The limit of each parent holds too. In a container, the path may be one of the host; the
        // mounted root then is the cgroup of the container.
        let path = PathBuf::from(path.trim_start_matches('/'));
        for parent in path.ancestors() {
            if let Some(left) = left_in(&root.join(parent), &files) {
                bytes = Some(bytes.map_or(left, |bytes| bytes.min(left)));
            }
        }
    }
    Some(Available { bytes: bytes?, limit: "limit of the cgroup" })
}

/// Returns the memory that is left in a cgroup; `None` if it has no limit.
fn left_in(directory: &Path, files: &CgroupFiles) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = number(files.limit)?;
    let used = number(files.used).unwrap_or(0);
    let stat = read("memory.stat").unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(files.cache)?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_swap_counts_as_memory_of_the_system() {
        let text = "MemTotal:  9 kB\nMemAvailable:    5 kB\nSwapTotal: 8 kB\nSwapFree:  2 kB\n";
        assert_eq!(of_system(text).unwrap().bytes, 7 * 1024);
        assert_eq!(of_system("MemTotal:  9 kB\n"), None);
    }

    #[test]
    fn every_cgroup_above_the_process_limits_it() {
        let root = tempfile::tempdir().unwrap();
        for group in ["a/b", "memory/job"] {
            fs::create_dir_all(root.path().join(group)).unwrap();
        }
        let file = |path, content| fs::write(root.path().join(path), content).unwrap();
        let left = |membership| of_cgroups(root.path(), membership).map(|left| left.bytes);
        file("a/b/memory.max", "max\n");
        assert_eq!(left("0::/a/b\n"), None);
        file("a/memory.max", "1000\n");
        file("a/memory.current", "700\n");
        file("a/memory.stat", "anon 5\nactive_file 7\ninactive_file 200\n");
        assert_eq!(left("0::/a/b\n"), Some(500));
        file("a/b/memory.max", "300\n");
        file("a/b/memory.current", "400\n");
        assert_eq!(left("0::/a/b\n"), Some(0));
        assert_eq!(left("0::/elsewhere\n"), None);
        // The root of a container.
        file("memory.max", "123\n");
        assert_eq!(left("0::/elsewhere\n"), Some(123));
        file("memory/job/memory.limit_in_bytes", "90\n");
        file("memory/job/memory.usage_in_bytes", "50\n");
        file("memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 20\n");
        assert_eq!(left("5:cpu,cpuacct:/x\n4:hugetlb,memory:/job\n"), Some(60));
    }

    #[test]
    fn the_error_says_what_is_missing_and_what_to_do() {
        let available = Available { bytes: 3 << 30, limit: "ulimit -v" };
        let check = |needed| check_against(Some(&available), needed, "training", "lower x");
        assert!(check(3 << 30).is_ok());
        let error = check(4 << 30).unwrap_err().to_string();
        assert_eq!(
            error,
            "not enough memory: training needs about 4.3 GB, but only 3.2 GB (ulimit -v) are available; \
             lower x"
        );
        assert!(check_against(None, u64::MAX, "", "").is_ok());
    }

    #[test]
    fn this_system_says_what_is_available() {
        assert!(available().is_some_and(|available| available.bytes > 0));
        assert!(resident() > 0);
    }
}
