//! What an audit found, for people and as JSON.

use crate::record::Finding;

/// A line each, or that there is none; remarks first.
pub fn text(mirror: &str, found: &[Finding]) -> String {
    let (remarks, findings): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.is_remark);
    let remarks: String =
        remarks.iter().map(|remark| format!("remark: {remark} (no boot is known to read it)\n")).collect();
    if findings.is_empty() {
        return format!(
            "{remarks}{mirror} stands alone: 0 references to the primary, and nothing that it boots from is missing\n"
        );
    }
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let count = match findings.len() {
        1 => "1 thing keeps".to_owned(),
        n => format!("{n} things keep"),
    };
    format!(
        "{remarks}{lines}{count} {mirror} from booting alone; a run mends what it knows: diskmirror run\n"
    )
}

/// One object: `{"findings":[{"file","inside","line","what"}],"remarks":[…]}`.
pub fn json(found: &[Finding]) -> String {
    let (remarks, findings): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.is_remark);
    serde_json::json!({ "findings": findings, "remarks": remarks }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_their_place_and_what_to_do() {
        let finding = |inside: Option<&str>, line| Finding {
            file: "/boot/initrd.img".into(),
            inside: inside.map(Into::into),
            line,
            what: "names the primary's UUID 1b4e".into(),
            is_remark: false,
        };
        assert_eq!(
            text("S2", &[finding(Some("cryptroot/crypttab"), 1), finding(None, 0)]),
            "/boot/initrd.img (cryptroot/crypttab), line 1: names the primary's UUID 1b4e\n\
             /boot/initrd.img: names the primary's UUID 1b4e\n\
             2 things keep S2 from booting alone; a run mends what it knows: diskmirror run\n"
        );
        assert!(text("S2", &[]).starts_with("S2 stands alone: 0 references"));
        let remark = Finding { is_remark: true, ..finding(None, 3) };
        let told = text("S2", std::slice::from_ref(&remark));
        assert!(
            told.starts_with("remark: /boot/initrd.img, line 3: ") && told.contains("\nS2 stands alone: "),
            "{told}"
        );
        let both: serde_json::Value = serde_json::from_str(&json(&[remark])).expect("JSON");
        assert_eq!((&both["findings"], &both["remarks"][0]["line"]), (&serde_json::json!([]), &3.into()));
        let json: serde_json::Value = serde_json::from_str(&json(&[finding(None, 7)])).expect("JSON");
        assert_eq!(json["findings"][0]["line"], 7);
    }
}
