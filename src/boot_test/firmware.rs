//! Which firmware the machine gets: the one the mirror is prepared for.

use super::disk::Disk;
use crate::refusal::Refusal;
use std::path::{Path, PathBuf};

/// Where distributions keep OVMF: the code, and the variables that go with it. Debian and Ubuntu (4 MiB, then older),
/// Fedora and RHEL, Arch, openSUSE.
const OVMF: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

/// The machine's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, which QEMU brings along.
    Bios,
    /// OVMF.
    Uefi {
        /// The firmware: only read.
        code: PathBuf,
        /// Its variables as they are delivered: copied for the machine.
        vars: PathBuf,
    },
}

impl Firmware {
    /// `bios` or `uefi`: the name in the history.
    pub fn name(&self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi { .. } => "uefi",
        }
    }
}

/// The firmware for `disk`; one that either firmware could start is started as the host was.
///
/// # Errors
/// A `Refusal` if OVMF is needed and not installed.
pub fn choose(disk: &Disk, host_is_uefi: bool) -> Result<Firmware, Refusal> {
    if !wants_uefi(disk.has_esp, disk.has_boot_code, host_is_uefi) {
        return Ok(Firmware::Bios);
    }
    let found = OVMF.iter().find(|(code, vars)| Path::new(code).exists() && Path::new(vars).exists());
    let (code, vars) = found.ok_or_else(|| {
        Refusal::new("cannot test the boot: OVMF is not installed", super::UNTOUCHED)
            .why("the mirror boots by UEFI, and the virtual machine needs that firmware")
            .remedy("apt-get install ovmf   # Debian, Ubuntu")
            .remedy("dnf install edk2-ovmf  # Fedora, RHEL")
    })?;
    Ok(Firmware::Uefi { code: code.into(), vars: vars.into() })
}

fn wants_uefi(has_esp: bool, has_boot_code: bool, host_is_uefi: bool) -> bool {
    has_esp && (host_is_uefi || !has_boot_code)
}

#[cfg(test)]
mod tests {
    use super::wants_uefi;

    #[test]
    fn the_disk_decides_and_the_host_where_the_disk_has_both() {
        assert!(wants_uefi(true, false, false) && wants_uefi(true, true, true));
        assert!(!wants_uefi(true, true, false) && !wants_uefi(false, true, true));
    }
}
