//! The list of changes for people, in the manner of `rsync --itemize-changes`.

use crate::sys::stat::Kind;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::Changes;
use crate::tree::changes::change::{Aspects, Change, DirChange, How, Removal};
use std::io::{self, Write};

impl Changes {
    /// Writes one line for each change: additions and changes, links, deletions.
    ///
    /// # Errors
    /// Those of reading the list and of writing.
    pub fn itemise(&mut self, out: &mut impl Write) -> io::Result<()> {
        for moved in &self.moves {
            if let Some(from) = &moved.from {
                writeln!(out, "rd{:9} {}/ <= {}/", ".........", moved.to().listed(), from.listed())?;
            }
        }
        for spool in [&mut self.additions, &mut self.deletions] {
            let spool = spool.get_mut().expect("no thread panics while spooling");
            for change in spool.replay()? {
                lines(&change?, out)?;
            }
        }
        for link in self.links.iter() {
            let (name, leader) = (link.dir.path.join(&link.name), link.leader_dir.join(&link.leader));
            let (name, leader) = (name.listed(), leader.listed());
            writeln!(out, "hf{:9} {name} => {leader}", "+++++++++")?;
        }
        Ok(())
    }
}

fn lines(change: &DirChange, out: &mut impl Write) -> io::Result<()> {
    // A new directory's line stands with its name, in the directory above.
    if !change.own.is_empty() && !change.own.has(Aspects::ABSENT) {
        writeln!(out, ".d{} {}/", letters(change.own), change.path.listed())?;
    }
    change.changes.iter().try_for_each(|one| change_line(&change.path, one, out))?;
    change.removals.iter().try_for_each(|one| removal_line(&change.path, one, out))
}

fn change_line(dir: &RelPath, change: &Change, out: &mut impl Write) -> io::Result<()> {
    let (path, letters) = (dir.join(&change.name).listed(), letters(change.aspects));
    let (letter, slash) = sign(change.kind);
    match (&change.how, change.kind) {
        (How::Rename { from }, _) => writeln!(out, "rf{letters} {path} <= {}", from.listed()),
        (How::Adjust, _) => writeln!(out, ".{letter}{letters} {path}{slash}"),
        (How::Make, Kind::File) => writeln!(out, ">{letter}{letters} {path}"),
        (How::Make, _) => writeln!(out, "c{letter}{letters} {path}{slash}"),
    }
}

fn removal_line(dir: &RelPath, removal: &Removal, out: &mut impl Write) -> io::Result<()> {
    match removal {
        Removal::Delete { name, kind, .. } => {
            writeln!(out, "*deleting   {}{}", dir.join(name).listed(), sign(*kind).1)
        }
        // Its line is that of the new name.
        Removal::OldName { .. } => Ok(()),
    }
}

/// The letter of a type, and what stands behind a path.
fn sign(kind: Kind) -> (char, &'static str) {
    match kind {
        Kind::File => ('f', ""),
        Kind::Dir => ('d', "/"),
        Kind::Symlink => ('L', ""),
        Kind::Block | Kind::Char => ('D', ""),
        Kind::Fifo | Kind::Socket => ('S', ""),
    }
}

/// Content, size, time, permissions, owner, group, flags, (room for lists), attributes.
fn letters(aspects: Aspects) -> String {
    if aspects.has(Aspects::ABSENT) {
        return "+++++++++".into();
    }
    let all = [
        (Aspects::CONTENT, 'c'),
        (Aspects::SIZE, 's'),
        (Aspects::MTIME, 't'),
        (Aspects::MODE, 'p'),
        (Aspects::OWNER, 'o'),
        (Aspects::GROUP, 'g'),
        (Aspects::FLAGS, 'u'),
        (Aspects::NONE, 'a'),
        (Aspects::XATTRS, 'x'),
    ];
    all.map(|(aspect, letter)| if aspects.has(aspect) { letter } else { '.' }).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_differs_and_names_are_escaped() {
        let made = Change {
            name: b"a\nb".as_slice().into(),
            how: How::Make,
            kind: Kind::File,
            over: Some(Kind::File),
            aspects: Aspects::CONTENT | Aspects::SIZE | Aspects::MTIME,
            ino: 1,
            ctime: Default::default(),
            leads: None,
            size: 2,
            slot: 0,
        };
        let name = b"old".as_slice().into();
        let change = DirChange {
            own: Aspects::MTIME,
            changes: vec![made],
            removals: vec![Removal::Delete { name, kind: Kind::Dir, entries: 3 }],
            ..DirChange::new(RelPath::from_bytes("d"), 0)
        };
        let mut out = Vec::new();
        lines(&change, &mut out).expect("memory");
        let said = String::from_utf8(out).expect("text");
        assert_eq!(said, ".d..t...... d/\n>fcst...... d/a\\012b\n*deleting   d/old/\n");
    }
}
