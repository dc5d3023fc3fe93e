//! What an audit finds.

use crate::escape;
use serde::Serialize;
use std::fmt;

/// One thing that needs the primary, or something that is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, or what of the disk.
    pub file: String,
    /// The file inside of it: of an initramfs, or a section of an EFI program.
    pub inside: Option<String>,
    /// The line, from 1; 0 where there are none.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// Whether nobody is known to read it at a boot: it is told, and the mirror stands alone all the same.
    #[serde(skip)]
    pub is_remark: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::line(&self.file))?;
        self.inside.iter().try_for_each(|inside| write!(f, " ({})", escape::line(inside)))?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        write!(f, ": {}", escape::line(&self.what))
    }
}
