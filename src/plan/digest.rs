//! What names a plan, so that what is applied is what was shown.

use super::Options;
use crate::layout::{Content, FsParameters, Survey};

/// Names a plan: both layouts, less what changes by the minute, and the options.
pub fn digest(survey: &Survey, options: &Options) -> String {
    let mut survey = survey.clone();
    settle(&mut survey.primary.content);
    settle(&mut survey.mirror.content);
    let text =
        serde_json::to_vec(&(&survey.primary, &survey.mirror, options)).expect("plain data becomes JSON");
    blake3::hash(&text).to_hex()[..16].to_owned()
}

fn settle(content: &mut Content) {
    match content {
        Content::Table(table) => table.partitions.iter_mut().for_each(|p| settle(&mut p.content)),
        Content::Luks(luks) => settle(&mut luks.content),
        Content::LeftOut(content) => settle(content),
        Content::Volumes(vg) => vg.volumes.iter_mut().for_each(|lv| settle(&mut lv.content)),
        Content::Filesystem(fs) => {
            (fs.used, fs.capacity) = (None, None);
            if let FsParameters::Ext { inodes_used, features, .. } = &mut fs.parameters {
                *inodes_used = 0;
                features.retain(|f| f != "needs_recovery" && f != "orphan_present");
            }
        }
        _ => {}
    }
}
