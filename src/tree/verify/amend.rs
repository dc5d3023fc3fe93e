//! Takes back what the catalog says of a directory in which something is damaged: the next run looks at both sides of it,
//! and by content at the entries that are named. Everything else about it stays, hashes included.

use crate::sys::stat::Kind;
use crate::tree::base::relpath::RelPath;
use crate::tree::memory::catalog::{Block, Catalog, Head, Row, Tail, path_hash};
use crate::tree::scan::look::Sheet;
use std::collections::BTreeSet;

/// Records the block of the directory `path` anew, with the rows of `names` unproven.
pub(super) fn amend(
    catalog: &Catalog,
    block: &Block<'_>,
    path: &RelPath,
    names: &BTreeSet<Box<[u8]>>,
    sheet: &mut Sheet,
) {
    let tails = catalog.tails(block).unwrap_or_default();
    sheet.draft.clear();
    for (row, number) in block.rows() {
        let doubted = row.kind != Kind::Dir && names.contains(row.name);
        let tail = number.and_then(|number| Tail::of(&tails, number)).unwrap_or_default();
        sheet.draft.push(&Row { unproven: row.unproven || doubted, ..row }, &tail);
    }
    let head = Head { unsettled: true, path_hash: path_hash(path), ..block.head };
    catalog.amend(&sheet.draft, head, &mut sheet.bytes);
}
