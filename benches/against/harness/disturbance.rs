//! How much of the machine's time others used while something was measured: wall time means little if they did.

use std::fs;

/// Processor seconds since the machine was started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Busy {
    /// All processors, all processes, and what the hypervisor gave to others.
    machine: f64,
    /// This process and the children that have ended.
    own: f64,
    /// Threads of the kernel: they write back, journal, and serve loop devices, for us above all.
    kernel: f64,
}

/// What is between two looks is noise of the clock's tick below this.
const NOISE_SECONDS: f64 = 0.1;
/// In a task's flags: it is a thread of the kernel (PF_KTHREAD of include/linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

impl Busy {
    /// Now.
    pub fn now() -> Self {
        let tick = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own = task(&read("/proc/self/stat")).map_or(0, |task| task.own + task.children);
        Busy {
            machine: machine_ticks(&read("/proc/stat")) as f64 * tick,
            own: own as f64 * tick,
            kernel: kernel_ticks() as f64 * tick,
        }
    }
    /// Processor seconds that others used since `before`.
    pub fn others_since(&self, before: &Busy) -> f64 {
        let ours = self.own - before.own + (self.kernel - before.kernel);
        (self.machine - before.machine - ours).max(0.0)
    }
}

/// Whether `others` processor seconds are more than this share of what the machine had in `seconds`.
pub fn is_disturbed(others: f64, seconds: f64, processors: usize, share: f64) -> bool {
    others > NOISE_SECONDS && others > share * seconds * processors as f64
}

/// User, nice, system and steal of /proc/stat's first line (proc_stat(5)). Interrupts are nobody's.
fn machine_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    [0, 1, 2, 7].iter().filter_map(|n| fields.get(*n)).sum()
}

fn kernel_ticks() -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let stats = processes.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| task(&stat)).filter(|task| task.is_kernel).map(|task| task.own).sum()
}

/// What is wanted of /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Task {
    is_kernel: bool,
    own: u64,
    children: u64,
}

/// Fields are counted behind the name, which may hold spaces and brackets (proc_pid_stat(5)).
fn task(stat: &str) -> Option<Task> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    // Field 3, the state, is the first behind the name.
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    Some(Task {
        is_kernel: field(9)? & KERNEL_THREAD != 0,
        own: field(14)? + field(15)?,
        children: field(16)? + field(17)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Busy, Task, is_disturbed, machine_ticks, task};

    #[test]
    fn the_machine_is_busy_with_programs_and_with_what_the_hypervisor_took() {
        assert_eq!(machine_ticks("cpu  100 10 50 9999 77 5 6 3 0 0\ncpu0 1 1 1\n"), 163);
    }

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 2 3 4 30 12 5 6 20 0 1 0";
        assert_eq!(task(stat), Some(Task { is_kernel: false, own: 42, children: 11 }));
        let kernel = "9 (kworker/0:1) I 2 0 0 0 -1 69238880 0 0 0 0 0 7 0 0 20 0 1 0";
        assert_eq!(task(kernel), Some(Task { is_kernel: true, own: 7, children: 0 }));
    }

    #[test]
    fn own_work_and_the_kernels_are_not_others() {
        let before = Busy::default();
        let after = Busy { machine: 10.0, own: 6.0, kernel: 1.0 };
        assert!((after.others_since(&before) - 3.0).abs() < 1e-9);
        assert!(is_disturbed(3.0, 10.0, 2, 0.1) && !is_disturbed(3.0, 20.0, 2, 0.1));
        assert!(!is_disturbed(0.05, 0.1, 1, 0.1), "less than the clock can tell");
    }
}
