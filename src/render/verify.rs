//! What a verification found, for people and as JSON.

use crate::escape;
use crate::record::{DifferenceRecord, VerifyRecord};
use crate::units::{Bytes, duration, thousands};
use std::time::Duration;

/// A line for each difference, one with the figures, and what follows from them.
pub fn text(record: &VerifyRecord) -> String {
    let total = record.total();
    let mut lines: Vec<String> =
        record.differences.iter().map(|difference| escape::line(&line(difference)).into_owned()).collect();
    let untold = total.differences().saturating_sub(record.differences.len() as u64);
    if untold > 0 {
        lines.push(format!("… and {} more", thousands(untold)));
    }
    let share = record.sample.as_ref().map_or(String::new(), |share| format!(" (a share of {share})"));
    lines.push(format!(
        "{} compared, {} read{share} ({}), {} changed since the last run, {} differences, {}",
        thousands(total.entries),
        thousands(total.files),
        Bytes(total.bytes),
        thousands(total.changed_since),
        thousands(total.differences()),
        duration(Duration::from_secs_f64(record.seconds))
    ));
    let consequences = [
        (
            total.mirror_damaged,
            "of the mirror: the next run looks at them again and mends them: diskmirror run",
        ),
        (
            total.primary_damaged,
            "of the PRIMARY: its disk gives back what nobody wrote. The mirror keeps the good copy: look at the \
             disk (smartctl -a, dmesg), restore the files from the mirror, or replace the disk",
        ),
        (
            total.unknown,
            "of one of them, nothing tells which: compare both files; diskmirror run --full copies the primary's",
        ),
    ];
    let said = consequences.iter().filter(|(count, _)| *count > 0);
    lines.extend(said.map(|(count, text)| format!("  {} {text}", thousands(*count))));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// One difference in words.
pub fn line(difference: &DifferenceRecord) -> String {
    let DifferenceRecord { mount, path, side, what, digest } = difference;
    let path = match path.as_str() {
        "." => mount.clone(),
        path => format!("{}/{path}", mount.trim_end_matches('/')),
    };
    match (side.as_str(), digest) {
        ("primary", Some(digest)) => {
            format!(
                "{path}: PRIMARY damaged: {what} than was copied to the mirror (if it is meant: diskmirror run --accept {digest})"
            )
        }
        ("primary", None) => format!("{path}: PRIMARY: {what}"),
        ("mirror", _) => format!("{path}: mirror damaged: {what}"),
        _ => format!("{path}: primary or mirror damaged: {what}"),
    }
}

/// One object: `{"volumes":[…],"differences":[{"mount","path","side","what"}],"seconds", …}`.
pub fn json(record: &VerifyRecord) -> String {
    let mut object = serde_json::json!(record);
    object["exit"] = record.exit().code().into();
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::VerifiedVolume;

    fn record() -> VerifyRecord {
        let volume = VerifiedVolume {
            mount: "/".into(),
            entries: 412_906,
            files: 301_002,
            bytes: 3 << 30,
            changed_since: 12,
            mirror_damaged: 1,
            primary_damaged: 1,
            unknown: 0,
        };
        let difference = |path: &str, side: &str, digest: Option<&str>| DifferenceRecord {
            mount: "/".into(),
            path: path.into(),
            side: side.into(),
            what: "other content".into(),
            digest: digest.map(Into::into),
        };
        let differences =
            vec![difference("etc/x", "mirror", None), difference("srv/db", "primary", Some("abc"))];
        VerifyRecord { volumes: vec![volume], differences, seconds: 242.0, ..VerifyRecord::default() }
    }

    #[test]
    fn what_is_wrong_comes_first_and_what_to_do_last() {
        let text = text(&record());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/etc/x: mirror damaged: other content");
        assert!(lines[1].starts_with("/srv/db: PRIMARY damaged: ") && lines[1].contains("run --accept abc"));
        assert_eq!(
            lines[2],
            "412,906 compared, 301,002 read (3.00 GiB), 12 changed since the last run, 2 differences, 4m02s"
        );
        assert_eq!(lines.len(), 5);
        let clean = super::text(&VerifyRecord::default());
        assert_eq!(clean.lines().count(), 1, "{clean}");
    }

    #[test]
    fn json_has_volumes_and_differences() {
        let value: serde_json::Value = serde_json::from_str(&json(&record())).expect("it is JSON");
        assert_eq!((&value["exit"], &value["volumes"][0]["changed_since"]), (&5.into(), &12.into()));
        assert_eq!(value["differences"][1]["digest"], "abc");
        assert!(value["differences"][0].get("digest").is_none());
    }
}
