//! What ends a whole run, and what only one file system: the one place where that is decided, and what helps.
//!
//! `/srv`'s mirror cannot be mounted → `/srv` is named, its mark stays dirty, `/` and `/boot` are refreshed, exit code 1.

use super::work::Work;
use crate::command::remedy::remedy;
use crate::layout::boots;
use crate::refusal::{Failure, Refusal};
use crate::tree;
use crate::units::join_words;

/// Whether an error ends the run for every file system; any other is the trouble of the file system it happened to.
///
/// | error | why it ends all |
/// |---|---|
/// | `tree::Error::Stopped` | somebody asked for the end |
/// | `Refusal` | another disk, another's mark, the roles reversed, the disk in use, too many deletions: whether anything may be written at all is in doubt |
///
/// Before there are file systems to work on, the lock, the mount namespace, the search for the mirror and its opening end a
/// run as well: without them there is none. No user can cause any of these with his own files but too many deletions, and
/// against those a whole directory can be let through.
pub fn ends_the_run(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(tree::Error::Stopped)) || error.is::<Refusal>()
}

/// Leaves the parts of what boots alone from here on if one of them has failed: with a new root and an old /boot, or the
/// other way round, the mirror would be worse than it was. What was added stays, nothing is deleted.
pub fn keep_together(works: &mut [Work<'_>]) {
    let failed = works.iter().find(|work| work.failed.is_some() && boots(&work.volume.mount));
    let Some(failed) = failed.map(|work| work.volume.mount.clone()) else { return };
    for work in works.iter_mut().filter(|work| work.failed.is_none() && boots(&work.volume.mount)) {
        let why = anyhow::anyhow!("it is left as it is: what boots belongs together, and {failed} failed");
        work.failed = Some(why);
    }
}

/// Whether all of what boots is being refreshed.
pub fn may_boot(works: &[Work<'_>]) -> bool {
    !works.iter().any(|work| work.failed.is_some() && boots(&work.volume.mount))
}

/// What is to be said of the file systems that failed, if any did.
pub fn failure(works: &[Work<'_>]) -> Option<Failure> {
    let (failed, done): (Vec<_>, Vec<_>) = works.iter().partition(|work| work.failed.is_some());
    if failed.is_empty() {
        return None;
    }
    let names = |works: &[&Work<'_>]| {
        join_words(&works.iter().map(|work| work.volume.mount.as_str()).collect::<Vec<_>>())
    };
    let (what, others) = match done.is_empty() {
        true => ("the mirror could not be refreshed".to_owned(), String::new()),
        false => (
            format!("the mirror of {} could not be refreshed", names(&failed)),
            format!("; {} was refreshed", names(&done)),
        ),
    };
    let state = match failed.iter().any(|work| work.streams()) {
        true => "the mirror has never been complete; the next run goes on with it",
        false => "every file on the mirror is its old or its new version; the next run looks at the content",
    };
    let causes = failed.iter().filter_map(|work| Some((work.volume.mount.as_str(), work.failed.as_ref()?)));
    let failure = Failure::new(what, format!("{state}{others}"));
    Some(causes.fold(failure, |failure, (mount, error)| with_cause(failure, mount, error)))
}

/// Adds what happened to one file system, and what helps against it.
fn with_cause(failure: Failure, mount: &str, error: &anyhow::Error) -> Failure {
    let cause = Failure::new("", "").because(error);
    let failure = cause.why.iter().fold(failure, |failure, line| failure.why(format!("{mount}: {line}")));
    let own = error.downcast_ref::<Failure>().map(|failure| failure.remedy.clone()).unwrap_or_default();
    let remedies = match own.is_empty() {
        true => remedy(&format!("the mirror of {mount}"), error).into_iter().collect(),
        false => own,
    };
    remedies.into_iter().fold(failure, |failure, line| match failure.remedy.contains(&line) {
        true => failure,
        false => failure.remedy(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::RelPath;
    use anyhow::Context;

    fn io(code: i32) -> anyhow::Error {
        let error = std::io::Error::from_raw_os_error(code);
        tree::Error::Io { doing: "writing", path: RelPath::from_bytes("a"), error }.into()
    }

    #[test]
    fn only_a_stop_and_a_refusal_end_the_run_for_all_file_systems() {
        assert!(ends_the_run(&tree::Error::Stopped.into()));
        assert!(ends_the_run(&Refusal::new("a", "b").into()));
        let failures: [anyhow::Error; 3] =
            [io(libc::EIO), Failure::new("a", "b").into(), anyhow::anyhow!("c")];
        assert!(failures.iter().all(|error| !ends_the_run(error)));
    }

    #[test]
    fn what_can_be_done_about_it_is_said_with_the_file_system_it_is_about() {
        let said = |error: anyhow::Error| with_cause(Failure::new("a", "b"), "/srv", &error);
        let full = said(io(libc::ENOSPC));
        assert!(
            full.why[0].starts_with("/srv: writing a: No space") && full.remedy[0].contains("/srv is full")
        );
        assert!(said(io(libc::EROFS)).remedy[0].contains("read-only"));
        let flushing = Err::<(), _>(std::io::Error::from_raw_os_error(libc::EIO)).context("cannot flush");
        assert!(said(flushing.expect_err("it is one")).remedy[0].contains("smartctl"));
        let own: anyhow::Error = Failure::new("fsck", "x").why("y").remedy("fsck /dev/x").into();
        assert_eq!((said(own).remedy, said(io(libc::EINVAL)).remedy), (vec!["fsck /dev/x".into()], vec![]));
    }
}
