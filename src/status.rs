//! Would this spare save the server now? From what is known to the answer. Pure: the clock is passed in.
//!
//! READY is said only of what was proven: a complete run that is young enough, none after it that failed, and a mirror
//! that needs nothing of the primary. What is not known counts as not ready.

use crate::layout::NotMirrored;
use crate::record::{BootRecord, BootTestRecord, RunRecord, State, Verdict, VerifyRecord};
use crate::units::thousands;

/// What the answer is made from.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The mirror's name.
    pub name: String,
    /// The mirror's disk, as messages name it.
    pub title: String,
    /// Seconds since 1970.
    pub now: i64,
    /// Seconds between two runs.
    pub interval: i64,
    /// The runs, the latest first.
    pub runs: Vec<RunRecord>,
    /// The latest boot test of this disk.
    pub boot_test: Option<BootTestRecord>,
    /// The state of what was booted then, if it is known.
    pub booted: Option<String>,
    /// The latest verification of this disk.
    pub verified: Option<VerifyRecord>,
    /// Files of the primary that are damaged, a path each: the mirror keeps the good copies.
    pub held: Vec<String>,
    /// The disk's node, or why it is not to be had.
    pub attached: Attached,
    /// Since when a run has held the lock, if one does.
    pub locked_since: Option<i64>,
    /// Whether a timer or cron calls the runs.
    pub is_scheduled: bool,
    /// How the mirror is opened.
    pub opens: Opens,
    /// Whether an `init` was begun and not finished.
    pub init_unfinished: bool,
    /// What could not be found out, and why, a line each.
    pub unknown: Vec<String>,
    /// What of the server is not in the mirror; none if that could not be found out.
    pub not_mirrored: Option<Vec<NotMirrored>>,
    /// What else could not be found out, and does not matter to a start from the mirror, a line each.
    pub unclear: Vec<String>,
    /// The system runs from the mirror: which disk is which, and what to do.
    pub reversed: Option<Reversed>,
}

/// Whether the mirror's disk is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Attached {
    /// As this node.
    As(String),
    /// It is not, for these reasons.
    Not(Vec<String>),
    /// Nobody has looked.
    #[default]
    Unknown,
}

/// How the mirror is opened by a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opens {
    /// It is not encrypted.
    #[default]
    Plain,
    /// With its key file.
    KeyFile,
    /// By the administrator.
    ByHand,
}

/// A system that runs from what was the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversed {
    /// The disk it runs from.
    pub runs_from: String,
    /// The disk it ran from before.
    pub old_primary: String,
    /// Where that one is attached, if it is.
    pub old_node: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What is known, a line each: a name and a text.
    pub lines: Vec<(&'static str, String)>,
    /// Why it is not ready; empty if it is.
    pub reasons: Vec<String>,
    /// What is not in order, and would not keep the spare from saving the server.
    pub remarks: Vec<String>,
    /// The next command, if there is one.
    pub next: Option<String>,
    /// The last complete run.
    pub good: Option<RunRecord>,
    /// What the last run that looked knows of booting.
    pub boot: Option<BootRecord>,
}

impl Answer {
    /// Whether the spare would save the server now.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }

    fn line(&mut self, name: &'static str, text: impl Into<String>) {
        self.lines.push((name, text.into()));
    }

    fn reason(&mut self, text: impl Into<String>) {
        self.reasons.push(text.into());
    }

    /// The first command that is proposed stays.
    fn propose(&mut self, command: &str) {
        self.next.get_or_insert_with(|| command.to_owned());
    }
}

/// So far a clock is set back that is only kept right.
const CLOCK_SLACK_SECS: i64 = 60;

/// How old the data may be, in seconds: two runs.
pub fn limit(facts: &Facts) -> i64 {
    2 * facts.interval
}

/// The answer to all that is known.
pub fn answer(facts: &Facts) -> Answer {
    let mut answer = Answer::default();
    if let Some(reversed) = &facts.reversed {
        roles(&mut answer, reversed);
        return answer;
    }
    answer.good = facts.runs.iter().find(|run| run.state == State::Done).cloned();
    answer.boot = facts.runs.iter().find_map(|run| run.boot.clone());
    attachment(&mut answer, facts);
    answer.reasons.extend(facts.unknown.iter().cloned());
    data(&mut answer, facts);
    boots(&mut answer, facts);
    opens(&mut answer, facts);
    alone(&mut answer);
    deferred(&mut answer, facts);
    late(&mut answer, facts);
    verified(&mut answer, facts);
    remarked(&mut answer, facts);
    not_mirrored(&mut answer, facts);
    answer.remarks.extend(facts.unclear.iter().cloned());
    if !facts.is_scheduled {
        answer.remarks.push("no schedule is installed: diskmirror schedule install".into());
    }
    answer
}

fn roles(answer: &mut Answer, reversed: &Reversed) {
    let Reversed { runs_from, old_primary, old_node } = reversed;
    let place = match old_node {
        Some(node) => format!("is attached as {node}, and holds what it held when it was left"),
        None => "is not attached".into(),
    };
    answer.line("runs on", format!("{runs_from}, which was the mirror"));
    answer.line("before", format!("{old_primary}, the old primary: {place}"));
    answer.reason("this system runs from what was the mirror: there is no spare now");
    answer.propose("diskmirror init --mirror DISK");
}

fn attachment(answer: &mut Answer, facts: &Facts) {
    if let Attached::Not(why) = &facts.attached {
        answer.line("disk", "not to be had");
        answer.reasons.extend(why.iter().cloned());
    }
    if facts.init_unfinished {
        answer.reason("an init of the mirror was begun and not finished");
        answer.propose("diskmirror init --mirror DISK");
    }
}

fn data(answer: &mut Answer, facts: &Facts) {
    let limit = limit(facts);
    let Some(good) = answer.good.clone() else {
        answer.line("data", "none: no run was ever complete");
        answer.reason("no run was ever complete");
        answer.propose("diskmirror run");
        trouble(answer, facts, 0);
        return;
    };
    let age = age(facts, &good);
    let old = age.map_or_else(|| "of unknown age".to_owned(), |age| format!("{} old", span(age)));
    let mut text = format!("{old} (limit {}), run {}, complete", span(limit), good.id);
    if let Some(since) = facts.locked_since {
        text += &format!("; another at work for {}", span(facts.now - since));
    }
    answer.line("data", text);
    match age {
        Some(age) if age > limit => {
            answer.reason(format!("the data is {} old, and the limit is {}", span(age), span(limit)));
            answer.propose("diskmirror run");
        }
        Some(_) => {}
        None => {
            answer.reason(format!(
                "the age of the data is unknown: by the clock run {} ends in the future; set the clock, then run again",
                good.id
            ));
            answer.propose("diskmirror run");
        }
    }
    trouble(answer, facts, good.id);
}

/// How old the data of a complete run is, in seconds; unknown if it ends in the future: the clock was wrong then, or is now.
pub fn age(facts: &Facts, good: &RunRecord) -> Option<i64> {
    let age = facts.now - good.ended.unwrap_or(good.started);
    (age >= -CLOCK_SLACK_SECS).then_some(age.max(0))
}

/// What has gone wrong since run `since`: the latest says it.
fn trouble(answer: &mut Answer, facts: &Facts, since: i64) {
    let newer = facts.runs.iter().filter(|run| run.id > since && run.state != State::Locked);
    for run in newer {
        let ended = match run.state {
            State::Running if facts.locked_since.is_some() => continue,
            // The lock is free: it is no longer there to say so itself.
            State::Running | State::Killed => "ended without a word: killed, or the power was cut",
            State::Failed => "failed",
            State::Incomplete => "was not complete",
            State::Differs => "found what is damaged",
            State::NotAlone => "found what still needs the primary",
            State::Refused | State::Stopped => {
                let how = if run.state == State::Refused { "was refused" } else { "was stopped" };
                if answer.remarks.is_empty() {
                    answer.remarks.push(said(&format!("run {} {how}", run.id), run));
                }
                continue;
            }
            State::Done | State::Locked => return,
        };
        answer.reason(said(&format!("run {} {ended}", run.id), run));
        answer.propose("diskmirror run");
        return;
    }
}

/// What the latest run that looked has remarked.
fn remarked(answer: &mut Answer, facts: &Facts) {
    let boot = facts.runs.iter().find(|run| run.ended.is_some()).and_then(|run| run.boot.as_ref());
    let remarks = boot.map(|boot| boot.remarks.as_slice()).unwrap_or_default();
    answer.remarks.extend(remarks.iter().map(|remark| format!("no boot is known to read it: {remark}")));
}

/// A run that takes many intervals leaves the mirror old, however well it ends.
fn late(answer: &mut Answer, facts: &Facts) {
    let latest = facts.runs.iter().find(|run| run.ended.is_some() && run.state != State::Locked);
    if let Some((run, intervals)) = latest.and_then(|run| Some((run, run.late(facts.interval)?))) {
        let waited = run.waited.words().map(|words| format!("; it {words}")).unwrap_or_default();
        answer.remarks.push(format!("run {} took {intervals} times the interval{waited}", run.id));
    }
}

/// `run 7 failed`, and the first line of what it said.
fn said(what: &str, run: &RunRecord) -> String {
    let message = run.message.as_deref().or(run.errors.first().map(String::as_str));
    match message.and_then(|message| message.lines().next()) {
        Some(line) if run.state != State::Killed => format!("{what}: {line}"),
        _ => what.to_owned(),
    }
}

fn boots(answer: &mut Answer, facts: &Facts) {
    let boot = answer.boot.clone();
    let prepared = boot.as_ref().is_some_and(|boot| boot.problems.is_empty());
    match &boot {
        None => answer.reason("no run has prepared it for booting"),
        Some(boot) => {
            answer.reasons.extend(boot.problems.iter().map(|line| format!("it may not boot: {line}")))
        }
    }
    let text = match &facts.boot_test {
        None if prepared => "prepared, not proven yet: diskmirror boot-test".into(),
        None if boot.is_none() => "not prepared".into(),
        None => "not as it should, see below".into(),
        Some(test) => {
            let ago = span(facts.now - test.started);
            let run = test.run.map_or(String::new(), |run| format!(" of run {run}"));
            let since = since_then(facts, boot.as_ref());
            if test.verdict == Verdict::Booted {
                format!("proven {ago} ago (boot-test{run}){since}")
            } else {
                answer.reason(format!("boot-test {ago} ago: it {}: {}", test.verdict.words(), test.sign));
                answer.propose("diskmirror boot-test");
                format!("failed {ago} ago (boot-test{run}){since}")
            }
        }
    };
    answer.line("boots", text);
}

/// Whether what boots is what the test has booted.
fn since_then(facts: &Facts, boot: Option<&BootRecord>) -> &'static str {
    match (&facts.booted, boot.and_then(|boot| boot.digest.as_ref())) {
        (Some(then), Some(now)) if then == now => ", nothing changed since",
        (Some(_), Some(_)) => ", changed since",
        _ => "",
    }
}

fn opens(answer: &mut Answer, facts: &Facts) {
    let used = answer.good.as_ref().and_then(|good| age(facts, good)).map(span);
    let text = match (facts.opens, used) {
        (Opens::Plain, _) => "not encrypted".into(),
        (Opens::KeyFile, Some(ago)) => format!("key file used {ago} ago"),
        (Opens::KeyFile, None) => "by its key file, not used yet".into(),
        (Opens::ByHand, Some(ago)) => format!("by hand (crypttab); open {ago} ago"),
        (Opens::ByHand, None) => "by hand (crypttab)".into(),
    };
    answer.line("opens", text);
}

fn alone(answer: &mut Answer) {
    let findings = answer.boot.as_ref().map(|boot| boot.findings.clone());
    let Some(findings) = findings else {
        answer.line("alone", "not known");
        return;
    };
    let noun = if findings.len() == 1 { "reference" } else { "references" };
    answer.line("alone", format!("{} {noun} to the primary", thousands(findings.len() as u64)));
    answer.reasons.extend(findings.iter().map(|line| format!("not alone: {line}")));
}

fn deferred(answer: &mut Answer, facts: &Facts) {
    let is_over = |run: &&RunRecord| !matches!(run.state, State::Locked | State::Running | State::Refused);
    let latest = facts.runs.iter().find(is_over).filter(|run| run.state != State::Done);
    let text = match latest {
        Some(run) if run.total().errors > 0 => {
            format!("{} not copied by run {}", thousands(run.total().errors), run.id)
        }
        _ => "nothing".into(),
    };
    answer.line("deferred", text);
}

/// What was found when contents were compared. A primary that is damaged does not make its spare any worse: the spare has
/// what the primary has lost.
fn verified(answer: &mut Answer, facts: &Facts) {
    if let Some(record) = &facts.verified {
        let share = record.sample.as_ref().map_or(String::new(), |share| format!(", a share of {share}"));
        let found = match record.total().differences() {
            0 => "nothing wrong".to_owned(),
            n => format!("{} differences", thousands(n)),
        };
        answer.line("verified", format!("{} ago{share}: {found}", span(facts.now - record.started)));
    }
    if facts.held.is_empty() {
        return;
    }
    let count = thousands(facts.held.len() as u64);
    answer.line(
        "PRIMARY",
        format!("DAMAGED: {count} of its files hold what nobody wrote; the mirror has them whole"),
    );
    let first: Vec<&str> = facts.held.iter().take(5).map(String::as_str).collect();
    answer.remarks.push(format!(
        "the primary's disk gives back what nobody wrote ({}): look at it soon (smartctl -a, dmesg), and restore from \
         the mirror; nothing of it is copied over the mirror's good copies",
        first.join(", ")
    ));
}

/// How many names of what is not in the mirror fit into a line.
const NAMED: usize = 5;

/// What is not in the mirror, by name: for information, and no reason for anything.
fn not_mirrored(answer: &mut Answer, facts: &Facts) {
    let Some(all) = facts.not_mirrored.as_ref().filter(|all| !all.is_empty()) else { return };
    let name = |one: &NotMirrored| one.size.map_or(one.what.clone(), |size| format!("{} ({size})", one.what));
    let mut text = all.iter().take(NAMED).map(name).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(" and {} more", all.len() - NAMED);
    }
    answer.line("without", text);
}

/// `40 s`, `7 min`, `26 h`, `3 days`: how long ago something was.
pub fn span(secs: i64) -> String {
    match secs.max(0) {
        secs @ 0..90 => format!("{secs} s"),
        secs @ 90..5400 => format!("{} min", secs / 60),
        secs @ 5400..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;
