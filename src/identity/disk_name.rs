//! The name of a whole disk that lasts: its link in /dev/disk/by-id.

use super::between::Link;

/// What a by-id link begins with, the best first: those that name model and serial number before the World Wide Name.
const PREFERRED: [&str; 8] = ["ata-", "nvme-", "scsi-", "virtio-", "wwn-", "mmc-", "usb-", ""];

/// The by-id link of the disk `node`, the shortest of the best kind; its node where it has none.
pub fn best_disk_name(links: &[Link], node: &str) -> String {
    let rank = |name: &str| PREFERRED.iter().position(|prefix| name.starts_with(prefix));
    let named = links.iter().filter(|l| l.node == node).filter_map(|l| {
        let name = l.link.strip_prefix("/dev/disk/by-id/")?;
        Some(((rank(name), name.len(), name), &l.link))
    });
    named.min().map_or(node.to_owned(), |(_, link)| link.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_model_and_serial_is_preferred_and_a_node_the_last_resort() {
        let link = |name: &str, node: &str| Link { link: format!("/dev/disk/{name}"), node: node.into() };
        let links = [
            link("by-id/wwn-0x5002538f", "/dev/sdb"),
            link("by-id/ata-Samsung_870_S5GX", "/dev/sdb"),
            link("by-id/ata-Samsung_870_S5GX_1", "/dev/sdb"),
            link("by-id/ata-A", "/dev/sda"),
            link("by-path/a", "/dev/sdb"),
        ];
        assert_eq!(best_disk_name(&links, "/dev/sdb"), "/dev/disk/by-id/ata-Samsung_870_S5GX");
        assert_eq!(best_disk_name(&links, "/dev/sdc"), "/dev/sdc");
    }
}
