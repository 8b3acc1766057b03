//! What this machine has, and what of it this process may take: cores, memory, GPUs, time.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Threads that can run at a time: cores, or fewer where the process is given fewer.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// That it may take in all: that of the machine, or what a control group or Slurm allows.
    pub(super) most: usize,
    /// That is free of it.
    pub(super) free: usize,
}

impl Memory {
    /// As Linux says; 4 GiB where it does not.
    pub(super) fn here() -> Self {
        let text = fs_err::read_to_string("/proc/meminfo").unwrap_or_default();
        let of_machine = Self {
            most: kib(&text, "MemTotal:").unwrap_or(4 << 30),
            free: kib(&text, "MemAvailable:").unwrap_or(4 << 30),
        };
        let groups = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_slurm = slurm_memory(&|name| std::env::var(name).ok()?.parse().ok());
        of_machine.within(of_group(&groups, Path::new("/sys/fs/cgroup"))).within(of_slurm.map(|most| (most, most)))
    }

    /// The same under a limit, of which so much is free.
    fn within(self, limit: Option<(usize, usize)>) -> Self {
        let (most, free) = limit.unwrap_or((self.most, self.free));
        Self { most: self.most.min(most), free: self.free.min(free) }
    }
}

/// The value of a line of `/proc/meminfo`, in bytes.
fn kib(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.saturating_mul(1024))
}

/// The tightest limit of the control groups that this process is in, and what is free below it.
///
/// `groups` is what `/proc/self/cgroup` says. A container may see its own group as the root, so all that is above counts too.
fn of_group(groups: &str, root: &Path) -> Option<(usize, usize)> {
    let group = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        match controllers {
            "" => Some((root.to_owned(), path, ["memory.max", "memory.current", "inactive_file "])),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
                Some((root.join("memory"), path, names))
            }
            _ => None,
        }
    });
    let (root, path, [most, now, idle]) = group?;
    let own = root.join(path.trim_start_matches('/'));
    let limit = |folder: &Path| {
        let read = |name: &str| fs_err::read_to_string(folder.join(name)).ok();
        // `max` is no number: no limit. So is, in version 1, one that no machine has.
        let most: usize = read(most)?.trim().parse().ok()?;
        let now: usize = read(now)?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let idle = stat.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse::<usize>().ok()).unwrap_or(0);
        Some((most, most.saturating_sub(now.saturating_sub(idle))))
    };
    let above: Vec<PathBuf> =
        own.ancestors().take_while(|folder| folder.starts_with(&root)).map(Path::to_owned).collect();
    let limits: Vec<(usize, usize)> = above.iter().filter_map(|folder| limit(folder)).collect();
    Some((limits.iter().map(|(most, _)| *most).min()?, limits.iter().map(|(_, free)| *free).min()?))
}

/// The memory that Slurm gave this task, in bytes.
fn slurm_memory(read: &dyn Fn(&str) -> Option<usize>) -> Option<usize> {
    let of_cores = || read("SLURM_MEM_PER_CPU")?.checked_mul(read("SLURM_CPUS_ON_NODE")?);
    let mib = read("SLURM_MEM_PER_NODE").or_else(of_cores)?;
    // `--mem=0` is all of a node.
    mib.checked_mul(1 << 20).filter(|bytes| *bytes > 0)
}

/// When Slurm ends this task, where it says so.
pub(super) fn ends_at() -> Option<SystemTime> {
    let seconds: u64 = std::env::var("SLURM_JOB_END_TIME").ok()?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// How many GPUs this process sees; what is wrong if that cannot be known.
pub(super) fn gpus() -> Result<usize, String> {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => Ok(visible_gpus(&visible)),
        Err(_) => listed_gpus(Path::new("nvidia-smi")),
    }
}

/// As CUDA reads the variable: what follows a number below 0 does not count.
fn visible_gpus(text: &str) -> usize {
    text.split(',').map(str::trim).take_while(|gpu| !gpu.is_empty() && !gpu.starts_with('-')).count()
}

/// GPUs as `nvidia-smi` lists them, a line each.
fn listed_gpus(program: &Path) -> Result<usize, String> {
    let output = Command::new(program).arg("--list-gpus").stdin(Stdio::null()).output();
    match output {
        Err(error) => Err(format!("`nvidia-smi`, which would list them, cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            Err(format!("`nvidia-smi --list-gpus` failed: {}", said.trim().lines().next().unwrap_or("without a word")))
        }
        Ok(output) => {
            Ok(String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("GPU ")).count())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let groups = "0::/system.slice/job_7/step_0\n";
        let folder = group(&[
            ("memory.current", "900\n"),
            ("system.slice/memory.max", "max\n"),
            ("system.slice/memory.current", "900\n"),
            ("system.slice/job_7/memory.max", "1000\n"),
            ("system.slice/job_7/memory.current", "600\n"),
            ("system.slice/job_7/memory.stat", "anon 350\ninactive_file 250\nactive_file 0\n"),
            ("system.slice/job_7/step_0/memory.max", "800\n"),
            ("system.slice/job_7/step_0/memory.current", "100\n"),
        ]);
        assert_eq!(of_group(groups, folder.path()), Some((800, 650)));
        // A container whose own group is mounted as the root.
        let folder = group(&[("memory.max", "500\n"), ("memory.current", "700\n")]);
        assert_eq!(of_group(groups, folder.path()), Some((500, 0)));
        assert_eq!(of_group(groups, group(&[("memory.max", "max\n")]).path()), None);
        assert_eq!(of_group("", folder.path()), None);
    }

    #[test]
    fn the_first_version_of_control_groups_counts_too() {
        let groups = "12:cpu,cpuacct:/a\n9:memory:/slurm/uid_1/job_2\n1:name=systemd:/b\n0::/c\n";
        let folder = group(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "100\n"),
            ("memory/slurm/uid_1/job_2/memory.limit_in_bytes", "4096\n"),
            ("memory/slurm/uid_1/job_2/memory.usage_in_bytes", "1096\n"),
            ("memory/slurm/uid_1/job_2/memory.stat", "inactive_file 7\ntotal_inactive_file 96\n"),
        ]);
        assert_eq!(of_group(groups, folder.path()), Some((4096, 3096)));
    }

    #[test]
    fn a_limit_is_never_more_than_the_machine_has() {
        let machine = Memory { most: 100, free: 60 };
        assert_eq!(machine.within(None), machine);
        assert_eq!(machine.within(Some((1000, 900))), machine);
        assert_eq!(machine.within(Some((50, 20))), Memory { most: 50, free: 20 });
        assert_eq!(kib("MemTotal:       2 kB\n", "MemTotal:"), Some(2048));
        assert_eq!(kib("MemTotal: 2\n", "MemTotal:"), None);
    }

    #[test]
    fn slurm_says_what_it_gave() {
        let of = |set: &[(&str, usize)]| {
            slurm_memory(&|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
        };
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", 2048)]), Some(2 << 30));
        assert_eq!(of(&[("SLURM_MEM_PER_CPU", 512), ("SLURM_CPUS_ON_NODE", 4)]), Some(2 << 30));
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", 0)]), None);
        assert_eq!(of(&[("SLURM_MEM_PER_CPU", 512)]), None);
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", usize::MAX)]), None);
    }

    #[test]
    fn gpus_are_counted_as_cuda_does() {
        assert_eq!(visible_gpus(""), 0);
        assert_eq!(visible_gpus("3"), 1);
        assert_eq!(visible_gpus("0, 2,GPU-8932f937"), 3);
        assert_eq!(visible_gpus("0,-1,2"), 1);
        assert_eq!(visible_gpus("-1"), 0);
    }

    #[test]
    fn gpus_are_counted_as_nvidia_smi_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        let smi = |body: &str| {
            let path = folder.path().join(format!("smi-{}", body.len()));
            fs_err::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            let mut rights = fs_err::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
            fs_err::set_permissions(&path, rights).unwrap();
            listed_gpus(&path)
        };
        assert_eq!(smi("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'; echo 'GPU 1: NVIDIA H200 (UUID: GPU-2)'"), Ok(2));
        assert_eq!(smi("echo 'No devices were found'"), Ok(0));
        let failed = smi("echo 'NVIDIA-SMI has failed: no driver'; exit 9").unwrap_err();
        assert_eq!(failed, "`nvidia-smi --list-gpus` failed: NVIDIA-SMI has failed: no driver");
        assert!(listed_gpus(&folder.path().join("none")).unwrap_err().contains("cannot be started"));
    }
}
