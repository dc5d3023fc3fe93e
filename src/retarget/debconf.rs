//! debconf's answers: where Debian's GRUB packages install the loader when they are upgraded. Every other answer
//! stays byte for byte.

use super::text::{Devices, Spellings};

/// The questions whose answers are lists of disks or partitions.
const QUESTIONS: [&str; 2] = ["grub-pc/install_devices", "grub-efi/install_devices"];

/// The mirror's answers.
pub(super) fn rewrite(text: &str, spellings: &Spellings) -> String {
    answers(text)
        .map(|(line, names_disks)| match names_disks {
            true => spellings.field(line, Devices::Paths),
            false => line.to_owned(),
        })
        .collect()
}

/// Every line, and whether it is an answer that names disks.
pub(super) fn answers(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut asked = false;
    text.split_inclusive('\n').map(move |line| {
        if let Some(name) = line.strip_prefix("Name: ") {
            asked = QUESTIONS.iter().any(|question| name.starts_with(question));
        }
        (line, asked && line.starts_with("Value:"))
    })
}
