use super::*;
use MirrorInode::{Absent, Is, Unseen};

type Given<'a> = (&'a str, u64, MirrorInode, Aspects);

/// A mirror that has one inode under every name that nobody has looked at, and one under names that are gone.
#[derive(Default)]
struct Side {
    unseen: Option<u64>,
    bearer: Option<Bearer>,
}

impl MirrorSide for Side {
    fn inode(&self, _: &DirAt, _: &[u8]) -> Option<u64> {
        self.unseen
    }
    fn bearer(&self, _: u64, _: &DirAt, _: &[u8]) -> Option<Bearer> {
        self.bearer.clone()
    }
    fn go_on(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn at(path: RelPath, ino: u64) -> DirAt {
    DirAt { path: Arc::new(path), mirror: None, ino }
}

/// All that comes of a decision.
struct Resolved {
    leaders: Vec<DirChange>,
    links: Links,
    vacated: Vec<OldName>,
}

fn resolved(given: &[Given<'_>]) -> Resolved {
    resolved_with(given, &Side::default())
}

fn resolved_with(given: &[Given<'_>], side: &Side) -> Resolved {
    let (root, mut names) = (at(RelPath::root(), 2), LinkNames::default());
    for (name, ino, on_mirror, aspects) in given {
        let over = (*on_mirror != Absent).then_some(Kind::File);
        let needs = Needs {
            kind: Kind::File,
            ctime: Timestamp::default(),
            size: 0,
            over,
            aspects: *aspects,
            slot: 0,
        };
        names.add(&root, name.as_bytes(), *ino, *on_mirror, (!aspects.is_empty()).then_some(needs));
    }
    resolve_all(names, side)
}

fn resolve_all(names: LinkNames, side: &Side) -> Resolved {
    let (mut leaders, mut vacated) = (Vec::new(), Vec::new());
    let mut take = |decided| {
        match decided {
            Decided::Leader(leader) => leaders.push(leader),
            Decided::Vacated(old) => vacated.push(old),
        }
        Ok(())
    };
    let links = resolve(names, side, &mut take).expect("nobody asked to end");
    Resolved { leaders, links, vacated }
}

fn links(resolved: &Resolved) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    resolved.links.iter().map(|link| (text(&link.leader), text(&link.name))).collect()
}

fn leaders(resolved: &Resolved) -> Vec<(How, String)> {
    let one = |change: &DirChange| {
        let change = &change.changes[0];
        (change.how.clone(), String::from_utf8_lossy(&change.name).into_owned())
    };
    resolved.leaders.iter().map(one).collect()
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

const NEW: Aspects = Aspects::ABSENT;
const SAME: Aspects = Aspects::NONE;

#[test]
fn an_unchanged_group_needs_nothing() {
    let resolved = resolved(&[("a", 1, Is(10), SAME), ("b", 1, Is(10), SAME)]);
    assert!(resolved.leaders.is_empty() && resolved.links.is_empty());
}

#[test]
fn a_new_group_is_made_once_and_linked() {
    let resolved = resolved(&[("b", 1, Absent, NEW), ("a", 1, Absent, NEW)]);
    assert_eq!(leaders(&resolved), [(How::Make, "a".to_owned())]);
    assert_eq!(links(&resolved), [pair("a", "b")]);
    assert_eq!(resolved.links.iter().next().and_then(|link| link.over), None);
}

#[test]
fn one_inode_of_the_mirror_serves_only_one_of_the_source() {
    let resolved = resolved(&[("a", 1, Is(10), SAME), ("b", 2, Is(10), SAME)]);
    assert_eq!(leaders(&resolved), [(How::Make, "b".to_owned())]);
}

#[test]
fn metadata_of_a_group_is_changed_once() {
    let resolved = resolved(&[("a", 1, Is(10), Aspects::MODE), ("b", 1, Is(10), Aspects::MODE)]);
    assert_eq!(leaders(&resolved), [(How::Adjust, "a".to_owned())]);
    assert!(resolved.links.is_empty());
}

#[test]
fn a_group_keeps_the_inode_that_bears_most_of_its_names() {
    let given = [("a", 1, Is(10), SAME), ("b", 1, Is(11), SAME), ("c", 1, Is(11), SAME)];
    assert_eq!(links(&resolved(&given)), [pair("b", "a")]);
}

#[test]
fn names_that_are_all_proven_need_no_look_at_the_mirror() {
    let resolved = resolved(&[("a", 1, Unseen, SAME), ("b", 1, Unseen, SAME)]);
    assert!(resolved.leaders.is_empty() && resolved.links.is_empty());
}

#[test]
fn a_new_name_of_a_proven_inode_is_given_to_the_inode_that_the_mirror_has() {
    let found = resolved_with(
        &[("a", 1, Unseen, SAME), ("b", 1, Absent, NEW)],
        &Side { unseen: Some(10), bearer: None },
    );
    assert_eq!((leaders(&found), links(&found)), (Vec::new(), vec![pair("a", "b")]));
    let found = resolved(&[("a", 1, Unseen, SAME), ("b", 1, Absent, NEW)]);
    assert_eq!(leaders(&found), [(How::Make, "a".to_owned())], "it is not there after all");
}

fn bearer(aspects: Aspects) -> Side {
    let old = |name: &[u8]| OldName { dir: at(RelPath::root(), 2), name: name.into() };
    let names = vec![old(b"x"), old(b"y")];
    let (from, ctime) = (RelPath::from_bytes("x"), Timestamp::default());
    let bearer = Bearer { mirror_ino: 20, from, aspects, ctime, names };
    Side { unseen: None, bearer: Some(bearer) }
}

#[test]
fn an_inode_whose_names_are_all_new_keeps_the_one_that_bore_the_old_ones() {
    let given = [("a", 1, Absent, NEW), ("b", 1, Absent, NEW), ("c", 1, Absent, NEW)];
    let found = resolved_with(&given, &bearer(Aspects::MODE));
    assert_eq!(leaders(&found), [(How::Rename { from: RelPath::from_bytes("x") }, "a".to_owned())]);
    assert_eq!(links(&found), [pair("a", "b"), pair("a", "c")]);
    assert_eq!((found.vacated.len(), found.links.counts()), (2, (1, 1)), "two old names, three new");
    let found = resolved_with(&given, &bearer(Aspects::CONTENT));
    assert_eq!(leaders(&found), [(How::Make, "a".to_owned())]);
    assert!(found.vacated.is_empty() && found.links.counts() == (0, 2), "it is not what it was");
}

#[test]
fn a_name_that_comes_for_another_counts_as_renamed() {
    let found = resolved_with(&[("a", 1, Is(20), SAME), ("b", 1, Absent, NEW)], &bearer(SAME));
    assert_eq!((leaders(&found), links(&found)), (Vec::new(), vec![pair("a", "b")]));
    assert_eq!((found.vacated.len(), found.links.counts()), (1, (1, 0)));
}

#[test]
fn names_of_several_directories_stay_apart_when_they_are_put_together() {
    let mut all = LinkNames::default();
    for dir in ["x", "y"] {
        let dir = at(RelPath::from_bytes(dir), 3);
        let mut names = LinkNames::default();
        let needs = Needs {
            kind: Kind::File,
            ctime: Timestamp::default(),
            size: 0,
            over: None,
            aspects: NEW,
            slot: 0,
        };
        names.add(&dir, b"name", 1, Absent, Some(needs));
        all.append(names);
    }
    let links: Vec<_> = resolve_all(all, &Side::default())
        .links
        .iter()
        .map(|link| (link.leader_dir, link.dir.path))
        .collect();
    assert_eq!(links.len(), 1);
    assert_eq!((links[0].0.to_bytes(), links[0].1.to_bytes()), (b"x".to_vec(), b"y".to_vec()));
}

#[test]
fn what_one_look_found_of_an_inode_holds_for_all_its_names() {
    // "a" was looked at before somebody wrote, "b" after it.
    let resolved = resolved(&[("a", 1, Is(10), SAME), ("b", 1, Is(10), Aspects::CONTENT)]);
    assert_eq!(leaders(&resolved), [(How::Make, "a".to_owned())]);
    assert_eq!(links(&resolved), [pair("a", "b")]);
    let adjusted =
        resolved_with(&[("a", 1, Is(10), SAME), ("b", 1, Is(10), Aspects::MODE)], &Side::default());
    assert_eq!(leaders(&adjusted), [(How::Adjust, "a".to_owned())]);
    // The same where the catalog proved the first name.
    let side = Side { unseen: Some(10), bearer: None };
    let proven = resolved_with(&[("a", 1, Unseen, SAME), ("b", 1, Is(10), Aspects::CONTENT)], &side);
    assert_eq!(leaders(&proven), [(How::Make, "a".to_owned())]);
}

#[test]
fn names_wait_for_an_inode_that_is_still_to_be_made() {
    let made = resolved(&[("a", 1, Absent, NEW), ("b", 1, Absent, NEW)]);
    let first = |resolved: &Resolved| resolved.links.iter().next().expect("a link").number;
    assert!(made.links.awaits(first(&made)));
    assert_eq!(made.leaders[0].changes[0].leads, Some(first(&made)));
    let there = resolved(&[("a", 1, Is(10), SAME), ("b", 1, Absent, NEW)]);
    assert!(!there.links.awaits(first(&there)));
}

#[test]
fn what_a_name_needs_is_kept_beside_it_whatever_its_size() {
    let dir = at(RelPath::from_bytes("x"), 3);
    let mut names = LinkNames::default();
    let all: Vec<Needs> = [0, 127, 128, 1 << 40, u64::MAX]
        .map(|size| Needs {
            kind: Kind::Symlink,
            ctime: Timestamp { secs: -3, nanos: 9 },
            size,
            over: Some(Kind::File),
            aspects: NEW,
            slot: 0,
        })
        .to_vec();
    for (needs, ino) in all.iter().zip(1..) {
        names.add(&dir, b"with", ino, Absent, Some(*needs));
        names.add(&dir, &[b'n'; 255], ino, Unseen, None);
    }
    let mut whole = LinkNames::default();
    names.add(&dir, b"last", 9, Absent, None);
    whole.add(&dir, b"first", 8, Absent, None);
    whole.append(names);
    let kept: Vec<Option<Needs>> = whole.seen.iter().map(|seen| whole.needs(seen)).collect();
    let expected = [None].into_iter().chain(all.iter().flat_map(|needs| [Some(*needs), None])).chain([None]);
    assert_eq!(kept, expected.collect::<Vec<_>>());
    assert!(whole.text.len() < 8 + 5 * (256 + 36) + 8, "{} bytes", whole.text.len());
}
