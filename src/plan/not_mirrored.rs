//! What of the server the mirror will not have: nothing is left out silently.

use crate::layout::{Content, NotMirrored, Survey};
use crate::units::Bytes;

/// What of the primary's disk is not copied, and what of the server lies elsewhere.
pub fn not_mirrored(survey: &Survey) -> Vec<NotMirrored> {
    let mut all = Vec::new();
    for partition in survey.primary.table().into_iter().flat_map(|table| &table.partitions) {
        collect(&partition.path, partition.size, &partition.content, &mut all);
    }
    all.extend(survey.around.elsewhere.iter().cloned());
    all
}

fn collect(path: &str, size: Bytes, content: &Content, all: &mut Vec<NotMirrored>) {
    let why = match content {
        Content::Luks(luks) => {
            let inner = luks.mapper.as_ref().map_or(path.to_owned(), |name| format!("/dev/mapper/{name}"));
            return collect(&inner, size.saturating_sub(luks.data_offset), &luks.content, all);
        }
        Content::Volumes(vg) => {
            return vg.volumes.iter().for_each(|lv| collect(&lv.path, lv.size, &lv.content, all));
        }
        Content::Empty => {
            "holds nothing that is known: the mirror has its place, and nothing in it".to_owned()
        }
        Content::Filesystem(fs) if fs.target().is_none() => {
            format!("holds {} that nobody mounts: the mirror's is made, and stays empty", fs.kind.name())
        }
        _ => return,
    };
    all.push(NotMirrored { what: path.to_owned(), size: Some(size), why, on_primary: true });
}
