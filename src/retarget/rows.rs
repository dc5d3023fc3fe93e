//! fstab and crypttab field by field: what is not replaced stays byte for byte, and so do comments.

/// What becomes of a line.
pub(super) enum Row {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop,
    /// It gets these fields in place of its own, blanks between them as they were; more are added at its end.
    Fields(Vec<String>),
}

/// `text` with each line of fields as `row` wants it, without the lines that `init` added for the mirror.
pub(super) fn rewritten(text: &str, row: impl Fn(&[&str]) -> Row) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut marked = false;
    for line in text.split_inclusive('\n') {
        let fields: Vec<&str> = fields(line);
        if is_mark(line) || (marked && !fields.is_empty()) {
            marked = is_mark(line);
            continue;
        }
        marked = false;
        match if fields.is_empty() { Row::Keep } else { row(&fields) } {
            Row::Keep => out.push_str(line),
            Row::Drop => {}
            Row::Fields(new) => push_fields(&mut out, line, &fields, &new),
        }
    }
    out
}

/// The comment above a line that `init` added.
fn is_mark(line: &str) -> bool {
    line.trim().starts_with("# diskmirror: ")
}

/// The fields of a line; none of a comment.
pub(super) fn fields(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with('#') { Vec::new() } else { line.split_ascii_whitespace().collect() }
}

fn push_fields(out: &mut String, line: &str, old: &[&str], new: &[String]) {
    let mut rest = line;
    for (at, field) in old.iter().enumerate() {
        let start = rest.find(field).expect("a field is part of its line");
        out.push_str(&rest[..start]);
        out.push_str(new.get(at).map_or(*field, String::as_str));
        rest = &rest[start + field.len()..];
    }
    for field in new.iter().skip(old.len()) {
        out.push(' ');
        out.push_str(field);
    }
    out.push_str(rest);
}
