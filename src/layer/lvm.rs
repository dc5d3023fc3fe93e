//! LVM: what its reports say, and the commands that make, activate and deactivate the mirror's group.

use crate::step::Invocation;
use crate::units::Bytes;

// -- making

/// Makes a physical volume.
pub fn create_pv(device: &str) -> Invocation {
    Invocation::new("pvcreate", ["--quiet", "--yes", device])
}

/// Makes a group on one physical volume. Its UUID is LVM's own: `vgcreate` takes none.
pub fn create_vg(vg: &str, extent_size: Bytes, pv: &str) -> Invocation {
    Invocation::new("vgcreate", ["--quiet", "--physicalextentsize", &format!("{}b", extent_size.0), vg, pv])
}

/// Makes a linear volume of `size`, a multiple of the extent. Old signatures in it are wiped.
pub fn create_lv(vg: &str, lv: &str, size: Bytes) -> Invocation {
    let size = format!("{}b", size.0);
    Invocation::new(
        "lvcreate",
        ["--quiet", "--yes", "--wipesignatures", "y", "--name", lv, "--size", &size, vg],
    )
}

/// Takes a group offline.
pub fn deactivate(vg: &str) -> Invocation {
    Invocation::new("vgchange", ["--quiet", "--activate", "n", vg])
}

/// Brings a group online.
pub fn activate(vg: &str) -> Invocation {
    Invocation::new("vgchange", ["--quiet", "--activate", "y", vg])
}

/// Whether LVM takes this as the name of a group (lvm(8), "Valid names").
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 127
        && !name.starts_with('-')
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c))
}

/// The node of a volume.
pub fn lv_path(vg: &str, lv: &str) -> String {
    format!("/dev/{vg}/{lv}")
}

#[cfg(test)]
mod making {
    use super::is_name;

    #[test]
    fn names_that_lvm_refuses_are_known_beforehand() {
        assert!(["mirror", "vg-0", "a+b_c.d"].into_iter().all(is_name));
        assert!(!["", "-a", "..", "a b", "a/b", "größe"].into_iter().any(is_name));
    }
}
