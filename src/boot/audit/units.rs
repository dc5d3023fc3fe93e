//! systemd's own units: what the boot waits for besides fstab and crypttab, and units that are called after a device.

use super::{Search, words};
use crate::layer::device_spec::DeviceSpec;
use crate::layer::encoding;
use crate::retarget::Found;
use std::collections::BTreeSet;
use std::io;

/// Where units lie, the administrator's first.
const DIRECTORIES: [&str; 3] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];

/// What a boot pulls in.
const TARGETS: [&str; 4] = ["local-fs.target", "swap.target", "sysinit.target", "multi-user.target"];

impl Search<'_> {
    /// Mounts and swap space that a boot pulls in and that nobody has.
    pub(super) fn units(&mut self) -> io::Result<()> {
        let mut pulled = BTreeSet::new();
        for directory in DIRECTORIES {
            for target in TARGETS {
                for kind in ["wants", "requires"] {
                    pulled.extend(self.list(&format!("{directory}/{target}.{kind}"))?);
                }
            }
        }
        for name in pulled.iter().filter(|name| name.ends_with(".mount") || name.ends_with(".swap")) {
            self.unit(name)?;
        }
        for name in self.list(DIRECTORIES[0])? {
            self.name(&name)?;
        }
        Ok(())
    }

    /// A unit, or a directory with more for one, that is called after a device of the primary. An empty one is masked.
    fn name(&mut self, name: &str) -> io::Result<()> {
        let path = format!("{}/{name}", DIRECTORIES[0]);
        let hits = self.spellings.find(name.as_bytes());
        if hits.is_empty() || name.ends_with(".mount") || name.ends_with(".automount") {
            return Ok(());
        }
        if name.ends_with(".d") {
            for hit in hits {
                self.remark(
                    &path,
                    0,
                    format!("is called after the primary's {} {}", words(hit.kind), hit.primary),
                );
            }
        } else if self.files.read(&path)?.is_some_and(|text| !text.is_empty()) {
            let hits = hits.into_iter().map(|hit| Found { line: 0, ..hit }).collect();
            self.stale(&path, Some("its name"), hits);
        }
        Ok(())
    }

    /// The unit of this name that counts; an empty one is masked.
    fn unit(&mut self, name: &str) -> io::Result<()> {
        for directory in DIRECTORIES {
            let path = format!("{directory}/{name}");
            let Some(text) = self.files.read(&path)? else { continue };
            let text = encoding::text(&text);
            let Some(what) = text.lines().find_map(|line| line.trim().strip_prefix("What=")) else {
                return Ok(());
            };
            let gives_way = text.lines().any(|line| {
                line.trim()
                    .strip_prefix("Options=")
                    .is_some_and(|options| options.split(',').any(|one| one == "nofail"))
            });
            let device = DeviceSpec::parse(what.trim());
            if !gives_way && self.is_missing(&device, &self.mappers()?) {
                self.find(&path, None, 0, format!("{device}: nobody has it"));
            }
            return Ok(());
        }
        Ok(())
    }
}
