//! Pressure stall information (Documentation/accounting/psi.rst): for how long somebody had to wait for the disk or the
//! processor. The machine's own figures count this program's threads too; those of other control groups do not.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the second hierarchy of control groups is mounted: alone, or beside the first.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// For how long somebody had to wait, in microseconds since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stalls {
    /// For a disk.
    pub io: u64,
    /// For a processor.
    pub cpu: u64,
}

impl Stalls {
    /// The longer of both since `before`, in microseconds.
    pub fn since(&self, before: &Stalls) -> u64 {
        self.io.saturating_sub(before.io).max(self.cpu.saturating_sub(before.cpu))
    }
}

/// The total of the line `some`: the time in which at least one task waited.
pub fn some_total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("total=")?.parse().ok())
}

/// The whole machine's stalls, this program's among them.
///
/// # Errors
/// The kernel keeps none (built without, or started with `psi=0`).
pub fn of_machine() -> io::Result<Stalls> {
    Ok(Stalls { io: total_in("/proc/pressure/io".as_ref())?, cpu: total_in("/proc/pressure/cpu".as_ref())? })
}

fn total_in(file: &Path) -> io::Result<u64> {
    some_total(&fs::read_to_string(file)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The control groups beside that of this process, on each level: everybody else's threads, and none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbours {
    /// From the hierarchy's root to our own group.
    levels: Vec<PathBuf>,
}

impl Neighbours {
    /// Those of this process; `None` where it is in the root group, or groups have no pressure.
    pub fn of_this_process() -> Option<Self> {
        let own = own_group(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
        let root = HIERARCHIES.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists())?;
        let levels = levels(root, &own);
        total_in(&levels.last()?.join("io.pressure")).ok()?;
        Some(Neighbours { levels })
    }

    /// What each of them has waited. One that comes or goes is left out of what is compared.
    pub fn stalls(&self) -> HashMap<PathBuf, Stalls> {
        let beside = |pair: &[PathBuf]| {
            let (parent, own) = (pair[0].clone(), pair[1].clone());
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .filter(move |path| *path != own)
        };
        let groups = self.levels.windows(2).flat_map(beside);
        groups.filter_map(|group| Some((group.clone(), of_group(&group)?))).collect()
    }
}

fn of_group(group: &Path) -> Option<Stalls> {
    let total = |file: &str| total_in(&group.join(file)).ok();
    Some(Stalls { io: total("io.pressure")?, cpu: total("cpu.pressure")? })
}

/// The path of a process's group in the second hierarchy, from its `/proc/PID/cgroup`; the root group is none.
fn own_group(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.is_empty() && !path.starts_with("..")).then(|| PathBuf::from(path))
}

fn levels(root: &Path, own: &Path) -> Vec<PathBuf> {
    let mut at = root.to_owned();
    let mut levels = vec![at.clone()];
    for part in own {
        at.push(part);
        levels.push(at.clone());
    }
    levels
}

/// The longest stall of any one between two looks, in microseconds.
pub fn longest(before: &HashMap<PathBuf, Stalls>, after: &HashMap<PathBuf, Stalls>) -> u64 {
    let of_one = |(group, now): (&PathBuf, &Stalls)| before.get(group).map(|then| now.since(then));
    after.iter().filter_map(of_one).max().unwrap_or(0)
}

/// Whether every other thread of this process sleeps, and so neither runs, nor waits for a processor or the disk.
pub fn others_of_us_sleep() -> bool {
    let me = rustix::thread::gettid().as_raw_nonzero().to_string();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    threads.flatten().filter(|thread| thread.file_name() != *me).all(|thread| {
        fs::read_to_string(thread.path().join("stat")).is_ok_and(|text| state_of(&text) == Some('S'))
    })
}

/// The state of a thread: behind its name, which may hold anything, parentheses too.
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: &str = "some avg10=0.01 avg60=0.09 avg300=0.46 total=857822681\n\
                      full avg10=0.01 avg60=0.05 avg300=0.29 total=231649242\n";
    /// Linux 5.10 has no line `full` for the processor.
    const CPU: &str = "some avg10=0.00 avg60=5.20 avg300=14.25 total=5722109183\n";

    #[test]
    fn the_time_in_which_somebody_waited_is_the_total_of_some() {
        assert_eq!(some_total(IO), Some(857_822_681));
        assert_eq!(some_total(CPU), Some(5_722_109_183));
        for text in ["", "full avg10=0.00 total=7\n", "some avg10=0.00\n", "some total=x\n"] {
            assert_eq!(some_total(text), None, "{text}");
        }
    }

    #[test]
    fn our_group_is_the_one_of_the_second_hierarchy() {
        let hybrid = "9:name=systemd:/\n1:cpu:/\n0::/system.slice/diskmirror.service\n";
        let own = own_group(hybrid).expect("a group");
        assert_eq!(own, Path::new("system.slice/diskmirror.service"));
        let levels = levels(Path::new("/sys"), &own);
        let shown: Vec<_> = levels.iter().map(|level| level.to_string_lossy()).collect();
        assert_eq!(shown, ["/sys", "/sys/system.slice", "/sys/system.slice/diskmirror.service"]);
        for none in ["0::/\n", "1:cpu:/x\n", "0::/../other\n"] {
            assert_eq!(own_group(none), None, "{none}");
        }
    }

    #[test]
    fn who_waited_longest_counts_and_who_came_meanwhile_does_not() {
        let look = |all: &[(&str, u64, u64)]| -> HashMap<PathBuf, Stalls> {
            all.iter().map(|(group, io, cpu)| (PathBuf::from(group), Stalls { io: *io, cpu: *cpu })).collect()
        };
        let before = look(&[("web", 100, 0), ("mail", 0, 50), ("gone", 0, 0)]);
        let after = look(&[("web", 130, 10), ("mail", 5, 95), ("new", 9000, 0)]);
        assert_eq!(longest(&before, &after), 45);
        assert_eq!(longest(&before, &before), 0);
    }

    #[test]
    fn groups_beside_ours_are_looked_at_on_each_level_and_ours_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        for (group, io) in [("a", 1), ("s", 9), ("s/own", 9), ("s/b", 2), ("a/below", 7)] {
            let dir = root.path().join(group);
            fs::create_dir_all(&dir).expect("a group");
            fs::write(dir.join("io.pressure"), format!("some total={io}\n")).expect("a file");
            fs::write(dir.join("cpu.pressure"), "some total=0\n").expect("a file");
        }
        let stalls = Neighbours { levels: levels(root.path(), Path::new("s/own")) }.stalls();
        let name = |group: &PathBuf| group.strip_prefix(root.path()).expect("below it").to_owned();
        let mut seen: Vec<_> = stalls.iter().map(|(group, stall)| (name(group), stall.io)).collect();
        seen.sort();
        assert_eq!(seen, [(PathBuf::from("a"), 1), (PathBuf::from("s/b"), 2)]);
    }

    #[test]
    fn a_threads_state_stands_behind_its_name() {
        assert_eq!(state_of("12 (a) D (x) S 1 12"), Some('S'));
        assert_eq!(state_of("12 (fio) D 1 12"), Some('D'));
        assert_eq!(state_of(""), None);
    }
}
