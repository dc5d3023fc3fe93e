//! The list of changes for people, in the manner of `rsync --itemize-changes`.

use crate::sys::stat::Kind;
use crate::tree::base::relpath::RelPath;
use crate::tree::changes::Changes;
use crate::tree::changes::change::{Action, Aspects, Change, DirChange};
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
    change.changes.iter().try_for_each(|one| line(&change.path, one, out))
}

fn line(dir: &RelPath, change: &Change, out: &mut impl Write) -> io::Result<()> {
    let path = dir.join(&change.name).listed();
    let (letter, slash) = match change.kind {
        Kind::File => ('f', ""),
        Kind::Dir => ('d', "/"),
        Kind::Symlink => ('L', ""),
        Kind::Block | Kind::Char => ('D', ""),
        Kind::Fifo | Kind::Socket => ('S', ""),
    };
    match (change.action, change.kind) {
        (Action::Delete, _) => writeln!(out, "*deleting   {path}{slash}"),
        (Action::Rename, _) => renaming(change.aspects, &path, change.from.as_ref(), out),
        // Its line is that of the new name.
        (Action::Vacate, _) => Ok(()),
        (Action::Adjust, _) => writeln!(out, ".{letter}{} {path}{slash}", letters(change.aspects)),
        (Action::Make, Kind::File) => writeln!(out, ">{letter}{} {path}", letters(change.aspects)),
        (Action::Make, _) => writeln!(out, "c{letter}{} {path}{slash}", letters(change.aspects)),
    }
}

fn renaming(aspects: Aspects, path: &str, from: Option<&RelPath>, out: &mut impl Write) -> io::Result<()> {
    let from = from.map(|from| format!(" <= {}", from.listed())).unwrap_or_default();
    writeln!(out, "rf{} {path}{from}", letters(aspects))
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
        let name = b"a\nb".as_slice().into();
        let aspects = Aspects::CONTENT | Aspects::SIZE | Aspects::MTIME;
        let change = Change {
            action: Action::Make,
            kind: Kind::File,
            over: Some(Kind::File),
            aspects,
            ino: 1,
            ctime: Default::default(),
            leads: None,
            size: 2,
            slot: 0,
            name,
            from: None,
        };
        let mut out = Vec::new();
        lines(
            &DirChange { path: RelPath::from_bytes("d"), ino: 0, own: Aspects::MTIME, changes: vec![change] },
            &mut out,
        )
        .expect("memory");
        assert_eq!(String::from_utf8(out).expect("text"), ".d..t...... d/\n>fcst...... d/a\\012b\n");
    }
}
