//! How a boot test tells what came out: a line, four things, an object.

use crate::escape;
use crate::record::{BootTestRecord, Verdict};
use crate::refusal::Failure;
use crate::units::duration;
use std::path::Path;
use std::time::Duration;

/// What is kept beside the record.
pub struct Kept<'a> {
    /// All that the console said.
    pub log: &'a Path,
    /// The last picture of the screen.
    pub picture: Option<&'a Path>,
}

/// `Samsung SSD 870 (S5GX123, /dev/sdb) boots: "server login:" after 42s (BIOS, KVM)`
pub fn summary(title: &str, record: &BootTestRecord) -> String {
    format!(
        "{title} {}: {} after {} {}",
        record.verdict.words(),
        quoted(&record.sign),
        took(record),
        how(record)
    )
}

/// How it was tested: `(BIOS, KVM)`.
fn how(record: &BootTestRecord) -> String {
    format!("({}, {})", record.firmware.to_uppercase(), record.accelerator.to_uppercase())
}

fn took(record: &BootTestRecord) -> String {
    duration(Duration::from_secs_f64(record.seconds.max(0.0)))
}

fn quoted(sign: &str) -> String {
    format!("\"{}\"", escape::line(sign.trim()))
}

/// What is wrong, as four things; none if it boots.
pub fn failure(title: &str, record: &BootTestRecord, kept: &Kept<'_>) -> Option<Failure> {
    if record.verdict == Verdict::Booted {
        return None;
    }
    let what = format!("{title} {}", record.verdict.words());
    let state = "nothing was written to the mirror: it is as the last run left it";
    let mut failure =
        Failure::new(what, state).why(format!("after {} {}: {}", took(record), how(record), record.sign));
    if !record.console.is_empty() {
        failure = failure.why("the console's last lines:");
        failure.why.extend(record.console.iter().map(|line| format!("| {line}")));
    }
    failure = failure.remedy(format!("less -R {}   # all that it said", kept.log.display()));
    if let Some(picture) = kept.picture {
        failure = failure.remedy(format!("look at the last screen: {}", picture.display()));
    }
    Some(failure.remedy(advice(record.verdict)))
}

/// The next step.
fn advice(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Booted => "nothing",
        Verdict::Emergency => {
            "mend what it names on this server, then: diskmirror run --full && diskmirror boot-test"
        }
        Verdict::NoLoader => {
            "diskmirror run --full && diskmirror boot-test   # prepares the boot loader anew"
        }
        Verdict::NoPrompt => {
            "see that the primary's initramfs holds cryptsetup, then: diskmirror run --full && diskmirror boot-test"
        }
        Verdict::Timeout => "if the server needs longer to start: diskmirror boot-test --time-limit 1800",
    }
}

/// The test as one JSON object.
pub fn json(record: &BootTestRecord, kept: Option<&Kept<'_>>) -> String {
    let mut object = serde_json::json!(record);
    object["exit"] = record.verdict.exit().code().into();
    if let Some(kept) = kept {
        object["log"] = kept.log.to_string_lossy().into();
        object["picture"] = kept.picture.map(Path::to_string_lossy).into();
    }
    object.to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn record(verdict: Verdict, sign: &str) -> BootTestRecord {
        BootTestRecord {
            id: 3,
            mirror: "mirror".into(),
            table_id: "1234abce".into(),
            run: Some(8812),
            started: 1000,
            seconds: 57.3,
            verdict,
            sign: sign.into(),
            accelerator: "kvm".into(),
            firmware: "uefi".into(),
            console: vec!["Gave up waiting for root file system device.".into(), "(initramfs)".into()],
        }
    }

    const TITLE: &str = "Samsung SSD 870 (S5GX123, /dev/sdb)";

    #[test]
    fn a_mirror_that_boots_is_one_line() {
        assert_eq!(
            summary(TITLE, &record(Verdict::Booted, "server login:")),
            "Samsung SSD 870 (S5GX123, /dev/sdb) boots: \"server login:\" after 57s (UEFI, KVM)"
        );
        let kept = Kept { log: Path::new("/l"), picture: None };
        assert_eq!(failure(TITLE, &record(Verdict::Booted, "x"), &kept), None);
    }

    #[test]
    fn one_that_does_not_says_what_it_said() {
        let kept =
            Kept { log: Path::new("/var/l/serial.log"), picture: Some(Path::new("/var/l/screen.png")) };
        let failure = failure(TITLE, &record(Verdict::Emergency, "(initramfs)"), &kept).expect("it did not");
        assert_eq!(
            failure.to_string(),
            "Samsung SSD 870 (S5GX123, /dev/sdb) does not boot: the kernel starts, the system does not come up\n  \
             why:   after 57s (UEFI, KVM): (initramfs)\n         \
             the console's last lines:\n         \
             | Gave up waiting for root file system device.\n         | (initramfs)\n  \
             state: nothing was written to the mirror: it is as the last run left it\n  \
             do:    less -R /var/l/serial.log   # all that it said\n         \
             look at the last screen: /var/l/screen.png\n         \
             mend what it names on this server, then: diskmirror run --full && diskmirror boot-test"
        );
    }

    #[test]
    fn json_has_the_exit_code_and_the_files() {
        let kept = Kept { log: Path::new("/l"), picture: None };
        let text = json(&record(Verdict::NoLoader, "grub rescue>"), Some(&kept));
        let value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(
            (&value["verdict"], &value["exit"], &value["log"]),
            (&"no_loader".into(), &1.into(), &"/l".into())
        );
    }
}
