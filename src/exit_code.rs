//! The exit codes: a contract with scripts and timers.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed; the message's `state:` says what is true now.
    Failed,
    /// 2: the command line was wrong.
    Usage,
    /// 3: finished, but some files were not copied.
    Incomplete,
    /// 4: refused; nothing was written.
    Refused,
    /// 5: verify or audit found differences.
    Differences,
    /// 6: another run holds the lock.
    Locked,
}

impl Exit {
    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Incomplete => 3,
            Exit::Refused => 4,
            Exit::Differences => 5,
            Exit::Locked => 6,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_the_published_ones() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Incomplete,
            Exit::Refused,
            Exit::Differences,
            Exit::Locked,
        ];
        assert_eq!(all.map(Exit::code), [0, 1, 2, 3, 4, 5, 6]);
    }
}
