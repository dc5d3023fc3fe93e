//! What is left out of a mirror, in the terms of each file system: patterns are anchored at the primary's root.

use crate::config::{Config, Mirror};
use crate::refusal::Refusal;
use crate::sys::proc::Swap;
use crate::tree::Excludes;
use std::path::Path;

/// The patterns of every mirror file system of `mirror`: the configured ones, this program's runtime directory, and
/// the swap files among the active `swaps`. `root` is where the primary is mounted.
pub fn patterns(config: &Config, mirror: &Mirror, root: &Path, swaps: &[Swap]) -> Vec<String> {
    let mut patterns = mirror.all_excludes();
    let own = [config.runtime_dir.clone(), config.state_dir.join("*")];
    patterns.extend(own.iter().map(|path| path.to_string_lossy().into_owned()));
    patterns.extend(swap_files(swaps, root).iter().map(|path| globset::escape(path)));
    patterns
}

/// The patterns that mean something on the file system mounted at `mount`, anchored at its root.
///
/// # Errors
/// A refusal that names the pattern that is none.
pub fn on_volume(patterns: &[String], mount: &str) -> Result<Excludes, Refusal> {
    Excludes::new(patterns.iter().filter_map(|pattern| localised(pattern, mount))).map_err(|error| {
        Refusal::new(
            "refusing to refresh: an exclude in the configuration is no pattern",
            "nothing was written",
        )
        .why(error.to_string())
    })
}

/// A pattern anchored at the primary's root, anchored at a mount point instead; none if it lies outside of it.
fn localised(pattern: &str, mount: &str) -> Option<String> {
    let mount = mount.trim_end_matches('/');
    let crosses = pattern.strip_prefix("/**").is_some();
    if !pattern.starts_with('/') || mount.is_empty() || crosses {
        return Some(pattern.to_owned());
    }
    let below = pattern.strip_prefix(mount).filter(|rest| rest.starts_with('/') && rest.len() > 1);
    // This program's own directory is at the root of every file system.
    below.or((pattern == "/.diskmirror").then_some(pattern)).map(str::to_owned)
}

/// The active swap files below `root`, as the primary names them: they hold memory, and are made anew.
pub fn swap_files(swaps: &[Swap], root: &Path) -> Vec<String> {
    let files = swaps.iter().filter(|swap| swap.is_file);
    files.filter_map(|swap| Some(format!("/{}", swap.path.strip_prefix(root).ok()?.display()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchored_pattern_follows_its_file_system() {
        assert_eq!(localised("/var/tmp/*", "/"), Some("/var/tmp/*".into()));
        assert_eq!(localised("/var/tmp/*", "/var"), Some("/tmp/*".into()));
        assert_eq!(localised("/tmp/*", "/tmp"), Some("/*".into()));
        assert_eq!(localised("/tmp/*", "/boot"), None, "another /tmp is not the primary's /tmp");
        assert_eq!(localised("/vart/*", "/var"), None);
        assert_eq!(localised("*.o", "/var"), Some("*.o".into()));
        assert_eq!(localised("/**/cache", "/var"), Some("/**/cache".into()));
        assert_eq!(localised("/.diskmirror", "/boot"), Some("/.diskmirror".into()));
    }

    #[test]
    fn active_swap_files_are_left_out_and_partitions_are_not_named() {
        let swap = |path: &str, is_file| Swap { path: path.into(), is_file };
        let swaps = [swap("/dev/dm-1", false), swap("/mnt/p/my swap", true)];
        assert_eq!(swap_files(&swaps, Path::new("/mnt/p")), ["/my swap"]);
        assert_eq!(swap_files(&swaps, Path::new("/")), ["/mnt/p/my swap"]);
    }
}
