//! The configuration as a file: who may have written it, and where in it a mistake is.

use super::NOTHING_WRITTEN;
use crate::refusal::Refusal;
use crate::units::Bytes;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// More than any configuration has.
const MOST_BYTES: u64 = 1 << 20;

/// What is wrong with a configuration, and where: a byte range of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub at: Range<usize>,
}

/// The text of a file that only its owner, root or us, can have written.
pub(super) fn read_trusted(path: &Path) -> Result<String, Refusal> {
    let unreadable = |error: &std::io::Error| {
        let refusal =
            Refusal::new(format!("cannot read the configuration {}", path.display()), NOTHING_WRITTEN)
                .why(error.to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                refusal.remedy("prepare a mirror first: diskmirror init --mirror DISK")
            }
            _ => refusal.remedy(format!("ls -l {}", path.display())),
        }
    };
    // A pipe has somebody at its other end, who may never write.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|e| unreadable(&e))?;
    let meta = file.metadata().map_err(|e| unreadable(&e))?;
    if meta.file_type().is_fifo() {
        return Err(unreadable(&std::io::Error::other("it is a pipe, not a file")));
    }
    let me = rustix::process::geteuid().as_raw();
    let refused = |why: String, remedy: String| {
        Err(Refusal::new(format!("the configuration {} cannot be trusted", path.display()), NOTHING_WRITTEN)
            .why(why)
            .remedy(remedy))
    };
    if meta.uid() != 0 && meta.uid() != me {
        return refused(
            format!("it belongs to user {}, who could make root copy anything", meta.uid()),
            format!("look at it, then: chown root:root {}", path.display()),
        );
    }
    if meta.mode() & 0o022 != 0 {
        return refused(
            format!("others may write it (mode {:04o})", meta.mode() & 0o7777),
            format!("look at it, then: chmod go-w {}", path.display()),
        );
    }
    let mut text = String::new();
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|e| unreadable(&e))?;
    if text.len() as u64 > MOST_BYTES {
        let most = Bytes(MOST_BYTES);
        return refused(format!("it is larger than {most}"), format!("look at it: less {}", path.display()));
    }
    Ok(text)
}

/// The complaint with its line of the file, and a caret under the place.
pub(super) fn pointed_at(text: &str, complaint: &Complaint) -> Vec<String> {
    let start = complaint.at.start.min(text.len());
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let number = text[..start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let end = complaint.at.end.clamp(start, line_start + line.len().max(start - line_start));
    let width = text.get(start..end).map_or(1, |marked| marked.chars().count().max(1));
    let margin = " ".repeat(number.to_string().len());
    let mut lines = vec![format!("line {number}, column {}:", column + 1)];
    lines.push(format!("{number} | {line}"));
    lines.push(format!("{margin} | {}{}", " ".repeat(column), "^".repeat(width)));
    lines.extend(complaint.message.lines().map(str::to_owned));
    lines
}
