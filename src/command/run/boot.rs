//! A run's part in what the mirror boots from: decided before the scan, done when the files are there, and reported.

use super::Job;
use super::work::Work;
use crate::boot::{Preparation, Tree};
use crate::boot_test::state;
use crate::command::trees::{self, Place};
use crate::mirror::{Mounted, Opened, mount_point};
use crate::record::BootRecord;
use crate::sys::dir::open_root;
use anyhow::Result;
use std::io;
use std::path::{Path, PathBuf};

/// What is true of a mirror whose boot could not be prepared.
const HELD_BACK: &str =
    "the mirror's boot files, kernels and their modules are not refreshed, and may not fit the rest any more";

/// What this run does for the boot, or why it does nothing.
pub struct Boot {
    preparation: Option<Preparation>,
    /// What is known so far.
    pub record: BootRecord,
}

impl Boot {
    /// Decides what the mirror's boot files shall hold, and tells the works. Where that cannot be decided the mirror keeps
    /// the boot files that it has, and the record says why.
    ///
    /// # Errors
    /// Those of a pattern that is none.
    pub fn prepare(job: &Job, works: &mut [Work<'_>], opened: &Opened<'_>) -> Result<Boot> {
        let boot = match prepared(job, works, opened) {
            Ok(preparation) => {
                let problems = preparation.problems.clone();
                Boot {
                    preparation: Some(preparation),
                    record: BootRecord { problems, ..BootRecord::default() },
                }
            }
            Err(error) => {
                let problems = vec![format!("{HELD_BACK}: {error:#}")];
                Boot { preparation: None, record: BootRecord { problems, ..BootRecord::default() } }
            }
        };
        let own = trees::own_patterns(boot.preparation.as_ref());
        for work in works {
            let wanted =
                boot.preparation.as_ref().and_then(|preparation| preparation.wanted.get(&work.volume.mount));
            work.for_boot(wanted.cloned().unwrap_or_default(), &own)?;
        }
        Ok(boot)
    }

    /// Does what the engine does not, on the refreshed mirror. What fails is a problem, and the run goes on.
    pub fn install(&mut self, job: &Job, works: &[Work<'_>]) {
        let Some(preparation) = &self.preparation else { return };
        let failed = match of_mirror(works) {
            Ok(mirror) => preparation.install(&mirror, &boot_directory(job), job.root == Path::new("/")),
            Err(error) => vec![error],
        };
        self.record.problems.extend(failed.iter().map(in_one_line));
    }

    /// Rebuilds what has to be, when the mirror holds neither less nor more than the primary: what has been deleted there may
    /// have been in the way.
    pub fn rebuild(&mut self, job: &Job, works: &[Work<'_>]) {
        let Some(preparation) = &self.preparation else { return };
        let place = job.runtime_dir.join(&job.mirror.name).join("rebuild");
        let trees =
            running(works).map_err(anyhow::Error::from).and_then(|primary| Ok((primary, of_mirror(works)?)));
        match trees {
            Ok((primary, mirror)) => {
                self.record.problems.extend(preparation.rebuild(&primary, &mirror, &place));
            }
            Err(error) => self.record.problems.push(format!("nothing could be rebuilt: {error}")),
        }
    }

    /// Says that nothing was done for the boot, because a file system failed that it needs.
    pub fn left_alone(&mut self) {
        self.record.problems.push("what boots is left as it is: a file system that it needs failed".into());
    }

    /// Looks whether anything on the refreshed mirror still needs the primary.
    pub fn audit(&mut self, works: &[Work<'_>]) {
        let Some(preparation) = &self.preparation else { return };
        let found = of_mirror(works).and_then(|mirror| preparation.audit(&mirror));
        match found {
            Ok(found) => {
                let of = |is_remark: bool| found.iter().filter(move |found| found.is_remark == is_remark);
                self.record.findings = of(false).map(ToString::to_string).collect();
                self.record.remarks = of(true).map(ToString::to_string).collect();
            }
            Err(error) => {
                self.record.problems.push(format!("the audit could not be made: {}", in_one_line(&error)))
            }
        }
    }

    /// Notes the state of what the mirror boots from now: a boot test proves something of that state alone.
    pub fn note_state(&mut self, job: &Job, works: &[Work<'_>], disk: &str) {
        let mounted =
            works.iter().filter_map(|work| Some((work.volume.mount.as_str(), &work.mirror.as_ref()?.root)));
        let mounted: Vec<_> = mounted.collect();
        if mounted.len() < works.len() {
            return;
        }
        match state(Path::new(disk), mounted.into_iter()) {
            Ok(digest) => self.record.digest = Some(digest),
            Err(error) => {
                job.monitor.warn(&format!("later it is not known whether what boots has changed: {error:#}"))
            }
        }
    }
}

/// The file systems of the mirror that are mounted.
fn of_mirror(works: &[Work<'_>]) -> Result<Tree> {
    let mounted = works.iter().filter_map(|work| Some((&work.volume.mount, work.mirror.as_ref()?)));
    let one = |(mount, mirror): (&String, &Mounted)| Ok((mount.clone(), mirror.root.try_clone()?));
    Ok(Tree::new(mounted.map(one).collect::<Result<_>>()?))
}

fn prepared(job: &Job, works: &[Work<'_>], opened: &Opened<'_>) -> Result<Preparation> {
    let sources = works.iter().map(|work| (work.volume.mount.as_str(), work.root()));
    let place = Place { root: job.root, config: job.config, mirror: job.mirror, state_dir: &job.state_dir };
    trees::preparation(&place, sources, &opened.disk, !job.args.dry_run)
}

/// The running system, of its file systems that can be entered.
fn running(works: &[Work<'_>]) -> io::Result<Tree> {
    let there = works.iter().filter_map(|work| {
        let source = work.source.as_ref().ok()?;
        Some(open_root(&source.path).map(|root| (work.volume.mount.clone(), root)))
    });
    Ok(Tree::new(there.collect::<io::Result<_>>()?))
}

/// Where the mirror's /boot is while it is mounted: a file system of its own, or in the root.
fn boot_directory(job: &Job) -> PathBuf {
    let volumes = &job.mirror.volumes;
    let at = |number| mount_point(&job.runtime_dir, &job.mirror.name, number);
    match volumes.iter().position(|volume| volume.mount == "/boot") {
        Some(number) => at(number),
        None => at(0).join("boot"),
    }
}

/// A refusal or failure in the record's one line: what and why; the record itself says what is true of the mirror.
pub fn in_one_line(error: &anyhow::Error) -> String {
    use crate::refusal::{Failure, Refusal};
    let (what, why) = match (error.downcast_ref::<Refusal>(), error.downcast_ref::<Failure>()) {
        (Some(refusal), _) => (&refusal.what, &refusal.why),
        (_, Some(failure)) => (&failure.what, &failure.why),
        _ => return format!("{error:#}"),
    };
    // What tools say may have many lines.
    let why: Vec<&str> = why.iter().flat_map(|why| why.lines()).map(str::trim).collect();
    if why.is_empty() { what.clone() } else { format!("{what}: {}", why.join("; ")) }
}
