//! The machine and the versions that figures belong to.

use super::settings::Settings;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;

/// Where and when something was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor, as it names itself.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Its memory.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system that the images lie on.
    pub images_on: String,
    /// `rsync --version`, shortened.
    pub rsync: String,
    /// `diskmirror --version`.
    pub diskmirror: String,
    /// The day.
    pub day: String,
}

impl Machine {
    /// One line for people.
    pub fn line(&self) -> String {
        format!(
            "{} × {}, {:.1} GiB memory, Linux {}, images on {}; {}, {}; {}",
            self.processors,
            self.processor,
            self.memory_mib as f64 / 1024.0,
            self.kernel,
            self.images_on,
            self.diskmirror,
            self.rsync,
            self.day
        )
    }
}

/// This one, now.
pub fn describe(settings: &Settings) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let first = |program: &OsStr| first_line(Command::new(program).arg("--version"));
    let filesystem =
        first_line(Command::new("findmnt").args(["-n", "-o", "FSTYPE", "--target"]).arg(&settings.dir));
    Machine {
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "processor".to_owned()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: field(&read("/proc/meminfo"), "MemTotal").and_then(|kib| kib_in(&kib)).unwrap_or(0)
            / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        images_on: filesystem,
        rsync: first("rsync".as_ref())
            .split("  protocol")
            .next()
            .unwrap_or_default()
            .replace("  version", ""),
        diskmirror: first(settings.program.as_os_str()),
        day: jiff::Zoned::now().date().to_string(),
    }
}

fn first_line(command: &mut Command) -> String {
    let said = command.output().map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    said.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// The value of the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value)
}

fn kib_in(value: &str) -> Option<u64> {
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{field, kib_in};

    #[test]
    fn the_first_processor_and_the_memory_are_found() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(field(cpuinfo, "model name").as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(field("MemTotal:       24576 kB\n", "MemTotal").and_then(|kib| kib_in(&kib)), Some(24576));
        assert_eq!(field("", "MemTotal"), None);
    }
}
