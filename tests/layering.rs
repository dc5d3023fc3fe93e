//! The walls of the house: which room may import which, and where `unsafe` may stand.
//!
//! `doc/design.md` draws the same table. A room is a file or a directory directly below src/. Only code is looked
//! at: comments, strings and `#[cfg(test)]` modules at the end of a file are not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms without I/O, clock or randomness; `record` and `render` may use all of them.
const PURE: &[&str] =
    &["units", "escape", "refusal", "exit_code", "layout", "identity", "step", "layer", "plan"];

/// Every room, and what it may import. What stands in no row does not exist.
const ROOMS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("escape", &[]),
    ("refusal", &["escape"]),
    ("exit_code", &[]),
    ("layout", &["units"]),
    ("identity", &["layout"]),
    ("step", &["units"]),
    ("layer", &["layout", "step", "units"]),
    ("plan", &["layer", "layout", "identity", "step", "refusal", "units"]),
    ("record", PURE),
    ("status", &["record", "layout", "units"]),
    (
        "render",
        &[
            "units",
            "escape",
            "refusal",
            "exit_code",
            "layout",
            "identity",
            "step",
            "layer",
            "plan",
            "record",
            "status",
        ],
    ),
    ("sys", &["step", "units"]),
    ("monitor", &["escape", "step", "units"]),
    ("tree", &["sys", "monitor", "escape", "units"]),
    ("discover", &["layer", "layout", "sys", "refusal", "units"]),
    ("mirror", &["config", "layer", "layout", "identity", "sys", "refusal", "units"]),
    ("retarget", &["layer", "layout", "identity", "units"]),
    (
        "boot",
        &[
            "retarget",
            "layer",
            "layout",
            "identity",
            "config",
            "discover",
            "mirror",
            "tree",
            "record",
            "sys",
            "step",
            "boot_block",
            "refusal",
            "units",
        ],
    ),
    ("boot_test", &["record", "mirror", "config", "layer", "layout", "sys", "monitor", "refusal", "units"]),
    ("boot_block", &["layer", "sys", "refusal"]),
    ("schedule", &["layer", "step", "sys", "refusal"]),
    ("apply", APPLY),
    ("fill", &["plan", "step", "sys", "monitor", "refusal", "units"]),
    ("history", &["record", "sys"]),
    ("config", &["layout", "units", "refusal"]),
    ("cli", &["units"]),
    ("command", EVERYTHING),
    ("lib", &[]),
    ("main", EVERYTHING),
];

/// It discovers again before it begins, checks after each step, and has boot blocks and fills done for it.
const APPLY: &[&str] = &[
    "plan",
    "step",
    "sys",
    "monitor",
    "refusal",
    "units",
    "layout",
    "layer",
    "discover",
    "boot_block",
    "fill",
];

/// Modules of `command` that are no commands: every command may use them.
const SHARED_BY_COMMANDS: &[&str] = &["confirm", "not_mirrored", "output", "remedy", "trees"];

/// The commands that `init` ends with.
const CALLED_BY_INIT: &[&str] = &["run", "schedule"];

/// The commands and `main` stand above all others.
const EVERYTHING: &[&str] = &["*"];

/// The room of a file: `tree/copy.rs` is in `tree`, `units.rs` is `units`.
fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// What breaks the rules in one file, a line each. `path` is relative to src/.
fn violations(path: &str, source: &str) -> Vec<String> {
    let room = room_of(path);
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{path}: there is no room {room:?} in the table")];
    };
    let code = without_super(path, &code_only(source));
    let mut found: Vec<String> = imports(&code)
        .into_iter()
        .filter(|import| import != room && *allowed != EVERYTHING && !allowed.contains(&import.as_str()))
        .map(|import| format!("{path}: {room} may not import {import}"))
        .collect();
    if room == "command" {
        found.extend(sideways(path, &code));
    }
    if room != "sys" && words(&code).any(|word| word == "unsafe") {
        found.push(format!("{path}: unsafe stands only in sys"));
    }
    found
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
    let known = |rest: &str| ROOMS.iter().any(|(room, _)| *room == first_word(rest));
    let mut spelled = String::new();
    for (n, piece) in code.split(&"super::".repeat(depth)).enumerate() {
        let leaves = n > 0 && (known(piece) || piece.starts_with('{'));
        spelled.push_str(match (n, leaves) {
            (0, _) => "",
            (_, true) => "crate::",
            _ => "super::",
        });
        spelled.push_str(piece);
    }
    let sibling = path.starts_with("command/") && depth == 2;
    if sibling { spelled.replace("super::", "crate::command::") } else { spelled }
}

/// The rooms that code names: in `use crate::…`, grouped or not, and in paths inside expressions.
fn imports(code: &str) -> BTreeSet<String> {
    let named = paths(code).into_iter().map(|path| first_word(&path["crate::".len()..]));
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
fn the_table_names_only_rooms_that_are_in_it() {
    let names: BTreeSet<&str> = ROOMS.iter().map(|(name, _)| *name).chain(["*"]).collect();
    for (room, allowed) in ROOMS {
        let unknown: Vec<_> = allowed.iter().filter(|name| !names.contains(**name)).collect();
        assert!(unknown.is_empty(), "{room} may import unknown rooms: {unknown:?}");
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
        assert_eq!(
            violations("tree/copy.rs", source),
            ["tree/copy.rs: tree may not import mirror"],
            "{source}"
        );
    }
}

#[test]
fn what_is_allowed_or_not_code_is_left_alone() {
    for source in [
        "use crate::sys::file;",
        "use crate::{sys::file, monitor::Monitor, units::{Bytes, Sectors}};",
        "use crate::tree::listing;",
        "use super::mirror;",
        "use super::listing::Listing;",
        "// use crate::mirror::Mirror;",
        "/// See [`crate::mirror`].",
        "const TEXT: &str = \"crate::mirror unsafe\";",
        "const TEXT: &str = r#\"crate::mirror \" unsafe\"#;",
        "use other_crate::mirror;",
        "fn f() {}\n#[cfg(test)]\nmod tests { use crate::mirror::Mirror; }",
    ] {
        assert_eq!(violations("tree/copy.rs", source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn an_unknown_room_and_unsafe_outside_sys_are_found() {
    let unknown = violations("utils/mod.rs", "");
    assert_eq!(unknown, ["utils/mod.rs: there is no room \"utils\" in the table"]);
    let source = "fn f() { unsafe { g() } }";
    assert_eq!(violations("tree/copy.rs", source), ["tree/copy.rs: unsafe stands only in sys"]);
    assert_eq!(violations("sys/block.rs", source), Vec::<String>::new());
    assert_eq!(violations("tree/copy.rs", "#![deny(unsafe_op_in_unsafe_fn)]"), Vec::<String>::new());
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
