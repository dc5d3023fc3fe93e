//! Looking through a whole layout: every piece, and what uses it.

use super::{Content, Filesystem, Layout, Luks, Table};

impl Layout {
    /// Every piece of content of the disk, outermost first, with the node it lies on.
    pub fn walk(&self) -> Vec<(&str, &Content)> {
        let mut found = Vec::new();
        walk(&self.disk.path, &self.content, &mut found);
        found
    }

    /// The file systems.
    pub fn filesystems(&self) -> Vec<&Filesystem> {
        self.walk()
            .into_iter()
            .filter_map(|(_, content)| match content {
                Content::Filesystem(fs) => Some(fs),
                _ => None,
            })
            .collect()
    }

    /// The encrypted containers.
    pub fn containers(&self) -> Vec<&Luks> {
        self.walk()
            .into_iter()
            .filter_map(|(_, content)| match content {
                Content::Luks(luks) => Some(luks.as_ref()),
                _ => None,
            })
            .collect()
    }

    /// The partition table, if the disk has one.
    pub fn table(&self) -> Option<&Table> {
        match &self.content {
            Content::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Whatever uses the disk or a part of it now, a line each: mounts, swap, open containers, volume groups (but
    /// those in `disregarded`), holders.
    pub fn in_use(&self, disregarded: &[String]) -> Vec<String> {
        let counts = |content: &Content| {
            !content.group().is_some_and(|group| disregarded.iter().any(|name| name == group))
        };
        let found = self.walk().into_iter().filter(|(_, content)| counts(content));
        found.flat_map(|(path, content)| uses(path, content)).collect()
    }
}

impl Content {
    /// The volume group that a physical volume belongs to.
    pub fn group(&self) -> Option<&str> {
        match self {
            Content::Volumes(vg) => Some(&vg.name),
            Content::PhysicalVolume(pv) => Some(&pv.group),
            _ => None,
        }
    }
}

fn walk<'a>(path: &'a str, content: &'a Content, found: &mut Vec<(&'a str, &'a Content)>) {
    found.push((path, content));
    match content {
        Content::Table(table) => table.partitions.iter().for_each(|p| walk(&p.path, &p.content, found)),
        Content::Luks(luks) => walk(&luks.path, &luks.content, found),
        Content::Volumes(vg) => vg.volumes.iter().for_each(|lv| walk(&lv.path, &lv.content, found)),
        Content::Empty
        | Content::PhysicalVolume(_)
        | Content::Filesystem(_)
        | Content::Swap(_)
        | Content::RandomSwap(_)
        | Content::BiosBoot
        | Content::Extended
        | Content::LeftOut(_)
        | Content::Unsupported(_) => {}
    }
}

fn uses(path: &str, content: &Content) -> Vec<String> {
    match content {
        Content::Filesystem(fs) => {
            fs.mounted_at.iter().map(|at| format!("{path} is mounted on {at}")).collect()
        }
        Content::Swap(swap) if swap.active => vec![format!("{path} is in use as swap")],
        Content::Luks(luks) => {
            luks.mapper.iter().map(|m| format!("{path} is open as /dev/mapper/{m}")).collect()
        }
        Content::Unsupported(thing) => thing.in_use.iter().map(|use_| format!("{path} {use_}")).collect(),
        _ => content
            .group()
            .map(|group| format!("{path} is in the volume group {group}"))
            .into_iter()
            .collect(),
    }
}
