//! The programs that make an initramfs: which one, for which kernel, and how it is told to make an image for any machine.

use super::chroot::Chroot;
use crate::layer::encoding;
use crate::layer::initramfs::{Generator, Override};
use crate::sys::mount;
use anyhow::{Result, bail};
use std::os::fd::OwnedFd;

/// What an image is called below the generator's own directory.
pub const IMAGE: &str = "image";

/// Read last of all settings of initramfs-tools. The mirror resumes from what it names itself, never from swap space that is
/// found in use: that is the primary's.
const MOST: &str = "MODULES=most\n[ \"${RESUME:-auto}\" != auto ] || RESUME=none\n";

/// Makes an image in a chroot: `IMAGE` in `scratch`, a directory of the mirror that becomes its /var/tmp and is
/// all that can be written. `settings` is what the image says about how the root is found.
///
/// # Errors
/// The system's; what the generator said.
pub fn generate(
    chroot: &mut Chroot,
    scratch: &OwnedFd,
    generator: Generator,
    version: &str,
    settings: &[Override],
) -> Result<()> {
    chroot.show(mount::clone_executable(scratch, true)?, "/var/tmp")?;
    if let Some(crypttab) = needed_early(settings)
        && chroot.has("/etc/crypttab")
    {
        chroot.replace("/etc/crypttab", &encoding::bytes(&crypttab))?;
    }
    if generator == Generator::Dracut {
        let program = ["dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--kver", version];
        return succeed(chroot, &[&program[..], &["/var/tmp/image"]].concat());
    }
    succeed(chroot, &["cp", "-a", "/etc/initramfs-tools", "/tmp/confdir"])?;
    succeed(chroot, &["mkdir", "-p", "/tmp/confdir/conf.d"])?;
    chroot.write("/tmp/confdir/conf.d", "zzzz-diskmirror", MOST.as_bytes())?;
    succeed(chroot, &["mkinitramfs", "-d", "/tmp/confdir", "-o", "/var/tmp/image", version])
}

/// Starts a program, which must succeed; else the last of what it said is the reason.
fn succeed(chroot: &Chroot, program: &[&str]) -> Result<()> {
    let said = chroot.run(program)?;
    if said.ok() {
        return Ok(());
    }
    let said_last: Vec<&str> = said.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = said_last.len().saturating_sub(3);
    bail!("{} ended with {}: {}", program[0], said.status, said_last[from..].join("; "))
}

/// A crypttab for the generator of initramfs-tools: whatever the image opens has to be opened early.
fn needed_early(settings: &[Override]) -> Option<String> {
    let crypttab = settings.iter().find(|file| file.path == "cryptroot/crypttab")?;
    let text = encoding::text(&crypttab.content);
    let entries = text.lines().filter(|line| line.split_whitespace().count() == 4);
    Some(entries.map(|line| format!("{},initramfs\n", line.trim_end())).collect())
}

/// The generator to take: that which made the image, or any other that is there.
pub fn choose(made_by: Generator, is_there: impl Fn(Generator) -> bool) -> Option<Generator> {
    let all = [made_by, Generator::InitramfsTools, Generator::Dracut];
    all.into_iter().find(|generator| is_there(*generator))
}

/// Where a generator may lie.
pub fn programs(generator: Generator) -> &'static [&'static str] {
    match generator {
        Generator::InitramfsTools => &["/usr/sbin/mkinitramfs"],
        Generator::Dracut => &["/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut"],
        Generator::Unknown => &[],
    }
}

/// The kernel's version that an image's path tells: `initrd.img-V`, `initramfs-V.img`, or `V/initrd`.
pub fn version_of(path: &str) -> Option<&str> {
    let (directory, name) = path.rsplit_once('/')?;
    let version = match name {
        "initrd" | "initrd.img" => directory.rsplit('/').next()?,
        _ => ["initrd.img-", "initramfs-", "initrd-"].iter().find_map(|start| name.strip_prefix(start))?,
    };
    let version = version.strip_suffix(".img").unwrap_or(version);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(is_plain)).then_some(version)
}

/// What is there if the modules of that kernel are.
pub fn modules_of(version: &str) -> String {
    format!("/lib/modules/{version}/modules.dep")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_version_is_in_the_images_name() {
        let debian = "6.1.0-56-amd64";
        assert_eq!(version_of(&format!("/boot/initrd.img-{debian}")), Some(debian));
        assert_eq!(version_of("/boot/initramfs-6.12.9-200.fc41.x86_64.img"), Some("6.12.9-200.fc41.x86_64"));
        assert_eq!(version_of("/efi/3f1e/6.12.9-200.fc41.x86_64/initrd"), Some("6.12.9-200.fc41.x86_64"));
        for none in
            ["/boot/initrd.img", "/boot/initramfs-linux.img", "/boot/initrd-$(reboot)", "/boot/initrd-../6"]
        {
            assert_eq!(version_of(none), None, "{none}");
        }
    }

    #[test]
    fn the_generator_that_made_an_image_comes_first_and_only_one_that_is_there() {
        use Generator::{Dracut, InitramfsTools, Unknown};
        let chosen = |made_by, there: &[Generator]| choose(made_by, |generator| there.contains(&generator));
        assert_eq!(chosen(Dracut, &[InitramfsTools, Dracut]), Some(Dracut));
        assert_eq!(chosen(Dracut, &[InitramfsTools]), Some(InitramfsTools));
        assert_eq!(chosen(Unknown, &[Dracut]), Some(Dracut));
        assert_eq!(chosen(InitramfsTools, &[]), None);
    }

    #[test]
    fn whatever_the_image_opens_is_opened_early() {
        let file =
            |path: &str, text: &str| Override { path: path.into(), permissions: 0o600, content: text.into() };
        let both = [file("etc/crypttab", "x"), file("cryptroot/crypttab", "# none\nroot UUID=1 none luks\n")];
        assert_eq!(needed_early(&both).as_deref(), Some("root UUID=1 none luks,initramfs\n"));
        assert_eq!(needed_early(&both[..1]), None);
    }
}
