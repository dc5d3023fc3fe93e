//! /etc/crypttab (crypttab(5)): which container is opened under which name, and with what.

use super::device_spec::DeviceSpec;
use super::lines::Lines;
use super::octal::unescaped;

/// A line of crypttab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The mapper name.
    pub name: String,
    /// The container.
    pub device: DeviceSpec,
    /// The key file; none where a passphrase is asked for (`none`, `-` or nothing).
    pub key: Option<String>,
    /// Its options.
    pub options: Vec<String>,
}

impl Entry {
    /// Whether it makes swap with a key that nobody has after the next boot.
    pub fn is_swap_with_a_random_key(&self) -> bool {
        let random = ["/dev/urandom", "/dev/random", "/dev/hwrng"];
        self.key.as_deref().is_some_and(|key| random.contains(&key))
            && self.options.iter().any(|o| o == "swap")
    }
}

/// The entries of a crypttab, in order; lines with fewer than two fields say nothing.
pub fn entries(text: &str) -> Vec<Entry> {
    let entry = |fields: Vec<&str>| {
        let key = fields.get(2).filter(|key| !matches!(**key, "none" | "-"));
        let options = fields.get(3).copied().unwrap_or_default();
        Some(Entry {
            name: unescaped(fields.first()?),
            device: DeviceSpec::parse(&unescaped(fields.get(1)?)),
            key: key.map(|key| unescaped(key)),
            options: options.split(',').filter(|o| !o.is_empty()).map(unescaped).collect(),
        })
    };
    Lines::parse(text).rows().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_containers_and_keys_are_read() {
        let text = "# <target name> <source device> <key file> <options>\n\
                    vda5_crypt UUID=acf131cb none luks,discard\n\
                    swap /dev/vda3 /dev/urandom swap,cipher=aes-xts-plain64\nlonely\nbare PARTUUID=1\n";
        let entries = entries(text);
        let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.key.as_deref())).collect();
        assert_eq!(seen, [("vda5_crypt", None), ("swap", Some("/dev/urandom")), ("bare", None)]);
        assert_eq!(entries[0].device, DeviceSpec::Uuid("acf131cb".into()));
        assert_eq!(entries[0].options, ["luks", "discard"]);
        assert!(entries[2].options.is_empty());
        let random: Vec<bool> = entries.iter().map(Entry::is_swap_with_a_random_key).collect();
        assert_eq!(random, [false, true, false]);
    }
}
