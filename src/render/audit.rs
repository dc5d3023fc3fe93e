//! What an audit found, for people and as JSON.

use crate::record::Finding;

/// A line each, or that there is none.
pub fn text(mirror: &str, findings: &[Finding]) -> String {
    if findings.is_empty() {
        return format!(
            "{mirror} stands alone: 0 references to the primary, and nothing that it boots from is missing\n"
        );
    }
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let count = match findings.len() {
        1 => "1 thing keeps".to_owned(),
        n => format!("{n} things keep"),
    };
    format!("{lines}{count} {mirror} from booting alone; a run mends what it knows: diskmirror run\n")
}

/// One object: `{"findings":[{"file","inside","line","what"}]}`.
pub fn json(findings: &[Finding]) -> String {
    serde_json::json!({ "findings": findings }).to_string()
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
        };
        assert_eq!(
            text("S2", &[finding(Some("cryptroot/crypttab"), 1), finding(None, 0)]),
            "/boot/initrd.img (cryptroot/crypttab), line 1: names the primary's UUID 1b4e\n\
             /boot/initrd.img: names the primary's UUID 1b4e\n\
             2 things keep S2 from booting alone; a run mends what it knows: diskmirror run\n"
        );
        assert!(text("S2", &[]).starts_with("S2 stands alone: 0 references"));
        let json: serde_json::Value = serde_json::from_str(&json(&[finding(None, 7)])).expect("JSON");
        assert_eq!(json["findings"][0]["line"], 7);
    }
}
