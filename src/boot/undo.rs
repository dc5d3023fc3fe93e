//! What makes the mirror whole when it is booted after a run was cut off in the middle of a file: this program, kept with the
//! mirror, and a unit that has it put old content back early in the boot. Only where the system is systemd's.

use super::files::Tree;
use crate::sys::dir::{self, Handle};
use crate::sys::replace::{Access, replace_at};
use crate::sys::stat::{Kind, Stat};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

const UNITS: &str = "/etc/systemd/system";
const WANTS: &[u8] = b"sysinit.target.wants";
const UNIT: &[u8] = b"diskmirror-undo.service";
const TEXT: &str = "\
# Written by diskmirror, on the mirror only.
[Unit]
Description=Put back the old content of files that were half written when a run of diskmirror was cut off
Documentation=man:diskmirror-undo(1)
DefaultDependencies=no
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target

[Service]
Type=oneshot
TimeoutStartSec=30min
StandardOutput=journal+console
ExecStart=/.diskmirror/diskmirror undo
";

/// This program on the mirror, in /.diskmirror.
const PROGRAM: &[u8] = b"diskmirror";
const DIRECTORY: &[u8] = b".diskmirror";

/// Files that are the mirror's own, as paths of the system.
pub fn own() -> [String; 2] {
    let unit = String::from_utf8_lossy(UNIT);
    [format!("{UNITS}/{unit}"), format!("{UNITS}/{}/{unit}", String::from_utf8_lossy(WANTS))]
}

/// Puts the unit and this program on the mirror, where they are not. `before` tells which program is there, and what is
/// given back tells it now; empty if there is none.
///
/// # Errors
/// The system's.
pub fn install(mirror: &Tree, before: &str) -> Result<String> {
    let is_dir = |stat: Stat| stat.kind == Kind::Dir;
    let Some(at) = mirror.resolve(UNITS)?.filter(|at| mirror.stat_at(at).ok().flatten().is_some_and(is_dir))
    else {
        return Ok(String::new());
    };
    let program = program(mirror.root(0), before).context("cannot keep this program with the mirror")?;
    let units = Handle { fd: dir::open_dir(mirror.root(at.volume), at.path.as_bytes())?, path_only: false };
    unit(&units).context("cannot write the mirror's diskmirror-undo.service")?;
    Ok(program)
}

/// Copies this program, unless it is there. Its digest and size tell one from another.
fn program(root: &OwnedFd, before: &str) -> io::Result<String> {
    let mut own = File::open("/proc/self/exe")?;
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut own, &mut hasher)?;
    let digest = hasher.finalize().to_hex()[..16].to_owned();
    let place = dir::open_dir(root, DIRECTORY)?;
    let there = dir::open_read(&place, PROGRAM).and_then(|handle| handle.stat());
    if before == digest && there.is_ok_and(|stat| stat.size == size && stat.kind == Kind::File) {
        return Ok(digest);
    }
    let mut own = File::open("/proc/self/exe")?;
    replace_at(&place, PROGRAM, Access::mode(0o700), |file| io::copy(&mut own, file).map(drop))?;
    Ok(digest)
}

/// Writes the unit and the link that has it started. The directories' times stay: they are the primary's.
fn unit(units: &Handle) -> io::Result<()> {
    let mut text = String::new();
    if let Ok(there) = dir::open_read(&units.fd, UNIT) {
        // Whatever is no text is not this one.
        let _ = File::from(there.fd).take(TEXT.len() as u64 + 1).read_to_string(&mut text);
    }
    let before = units.stat()?;
    if text != TEXT {
        replace_at(&units.fd, UNIT, Access::mode(0o644), |file| file.write_all(TEXT.as_bytes()))?;
    }
    match dir::make_dir(&units.fd, WANTS) {
        Ok(()) => dir::set_mode(&dir::open_read(&units.fd, WANTS)?, 0o755)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let wants = dir::open_read(&units.fd, WANTS)?;
    let target = [b"../", UNIT].concat();
    if dir::read_symlink(&wants.fd, UNIT).ok().as_ref() != Some(&target) {
        let before = wants.stat()?;
        match dir::unlink(&wants.fd, UNIT) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        dir::make_symlink(&wants.fd, UNIT, &target)?;
        dir::set_mtime(&wants, before.mtime)?;
    }
    if units.stat()?.mtime == before.mtime { Ok(()) } else { dir::set_mtime(units, before.mtime) }
}
