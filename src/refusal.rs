//! Every deliberate "no" the program says, in one shape: what, why, state, do.
//!
//! A `Refusal` is decided before anything is written, so its `state` can promise that. Failures on the way are
//! `Failure`s: they carry what is now true of the disk instead.

use crate::escape;
use std::fmt;

/// Something the program will not do, decided before it wrote anything. Exit code 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused, of which disk or file: `refusing to prepare Samsung SSD 870 (S5GX123, /dev/sdb): in use`.
    pub what: String,
    /// Every reason, a line each: the whole list, not the first that was found.
    pub why: Vec<String>,
    /// What is true now; never left out.
    pub state: String,
    /// A command to paste, or an instruction, a line each; empty only if there is nothing to do.
    pub remedy: Vec<String>,
}

impl Refusal {
    /// A refusal of `what`; `state` says what is true now, as `nothing was written to /dev/sdb`.
    pub fn new(what: impl Into<String>, state: impl Into<String>) -> Self {
        Refusal { what: what.into(), why: Vec::new(), state: state.into(), remedy: Vec::new() }
    }
    /// Adds a reason.
    pub fn why(mut self, line: impl Into<String>) -> Self {
        self.why.push(line.into());
        self
    }
    /// Adds what the administrator can do.
    pub fn remedy(mut self, line: impl Into<String>) -> Self {
        self.remedy.push(line.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        four_things(f, &self.what, &self.why, &self.state, &self.remedy)
    }
}

impl std::error::Error for Refusal {}

/// Work that was begun and could not be finished. Exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done, to what.
    pub what: String,
    /// What the system said: the tool's own stderr, or the error of the system call.
    pub why: Vec<String>,
    /// What is now true of the disk or the mirror.
    pub state: String,
    /// What to do next.
    pub remedy: Vec<String>,
}

impl Failure {
    /// A failure of `what`; `state` says what is true now.
    pub fn new(what: impl Into<String>, state: impl Into<String>) -> Self {
        Failure { what: what.into(), why: Vec::new(), state: state.into(), remedy: Vec::new() }
    }
    /// Adds what the system said; a text of several lines becomes several lines.
    pub fn why(mut self, text: impl AsRef<str>) -> Self {
        self.why.extend(text.as_ref().trim().lines().map(str::to_owned));
        self
    }
    /// Adds what the administrator can do.
    pub fn remedy(mut self, line: impl Into<String>) -> Self {
        self.remedy.push(line.into());
        self
    }
}

impl Failure {
    /// Adds what led to it: of another refusal or failure what it was and why, but neither its `state:` nor its
    /// `do:`, which were true of that part alone.
    pub fn because(mut self, error: &anyhow::Error) -> Self {
        let (what, why) = match (error.downcast_ref::<Refusal>(), error.downcast_ref::<Failure>()) {
            (Some(refusal), _) => (&refusal.what, &refusal.why),
            (_, Some(failure)) => (&failure.what, &failure.why),
            _ => return self.why(format!("{error:#}")),
        };
        self.why.push(what.clone());
        self.why.extend(why.iter().cloned());
        self
    }
}

/// An error that is neither a refusal nor a failure yet, as the failure of `what`, with what is true now; one that is
/// stays as it is.
pub fn stated(error: anyhow::Error, what: &str, state: &str) -> anyhow::Error {
    if error.is::<Refusal>() || error.is::<Failure>() {
        return error;
    }
    Failure::new(what, state).because(&error).into()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        four_things(f, &self.what, &self.why, &self.state, &self.remedy)
    }
}

impl std::error::Error for Failure {}

fn four_things(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    why: &[String],
    state: &str,
    remedy: &[String],
) -> fmt::Result {
    f.write_str(&escape::line(what))?;
    write_lines(f, "why:  ", why)?;
    write_lines(f, "state:", std::slice::from_ref(&state.to_owned()))?;
    write_lines(f, "do:   ", remedy)
}

fn write_lines(f: &mut fmt::Formatter<'_>, head: &str, lines: &[String]) -> fmt::Result {
    for (i, line) in lines.iter().enumerate() {
        let head = if i == 0 { head } else { "      " };
        write!(f, "\n  {head} {}", escape::line(line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_led_to_a_failure_does_not_say_another_state() {
        let inner = Failure::new("vgchange -an mirror failed", "nothing was written").why("it is in use");
        let outer = Failure::new("cannot close the mirror", "everything was written").because(&inner.into());
        assert_eq!(
            outer.to_string(),
            "cannot close the mirror\n  why:   vgchange -an mirror failed\n         it is in use\n  \
             state: everything was written"
        );
        let plain = Failure::new("a", "b").because(&anyhow::anyhow!("no space").context("writing"));
        assert_eq!(plain.why, ["writing: no space"]);
    }

    #[test]
    fn what_stopped_the_program_always_says_what_is_true_now() {
        let bare = anyhow::anyhow!("no space left").context("cannot write the list");
        let text = stated(bare, "cannot compare", "nothing was written").to_string();
        assert_eq!(
            text,
            "cannot compare\n  why:   cannot write the list: no space left\n  state: nothing was written"
        );
        let refusal = Refusal::new("refusing", "all is well");
        assert!(stated(refusal.clone().into(), "x", "y").is::<Refusal>());
    }

    #[test]
    fn what_a_disk_calls_itself_forges_no_line() {
        let refusal =
            Refusal::new("refusing: a\x1b[2J\nerror: b", "c\u{202e}").why("d\n  state: e").remedy("f\r");
        assert_eq!(
            refusal.to_string(),
            "refusing: a\\033[2J\\012error: b\n  why:   d\\012  state: e\n  state: c\\342\\200\\256\n  do:    f\\015"
        );
    }

    #[test]
    fn a_refusal_says_four_things() {
        let refusal = Refusal::new("refusing to prepare /dev/sdb: in use", "nothing was written to /dev/sdb")
            .why("/dev/sdb2 is mounted on /srv/old")
            .why("/dev/sdb3 is held by dm-4 (vg_old-swap)")
            .remedy("umount /srv/old");
        assert_eq!(
            refusal.to_string(),
            "refusing to prepare /dev/sdb: in use\n  why:   /dev/sdb2 is mounted on /srv/old\n         \
             /dev/sdb3 is held by dm-4 (vg_old-swap)\n  state: nothing was written to /dev/sdb\n  do:    umount /srv/old"
        );
    }
}
