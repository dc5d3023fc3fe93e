//! The walls of the house: which room may import which, and where `unsafe` may stand.
//!
//! The tables are those of `doc/design.md`, so page and code cannot part. A room is a file or a directory directly below src/,
//! or below src/tree. Only code is looked at: comments, strings and `#[cfg(test)]` modules at the end of a file are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The page that draws the house.
const DESIGN: &str = include_str!("../doc/design.md");

/// Every room, and what it may import; none is everything. What stands in no row does not exist.
type Rooms = BTreeMap<&'static str, Option<BTreeSet<&'static str>>>;

/// The rooms directly below src/.
static HOUSE: LazyLock<Rooms> = LazyLock::new(|| table(DESIGN, "| room | may import |"));
/// Those of src/tree.
static ENGINE: LazyLock<Rooms> = LazyLock::new(|| table(DESIGN, "| room of the engine | may import |"));

/// The table of a page that begins with this line: `| a, b | c, d |`, a dash for nothing, `all` for everything.
fn table(page: &'static str, head: &str) -> Rooms {
    let rows = page.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    let mut rooms = Rooms::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [names, imports] = cells[..] else { panic!("no row of two cells: {row}") };
        let list = |cell: &'static str| cell.split(", ").filter(|name| *name != "–").collect();
        let allowed: Option<BTreeSet<&str>> = (imports != "all").then(|| list(imports));
        for name in names.split(", ") {
            assert!(rooms.insert(name, allowed.clone()).is_none(), "{name} stands in two rows");
        }
    }
    assert!(!rooms.is_empty(), "the page has no table {head}");
    rooms
}

/// Modules of `command` that are no commands: every command may use them.
const SHARED_BY_COMMANDS: &[&str] = &["confirm", "not_mirrored", "output", "remedy", "trees"];

/// The commands that `init` ends with.
const CALLED_BY_INIT: &[&str] = &["run", "schedule"];

/// The room of a file: `tree/copy.rs` is in `tree`, `units.rs` is `units`.
fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// What breaks the rules in one file, a line each. `path` is relative to src/.
fn violations(path: &str, source: &str) -> Vec<String> {
    let room = room_of(path);
    let code = without_super(path, &code_only(source));
    let mut found = breaches(path, room, &HOUSE, imports("crate::", &code));
    if room == "command" {
        found.extend(sideways(path, &code));
    }
    if let Some(inside) = path.strip_prefix("tree/").filter(|inside| *inside != "mod.rs") {
        found.extend(breaches(path, room_of(inside), &ENGINE, imports("crate::tree::", &code)));
    }
    if room != "sys" && words(&code).any(|word| word == "unsafe") {
        found.push(format!("{path}: unsafe stands only in sys"));
    }
    found
}

/// What `room` imports and may not.
fn breaches(path: &str, room: &str, rooms: &Rooms, imports: BTreeSet<String>) -> Vec<String> {
    let Some(allowed) = rooms.get(room) else {
        return vec![format!("{path}: there is no room {room:?} in the table")];
    };
    let Some(allowed) = allowed else { return Vec::new() };
    let wrong = imports.into_iter().filter(|import| import != room && !allowed.contains(import.as_str()));
    wrong.map(|import| format!("{path}: {room} may not import {import}")).collect()
}

/// The commands do not know each other, but `init` calls `run` and `schedule`, and `mod.rs` and `demo` know all.
fn sideways(path: &str, code: &str) -> Vec<String> {
    let own = path.trim_start_matches("command/").split(['/', '.']).next().unwrap_or_default();
    if own == "mod" || own == "demo" {
        return Vec::new();
    }
    let others =
        paths(code).into_iter().filter_map(|path| path.strip_prefix("crate::command::").map(first_word));
    let others: BTreeSet<String> = others.collect();
    let others = others.into_iter().filter(|other| !SHARED_BY_COMMANDS.contains(&other.as_str()));
    let called = |other: &str| own == "init" && CALLED_BY_INIT.contains(&other);
    let wrong = others.filter(|other| other != own && !called(other));
    wrong.map(|other| format!("{path}: command {own} may not know command {other}")).collect()
}

/// Spells out what `super` stands for where it leaves the room, or one command for another.
fn without_super(path: &str, code: &str) -> String {
    let depth = path.trim_end_matches("/mod.rs").split('/').count();
    let spelled = climbed(code, depth, "crate::", &HOUSE);
    if path.starts_with("command/") && depth == 2 {
        spelled.replace("super::", "crate::command::")
    } else if path.starts_with("tree/") && depth > 1 {
        climbed(&spelled, depth - 1, "crate::tree::", &ENGINE)
    } else {
        spelled
    }
}

/// Puts `stands_for` in place of so many `super::` where a room follows, or a group.
fn climbed(code: &str, times: usize, stands_for: &str, rooms: &Rooms) -> String {
    let mut spelled = String::new();
    for (n, piece) in code.split(&"super::".repeat(times)).enumerate() {
        let leaves = n > 0 && (rooms.contains_key(first_word(piece).as_str()) || piece.starts_with('{'));
        spelled.push_str(match (n, leaves) {
            (0, _) => "",
            (_, true) => stands_for,
            _ => "super::",
        });
        spelled.push_str(piece);
    }
    spelled
}

/// The rooms below `house` that code names: in `use crate::…`, grouped or not, and in paths inside expressions.
fn imports(house: &str, code: &str) -> BTreeSet<String> {
    let named = paths(code).into_iter().filter_map(|path| path.strip_prefix(house).map(first_word));
    named.filter(|room| !room.is_empty()).collect()
}

/// Every path that begins with `crate::`, with groups spelled out; `diskmirror::` (in main) is the same crate.
fn paths(code: &str) -> Vec<String> {
    let code = code.replace("diskmirror::", "crate::");
    let code: String =
        code.split_whitespace().collect::<Vec<_>>().join(" ").replace(":: ", "::").replace(" ::", "::");
    let starts = code.match_indices("crate::").map(|(at, _)| at);
    let whole =
        starts.filter(|at| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
    whole.flat_map(|at| spelled_out("crate::", &code[at + "crate::".len()..])).collect()
}

/// `a::{b, c::{d, e}}` after a prefix: one path a leaf.
fn spelled_out(prefix: &str, rest: &str) -> Vec<String> {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
    let path = format!("{prefix}{}", &rest[..end]);
    match rest[end..].strip_prefix('{') {
        Some(group) if path.ends_with("::") => {
            members(group).iter().flat_map(|member| spelled_out(&path, member.trim())).collect()
        }
        _ => vec![path],
    }
}

/// The members of a group whose opening brace was just read, up to its closing one.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut found) = (0usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn first_word(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// The source without comments, string and character literals, and without its unit tests.
fn code_only(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or(source);
    let bytes = source.as_bytes();
    let (mut at, mut code) = (0, Vec::with_capacity(bytes.len()));
    while at < bytes.len() {
        let length = skipped_length(&source[at..]);
        if length == 0 {
            let next = at + source[at..].chars().next().map_or(1, char::len_utf8);
            code.extend_from_slice(&bytes[at..next]);
            at = next;
        } else {
            code.push(b' ');
            at += length;
        }
    }
    String::from_utf8(code).expect("whole characters were copied")
}

/// How many bytes a comment or literal that begins here has; 0 if none does.
fn skipped_length(rest: &str) -> usize {
    let until =
        |mark: &str, from: usize| rest[from..].find(mark).map_or(rest.len(), |at| from + at + mark.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    if let Some(raw) = rest.strip_prefix('r')
        && raw.trim_start_matches('#').starts_with('"')
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        return until(&format!("\"{}", "#".repeat(hashes)), 2 + hashes);
    }
    if rest.starts_with('"') {
        return string_length(rest);
    }
    ["'\"'", "'\\''", "'\\\\'"]
        .iter()
        .find(|literal| rest.starts_with(**literal))
        .map_or(0, |literal| literal.len())
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn rust_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn no_room_imports_what_lies_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 5, "the sources were not found below {}", root.display());
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&root).expect("it lies below src").to_str().expect("a plain name");
            violations(path, &fs::read_to_string(file).expect("a source file"))
        })
        .collect();
    assert!(found.is_empty(), "the layering is broken:\n  {}", found.join("\n  "));
}

#[test]
fn the_tables_name_only_rooms_that_are_in_them() {
    for rooms in [&HOUSE, &ENGINE] {
        for (room, allowed) in rooms.iter() {
            let unknown: Vec<_> =
                allowed.iter().flatten().filter(|name| !rooms.contains_key(**name)).collect();
            assert!(unknown.is_empty(), "{room} may import unknown rooms: {unknown:?}");
        }
    }
}

/// Each row may name only rooms of which none may, in any number of steps, import it.
#[test]
fn no_arrow_of_the_tables_goes_up() {
    for rooms in [&HOUSE, &ENGINE] {
        for room in rooms.keys() {
            let (mut below, mut next) = (BTreeSet::new(), vec![*room]);
            while let Some(other) = next.pop() {
                let imports = rooms[other].iter().flatten().copied();
                next.extend(imports.filter(|import| below.insert(*import)));
            }
            assert!(!below.contains(room), "{room} imports itself by way of {below:?}");
        }
    }
}

#[test]
fn a_forbidden_import_is_found_however_it_is_spelled() {
    for source in [
        "use crate::mirror::Mirror;",
        "use crate::{units::Bytes, mirror::{Mirror, Mark}};",
        "use crate::{\n    sys::{command, mount},\n    mirror,\n};",
        "pub(crate) use crate::mirror as m;",
        "fn f() { let x = crate::mirror::open(); }",
        "fn f() -> Vec<crate::mirror::Mirror> { vec![] }",
        "use crate :: mirror :: Mirror;",
        "use diskmirror::mirror::Mirror;",
        "use super::super::mirror::Mirror;",
        "use super::super::{units, mirror};",
        "/* a comment */ use crate::mirror::Mirror; // more",
        "const Q: char = '\"'; use crate::mirror::Mirror; const R: char = '\"';",
        "const S: &str = \"a \\\" quote\"; use crate::mirror::Mirror;",
    ] {
        assert_eq!(violations("sys/copy.rs", source), ["sys/copy.rs: sys may not import mirror"], "{source}");
    }
}

#[test]
fn what_is_allowed_or_not_code_is_left_alone() {
    for source in [
        "use crate::sys::file;",
        "use crate::{sys::file, monitor::Monitor, units::{Bytes, Sectors}};",
        "use crate::tree::base::listing;",
        "use super::mirror;",
        "use super::listing::Listing;",
        "// use crate::mirror::Mirror;",
        "/// See [`crate::mirror`].",
        "const TEXT: &str = \"crate::mirror unsafe\";",
        "const TEXT: &str = r#\"crate::mirror \" unsafe\"#;",
        "use other_crate::mirror;",
        "fn f() {}\n#[cfg(test)]\nmod tests { use crate::mirror::Mirror; }",
    ] {
        assert_eq!(violations("tree/scan/copy.rs", source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn an_unknown_room_and_unsafe_outside_sys_are_found() {
    let unknown = violations("utils/mod.rs", "");
    assert_eq!(unknown, ["utils/mod.rs: there is no room \"utils\" in the table"]);
    let source = "fn f() { unsafe { g() } }";
    assert_eq!(violations("tree/scan/copy.rs", source), ["tree/scan/copy.rs: unsafe stands only in sys"]);
    assert_eq!(violations("sys/block.rs", source), Vec::<String>::new());
    assert_eq!(violations("tree/mod.rs", "#![deny(unsafe_op_in_unsafe_fn)]"), Vec::<String>::new());
}

#[test]
fn the_engine_has_rooms_of_its_own() {
    for source in [
        "use crate::tree::scan::look::Look;",
        "use crate::tree::{base::fault::Fault, scan::look};",
        "use super::super::scan::look;",
        "fn f() { crate::tree::scan::look::look() }",
    ] {
        let found = violations("tree/content/copy.rs", source);
        assert_eq!(found, ["tree/content/copy.rs: content may not import scan"], "{source}");
    }
    let deeper = violations("tree/memory/blocks/map.rs", "use super::super::super::changes::change;");
    assert_eq!(deeper, ["tree/memory/blocks/map.rs: memory may not import changes"]);
    let unknown = violations("tree/utils.rs", "");
    assert_eq!(unknown, ["tree/utils.rs: there is no room \"utils\" in the table"]);
    assert_eq!(violations("tree/content/copy.rs", "use super::compare;"), Vec::<String>::new());
}

#[test]
fn commands_do_not_know_each_other_but_init_calls_run() {
    let run = "use crate::command::run;";
    assert_eq!(violations("command/init.rs", run), Vec::<String>::new());
    assert_eq!(
        violations("command/sync.rs", run),
        ["command/sync.rs: command sync may not know command run"]
    );
    let beside = violations("command/sync.rs", "use super::run::run; use super::confirm;");
    assert_eq!(beside, ["command/sync.rs: command sync may not know command run"]);
    let grouped = "use crate::command::{init, run};";
    assert_eq!(
        violations("command/run.rs", grouped),
        ["command/run.rs: command run may not know command init"]
    );
}
