//! What carrying out a list of changes would count: so that a dry run announces the figures of the run that follows.
//! Writes nothing.

use crate::monitor::{Monitor, Unit};
use crate::sys::dir::Handle;
use crate::sys::stat::Kind;
use crate::tree::base::fault::{Error, Fault, Sided, at_root};
use crate::tree::base::relpath::RelPath;
use crate::tree::base::stats::Counts;
use crate::tree::base::view::View;
use crate::tree::changes::Changes;
use crate::tree::changes::change::{Change, DirChange, How};
use crate::tree::content::data_bytes;
use crate::tree::entry::make::open_present;
use crate::tree::pass::{Options, Pass};

/// Opens what would be copied, and counts what `apply_additions` and `apply_deletions` would; the scan's own counts
/// are not in it.
///
/// # Errors
/// `Stopped`, and what concerns the list as a whole; what cannot be read is counted.
pub fn rehearse(
    changes: &Changes,
    source: &View,
    mirror: &View,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Counts, Error> {
    let pass = Pass::new(source, mirror, options, monitor)?;
    let mut spool = changes.additions.lock().expect("no thread panics while spooling");
    monitor.begin("looking at what would be copied", Some(changes.tally.to_copy_bytes), Unit::Bytes);
    let done = spool.replay().map_err(at_root("listing")).and_then(|mut replay| {
        replay.try_for_each(|change| in_dir(&pass, &change.map_err(at_root("listing"))?))
    });
    monitor.end();
    done?;
    pass.count(|counts| {
        let (renamed, linked) = changes.links.counts();
        let moved = changes.moves.iter().filter(|moved| moved.from.is_some()).count();
        counts.renamed += renamed + moved as u64;
        counts.hardlinks += linked;
        counts.deleted += changes.tally.to_delete;
    });
    Ok(pass.take_counts())
}

fn in_dir(pass: &Pass<'_>, change: &DirChange) -> Result<(), Error> {
    let opened = pass.source_dir(&change.path).on_source("opening directory");
    let Some(source) = pass.enter(|| change.path.clone(), opened)? else { return Ok(()) };
    pass.count(|counts| counts.metadata_changed += u64::from(change.adjusts_itself()));
    for one in &change.changes {
        pass.go_on()?;
        let looked_at = look_at(pass, &source, &change.path, one);
        pass.enter(|| change.path.join(&one.name), looked_at)?;
        pass.monitor.advance(one.size);
    }
    Ok(())
}

fn look_at(pass: &Pass<'_>, source: &Handle, dir: &RelPath, change: &Change) -> Result<(), Fault> {
    if change.makes_dir() {
        pass.count(|counts| counts.directories_made += 1);
        return Ok(());
    }
    if matches!(change.how, How::Rename { .. }) {
        pass.count(|counts| counts.renamed += 1);
        return Ok(());
    }
    let (handle, stat) = open_present(pass, source, change, || dir.join(&change.name))?;
    if change.how == How::Adjust {
        pass.count(|counts| counts.metadata_changed += 1);
        return Ok(());
    }
    if stat.kind.is_device() && !pass.rules.privileged {
        return Err(Fault::Mirror("making device", std::io::Error::from_raw_os_error(libc::EPERM)));
    }
    let bytes = match (stat.kind, pass.options.wanted.of(dir, &change.name)) {
        (Kind::File, Some(want)) => want.length(),
        (Kind::File, None) => data_bytes(&handle.fd, stat.size).on_source("reading")?,
        _ => 0,
    };
    pass.count(|counts| {
        counts.files_copied += 1;
        counts.bytes_copied += bytes;
    });
    Ok(())
}
