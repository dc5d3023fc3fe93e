//! What the mirror's files should hold where the primary's name disks: the same text with the mirror's identifiers.
//!
//! Pure: file text in, file text out. Only device tokens change; a text that names no device of the primary comes out
//! byte for byte, and a text that was rewritten is not changed again.

mod crypttab;
mod debconf;
mod escape;
mod fstab;
mod grubenv;
mod lvm_conf;
mod lvm_devices;
mod pattern;
mod places;
mod rows;
mod search;
mod spelling;
mod stream;
mod swap_unit;
mod text;
mod uboot_script;
mod words;

pub use places::{candidates, expand, places};
pub use text::{Devices, Found, Spellings};

use crate::identity::IdentityMap;
use crate::layer::encoding;
use crate::layer::initramfs::SETTINGS_BYTES;
use places::Form;

/// What the mirror should hold in place of the primary's file `path` (absolute) with this `text`; none if it should
/// hold the same.
pub fn rewrite(path: &str, text: &[u8], map: &IdentityMap) -> Option<Vec<u8>> {
    Spellings::of(map).rewrite_file(path, text)
}

/// The same for the file `path` (without a leading slash) inside an initramfs.
pub fn rewrite_in_initramfs(path: &str, text: &[u8], map: &IdentityMap) -> Option<Vec<u8>> {
    Spellings::of(map).rewrite_in_initramfs(path, text)
}

/// Every identifier of the primary in `text`, in any spelling.
pub fn find(text: &[u8], map: &IdentityMap) -> Vec<Found> {
    Spellings::of(map).find(text)
}

/// Every identifier of the primary in a binary: those that are too long for chance, and devices' paths.
pub fn find_bytes(bytes: &[u8], map: &IdentityMap) -> Vec<Found> {
    Spellings::of(map).find_bytes(bytes)
}

impl Spellings<'_> {
    /// What `retarget::rewrite` says, for many files of one map.
    pub fn rewrite_file(&self, path: &str, text: &[u8]) -> Option<Vec<u8>> {
        match places::form(path)? {
            Form::SwapUnit => swap_unit::rewrite(path, text, self),
            form => self.changed(form, text),
        }
    }

    /// The line of fstab that stands on the mirror for the primary's .swap unit at `path`, which `rewrite_file` masks; none if
    /// it is no such unit.
    pub fn swap_line(&self, path: &str, text: &[u8]) -> Option<String> {
        (places::form(path)? == Form::SwapUnit).then(|| swap_unit::fstab_line(path, text, self)).flatten()
    }

    /// What `retarget::rewrite_in_initramfs` says, for many files of one map.
    pub fn rewrite_in_initramfs(&self, path: &str, text: &[u8]) -> Option<Vec<u8>> {
        let form = places::form_in_initramfs(path)?;
        is_setting(text).then(|| self.changed(form, text)).flatten()
    }

    /// What still needs the primary in the mirror's file at `path` (of the system, or of an initramfs): as `find`, but for
    /// what does no harm there: other answers of debconf, and entries that the boot does not wait for and that the
    /// mirror has no counterpart of.
    pub fn remains(&self, path: &str, text: &[u8]) -> Vec<Found> {
        self.remains_in_form(places::form(path).or_else(|| places::form_in_initramfs(path)), text)
    }

    /// The same for the file `path` (without a leading slash) inside an initramfs; what is no setting there is searched
    /// as a binary is.
    pub fn remains_in_initramfs(&self, path: &str, text: &[u8]) -> Vec<Found> {
        match places::form_in_initramfs(path).filter(|_| is_setting(text)) {
            Some(form) => self.remains_in_form(Some(form), text),
            None => self.find_bytes(text),
        }
    }

    fn remains_in_form(&self, form: Option<Form>, text: &[u8]) -> Vec<Found> {
        match form {
            Some(Form::Debconf) => {
                let lines = &encoding::text(text);
                let answers =
                    debconf::answers(lines).enumerate().filter(|(_, (_, names_disks))| *names_disks);
                answers.flat_map(|(at, (line, _))| self.find_in_line(line.as_bytes(), at + 1)).collect()
            }
            Some(Form::Fstab | Form::Crypttab) => {
                let text_of_lines = encoding::text(text);
                let lines: Vec<&str> = text_of_lines.lines().collect();
                let harmless = |found: &Found| {
                    let line = lines.get(found.line - 1).copied().unwrap_or_default();
                    self.is_lost(&found.primary, found.kind) && fstab::gives_way(&rows::fields(line))
                };
                self.find(text).into_iter().filter(|found| !harmless(found)).collect()
            }
            _ => self.find(text),
        }
    }

    fn changed(&self, form: Form, text: &[u8]) -> Option<Vec<u8>> {
        let new = self.in_form(form, text);
        (new != text).then_some(new)
    }

    fn in_form(&self, form: Form, text: &[u8]) -> Vec<u8> {
        let lines =
            |rewrite: fn(&str, &Self) -> String| encoding::bytes(&rewrite(&encoding::text(text), self));
        match form {
            Form::Text => self.rewrite(text),
            Form::Paths => self.rewrite_as(text, Devices::Paths),
            Form::Grubenv => grubenv::rewrite(text, self),
            Form::Fstab => lines(fstab::rewrite),
            Form::Crypttab => lines(crypttab::rewrite),
            Form::LvmDevices => lines(lvm_devices::rewrite),
            Form::LvmConf => lines(lvm_conf::rewrite),
            Form::UbootScript => uboot_script::rewrite(text, self),
            Form::SwapUnit => self.rewrite(text),
            Form::Debconf => lines(debconf::rewrite),
        }
    }
}

/// Whether a file of an initramfs can be one of settings.
fn is_setting(text: &[u8]) -> bool {
    text.len() as u64 <= SETTINGS_BYTES && !text.contains(&0)
}
