//! Whether so much may be deleted, on all file systems at once: one refusal names all of them, and one command lets all
//! through.

use super::Job;
use super::work::Work;
use crate::cli::Accept;
use crate::config::below;
use crate::escape;
use crate::layer::passwd;
use crate::refusal::Refusal;
use crate::sys::read;
use crate::tree::{self, Accepted, Losing, RelPath, TooManyDeletions};
use crate::units::thousands;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Looks at every list of deletions: all may be carried out, or nothing is written at all.
///
/// # Errors
/// A `Refusal` that names the directories that lose most and whose that is, and what lets these lists through.
pub fn decide(job: &Job, works: &[Work<'_>]) -> Result<(), Refusal> {
    let of = |work: &&Work<'_>| work.failed.is_none();
    let refused: Vec<(&str, TooManyDeletions)> = works
        .iter()
        .filter(of)
        .filter_map(|work| Some((work, work.changes.as_ref()?)))
        .filter_map(|(work, changes)| {
            let many = tree::decide(changes.tally(), &accepted(job, work)).err()?;
            Some((work.volume.mount.as_str(), many))
        })
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(too_many(job, &refused)) }
}

/// Leaves out a file system that has lost all that its mirror has, unless that was accepted: the others are refreshed.
pub fn leave_out_emptied(job: &Job, work: &mut Work<'_>) {
    let (Some(changes), Ok(source), Some(root)) = (&work.changes, &work.source, work.root()) else { return };
    if source.is_empty(root)
        && let Err(many) = tree::decide_emptied(changes.tally(), &accepted(job, work))
    {
        let codes: Vec<&str> = many.codes.iter().map(String::as_str).collect();
        work.refuse(|source| source.empty_refusal(&accepting(job, &codes)));
    }
}

/// What was accepted, as one file system sees it.
fn accepted(job: &Job, work: &Work<'_>) -> Accepted {
    let mount = Path::new(&work.volume.mount);
    let dirs = job.args.accept.iter().filter_map(Accept::dir).filter_map(|dir| below_mount(dir, mount));
    let codes = job.args.accept.iter().flat_map(Accept::codes).map(str::to_owned);
    let scope = format!("{} {}", job.mirror.name, work.volume.mirror_uuid);
    Accepted { scope, codes: codes.collect(), dirs: dirs.collect() }
}

/// A directory of the primary as the file system at `mount` sees it: none if it is elsewhere.
fn below_mount(dir: &Path, mount: &Path) -> Option<RelPath> {
    if mount.starts_with(dir) {
        return Some(RelPath::root());
    }
    let names = dir.strip_prefix(mount).ok()?.components().map(|name| name.as_os_str().as_bytes().to_vec());
    Some(RelPath::from_bytes(names.collect::<Vec<_>>().join(&b'/')))
}

fn too_many(job: &Job, refused: &[(&str, TooManyDeletions)]) -> Refusal {
    let mounts: Vec<&str> = refused.iter().map(|(mount, _)| *mount).collect();
    let how_many = match refused {
        [(_, many)] => many.to_string(),
        _ => "so much would be deleted that somebody should look first".into(),
    };
    let what = format!("refusing to refresh the mirror of {}: {how_many}", mounts.join(","));
    let refusal = refused.iter().fold(Refusal::new(what, "nothing was written to the mirror"), |all, one| {
        reasons(job, one, refused.len() > 1).into_iter().fold(all, Refusal::why)
    });
    let codes: Vec<&str> = refused.iter().flat_map(|(_, many)| &many.codes).map(String::as_str).collect();
    let (command, before) = (job.command_line(), before(job));
    let refusal = refusal.remedy(format!("if this is meant: {}", accepting(job, &codes)));
    let losing =
        refused.iter().flat_map(|(mount, many)| many.losing.iter().map(|losing| place(mount, losing)));
    match plain_dirs(losing) {
        Some(dirs) => refusal.remedy(format!(
            "if it is meant, and goes on changing (whatever goes below these directories is let through): {command}{dirs}{before}"
        )),
        None => refusal,
    }
}

/// What one file system would lose, and whose.
fn reasons(job: &Job, (mount, many): &(&str, TooManyDeletions), is_one_of_several: bool) -> Vec<String> {
    let users = read::system_file(&below(job.root, Path::new("/etc/passwd"))).unwrap_or_default();
    let users = String::from_utf8_lossy(&users);
    let total = is_one_of_several.then(|| format!("{mount}: {many}"));
    let line = |losing: &Losing| {
        let path = escape::bytes(place(mount, losing).as_os_str().as_bytes());
        let whose = losing.owner.map(|(owner, entries)| {
            let name = passwd::name(&users, owner);
            format!(
                ", {} of them of {name}",
                if entries == losing.entries { "all".into() } else { thousands(entries) }
            )
        });
        format!("{path} would lose {} entries{}", thousands(losing.entries), whose.unwrap_or_default())
    };
    total.into_iter().chain(many.losing.iter().map(line)).collect()
}

fn place(mount: &str, losing: &Losing) -> PathBuf {
    match losing.path.is_root() {
        true => mount.into(),
        false => Path::new(mount).join(OsStr::from_bytes(&losing.path.to_bytes())),
    }
}

/// The command that lets this through, with what was accepted before.
fn accepting(job: &Job, codes: &[&str]) -> String {
    format!("{} --accept {}{}", job.command_line(), codes.join("_"), before(job))
}

fn before(job: &Job) -> String {
    job.args.accept.iter().map(again).collect()
}

/// What was accepted already, to be given again.
fn again(accept: &Accept) -> String {
    format!(" --accept {}", crate::step::quoted(&accept.to_string()))
}

/// The arguments that let directories through; none where one cannot be written on a command line as it is.
fn plain_dirs(dirs: impl Iterator<Item = PathBuf>) -> Option<String> {
    let one = |dir: PathBuf| {
        let text = dir.to_str().filter(|text| escape::bytes(text.as_bytes()) == *text)?;
        Some(format!(" --accept {}", crate::step::quoted(text)))
    };
    dirs.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_let_through_on_its_own_file_system_and_on_those_below_it() {
        let of = |dir: &str, mount: &str| below_mount(Path::new(dir), Path::new(mount));
        assert_eq!(of("/home/alice", "/"), Some(RelPath::from_bytes("home/alice")));
        assert_eq!(of("/home/alice/", "/home"), Some(RelPath::from_bytes("alice")));
        assert_eq!(of("/home", "/home/alice"), Some(RelPath::root()));
        assert_eq!(of("/home/alice", "/srv"), None);
    }
}
