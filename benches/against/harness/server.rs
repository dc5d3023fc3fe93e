//! The server that the copy is made beside: fio on the source's file system, and how long its requests take.
//!
//! Its file has no name there, so that it is not copied. Server and copier are in control groups of their own, as services
//! are, where the machine has the second hierarchy.

use super::child::{prepared, shown};
use anyhow::{Context, bail};
use diskmirror::sys::signal;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// One random read of 4 KiB after another, with rests of 2 ms.
    Reads,
    /// A random write of 4 KiB and an fsync, with rests of 10 ms.
    Fsyncs,
}

const FILE_MIB: usize = 64;
/// It is told to end before; this ends it if nobody does.
const AT_MOST: &str = "--runtime=7200";
/// Until it is at work.
const RAMP: Duration = Duration::from_millis(1000);
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A server at work.
#[derive(Debug)]
pub struct AtWork {
    server: Server,
    fio: Child,
    said: PathBuf,
    _file: File,
}

impl Server {
    /// Starts it on the file system mounted at `source`; what it says goes below `scratch`.
    pub fn start(self, source: &Path, scratch: &Path) -> anyhow::Result<AtWork> {
        let mut file = tempfile::tempfile_in(source).context("the server's file")?;
        let piece: Vec<u8> = (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        (0..FILE_MIB).try_for_each(|_| file.write_all(&piece))?;
        file.sync_all()?;
        let said = scratch.join("fio.json");
        let argv = in_group("server", self.argv(&file, &said));
        let fio = prepared(&argv).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let fio = fio.with_context(|| format!("starting {}", shown(&argv)))?;
        std::thread::sleep(RAMP);
        Ok(AtWork { server: self, fio, said, _file: file })
    }
    fn argv(self, file: &File, said: &Path) -> Vec<OsString> {
        let name = format!("--filename=/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let mut output = OsString::from("--output=");
        output.push(said);
        let work: &[&str] = match self {
            Server::Reads => &["--rw=randread", "--thinktime=2000"],
            Server::Fsyncs => &["--rw=randwrite", "--fsync=1", "--thinktime=10000"],
        };
        let common =
            ["fio", "--name=server", "--ioengine=psync", "--direct=1", "--bs=4k", "--time_based", AT_MOST];
        let words = common.iter().chain(work).map(OsString::from);
        words
            .chain([format!("--size={FILE_MIB}m").into(), name.into(), "--output-format=json".into(), output])
            .collect()
    }
}

impl AtWork {
    /// Ends it, and gives back within how many milliseconds 99 of 100 of its requests were done.
    pub fn end(mut self) -> anyhow::Result<f64> {
        let fio = i32::try_from(self.fio.id()).ok().and_then(Pid::from_raw).context("fio has no number")?;
        kill_process(fio, Signal::INT).context("ending fio")?;
        self.fio.wait().context("waiting for fio")?;
        let text = fs::read_to_string(&self.said).context("what fio said")?;
        p99_millis(&text, self.server)
    }
}

/// One that nobody has ended, because the copier failed, ends here.
impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = self.fio.kill();
        let _ = self.fio.wait();
    }
}

/// From fio's JSON, which may stand behind its last words.
fn p99_millis(text: &str, server: Server) -> anyhow::Result<f64> {
    let json = text.find('{').map(|at| &text[at..]).context("fio said nothing")?;
    let said: serde_json::Value = serde_json::from_str(json).context("fio's JSON")?;
    let latency = match server {
        Server::Reads => &said["jobs"][0]["read"]["clat_ns"],
        Server::Fsyncs => &said["jobs"][0]["sync"]["lat_ns"],
    };
    match latency["percentile"]["99.000000"].as_f64() {
        Some(nanos) => Ok(nanos / 1e6),
        None if signal::stop_requested() => bail!("stopped by a signal"),
        None => bail!("fio told no latency"),
    }
}

/// The command line, run in a control group of this name beside all others; as it is where there can be none.
pub fn in_group(name: &str, argv: Vec<OsString>) -> Vec<OsString> {
    let root = HIERARCHIES.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists());
    let made = root
        .map(|root| root.join(format!("diskmirror-bench-{name}")))
        .filter(|group| fs::create_dir(group).is_ok() || group.is_dir());
    let Some(group) = made else { return argv };
    let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    [vec!["sh".into(), "-c".into(), script.into(), group.into()], argv].concat()
}

/// Takes the groups away again.
pub fn remove_groups() {
    for root in HIERARCHIES.map(Path::new) {
        for name in ["server", "copier"] {
            let _ = fs::remove_dir(root.join(format!("diskmirror-bench-{name}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Server, p99_millis};

    #[test]
    fn the_latency_is_that_of_what_the_server_does() {
        let text = r#"fio: terminating on signal 2
            {"jobs":[{"read":{"clat_ns":{"percentile":{"50.000000":1000,"99.000000":2500000}}},
            "sync":{"lat_ns":{"percentile":{"99.000000":40000000}}}}]}"#;
        assert_eq!(p99_millis(text, Server::Reads).expect("told"), 2.5);
        assert_eq!(p99_millis(text, Server::Fsyncs).expect("told"), 40.0);
        for nothing in ["", "fio: cannot open", r#"{"jobs":[{}]}"#] {
            assert!(p99_millis(nothing, Server::Reads).is_err(), "{nothing}");
        }
    }
}
