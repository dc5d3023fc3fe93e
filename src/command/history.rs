//! `history`.
use crate::cli::HistoryArgs;
use crate::exit_code::Exit;
use std::path::Path;
/// x
pub fn history(_: &Path, _: Option<&Path>, _: &HistoryArgs) -> anyhow::Result<Exit> {
    Ok(Exit::Done)
}
