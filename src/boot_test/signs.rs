//! What a console says of a boot. Pure: text to signs. The phrases are those of initramfs-tools, cryptsetup-initramfs,
//! dracut, systemd, GRUB 2, SeaBIOS and OVMF.

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sign {
    /// The system is up.
    Booted(String),
    /// It will not come up.
    Emergency(String),
    /// No kernel will be started.
    NoLoader(String),
    /// Somebody asks for a passphrase.
    Prompt,
}

const PROMPTS: [&str; 6] = [
    "Please unlock disk",
    "Please enter passphrase for disk",
    "Please enter the passphrase for disk",
    "Please enter LUKS passphrase",
    "Enter passphrase for ",
    "Password for /dev/",
];

const BOOTED: [&str; 4] = [
    "Reached target Multi-User",
    "Reached target multi-user.target",
    "Reached target Graphical",
    "Reached target graphical.target",
];

const EMERGENCY: [&str; 11] = [
    "You are in emergency mode",
    "You are in rescue mode",
    "Entering emergency mode",
    "Cannot open access to console, the root account is locked",
    "Give root password for maintenance",
    "Press Enter for maintenance",
    "(initramfs)",
    "dracut:/#",
    "Rebooting automatically due to panic= boot argument",
    "Kernel panic",
    "cryptsetup: ERROR: maximum number of tries exceeded",
];

const NO_LOADER: [&str; 6] = [
    "No bootable device",
    "No bootable option or device was found",
    "grub rescue>",
    "UEFI Interactive Shell",
    "Operating System not found",
    "Missing operating system",
];

/// The first sign in `text` and the offset behind it. `silent` says that nothing has followed for a while: only then is
/// a prompt taken for complete, and what is typed not lost.
pub fn first(text: &str, silent: bool) -> Option<(usize, Sign)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let shown = line.trim();
        if let Some(sign) = of_line(shown) {
            if sign != Sign::Prompt || silent {
                return Some((at, sign));
            }
            return None;
        }
    }
    None
}

fn of_line(line: &str) -> Option<Sign> {
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| line.contains(phrase));
    let said = || line.chars().take(200).collect::<String>();
    if has(&EMERGENCY) {
        Some(Sign::Emergency(said()))
    } else if has(&NO_LOADER) || line == "grub>" {
        Some(Sign::NoLoader(said()))
    } else if has(&PROMPTS) {
        Some(Sign::Prompt)
    } else if has(&BOOTED) || is_login(line) {
        Some(Sign::Booted(said()))
    } else {
        None
    }
}

/// `server login:`, as agetty(8) prints it; a kernel message may follow.
fn is_login(line: &str) -> bool {
    let Some((host, _)) = line.split_once(" login:") else { return false };
    !host.is_empty() && host != "Last" && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
}

/// Console output as ASCII text: without escape sequences, carriage returns and other control characters. What follows
/// later never changes what was read before.
pub fn plain(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            0x1b => skip_escape(&mut rest),
            b'\n' | b'\t' | b' '..=b'~' => out.push(char::from(byte)),
            _ => {}
        }
    }
    out
}

/// The lines of a VGA's text memory: a character and its colours in turn, 80 to a line.
pub fn text_screen(memory: &[u8]) -> String {
    let line = |cells: &[u8]| {
        let shown = cells.chunks(2).map(|cell| if (b' '..=b'~').contains(&cell[0]) { cell[0] } else { b' ' });
        shown.map(char::from).collect::<String>().trim_end().to_owned()
    };
    memory.chunks(160).map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// ECMA-48: after `ESC [` parameters up to a final byte from `@` to `~`; after `ESC ]` up to BEL; else one character.
fn skip_escape(rest: &mut impl Iterator<Item = u8>) {
    match rest.next() {
        Some(b'[') => while rest.next().is_some_and(|byte| !(b'@'..=b'~').contains(&byte)) {},
        Some(b']') => while rest.next().is_some_and(|byte| byte != 7 && byte != b'\\') {},
        Some(b'(' | b')') => drop(rest.next()),
        _ => {}
    }
}

/// The last `count` lines that say something.
pub fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| line.chars().take(160).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(text: &str) -> Option<Sign> {
        first(&plain(text.as_bytes()), true).map(|(_, sign)| sign)
    }

    #[test]
    fn every_kind_of_prompt_is_seen() {
        for prompt in [
            "Please unlock disk vda5_crypt: ",
            "\u{1b}[?25l\u{1b}[1;1HPlease unlock disk luks-5ca1ab1e: ",
            "\u{1b}[0;1;39m🔐 Please enter passphrase for disk QEMU_HARDDISK (cryptroot): (press TAB for no echo) ",
            "Enter passphrase for hd0,msdos5 (5ca1ab1e00004000800000000000000005): ",
            "[    9.1] x\nPassword for /dev/vda2 (luks-5ca1ab1e):",
        ] {
            assert_eq!(sign(prompt), Some(Sign::Prompt), "{prompt:?}");
        }
        assert_eq!(first("Please unlock disk a: ", false), None, "it may not be complete yet");
    }

    #[test]
    fn a_login_prompt_is_one_word_and_login() {
        assert!(matches!(
            sign("\r\nDebian GNU/Linux 12 server ttyS0\r\n\r\nserver login: "),
            Some(Sign::Booted(_))
        ));
        assert!(matches!(sign("db-1.example.org login: [   40.2] kernel: late"), Some(Sign::Booted(_))));
        for other in ["Last login: Mon", "Started user login: management", "login:", "Starting login service"]
        {
            assert_eq!(sign(other), None, "{other:?}");
        }
    }

    #[test]
    fn targets_are_read_with_their_colours() {
        let line = "[\u{1b}[0;32m  OK  \u{1b}[0m] Reached target \u{1b}[0;1;39mMulti-User System\u{1b}[0m.";
        assert!(matches!(sign(line), Some(Sign::Booted(_))));
        let basic = "[  OK  ] Reached target \u{1b}[0;1;39mbasic.target\u{1b}[0m - Basic System.";
        assert_eq!(sign(basic), None);
    }

    #[test]
    fn a_system_that_does_not_come_up_says_so_in_many_ways() {
        for line in [
            "Gave up waiting for root file system device.\n(initramfs) ",
            "You are in emergency mode. After logging in, type \"journalctl -xb\" to view",
            "dracut-initqueue[300]: Warning: Could not boot.\nEntering emergency mode. Exit the shell to continue.",
            "[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
            "Rebooting automatically due to panic= boot argument",
        ] {
            assert!(matches!(sign(line), Some(Sign::Emergency(_))), "{line:?}");
        }
    }

    #[test]
    fn firmware_and_loader_say_what_they_miss() {
        for line in [
            "No bootable device.",
            "error: no such device: 5ca1ab1e.\nEntering rescue mode...\ngrub rescue> ",
            "BdsDxe: No bootable option or device was found.",
            "UEFI Interactive Shell v2.2",
            "Minimal BASH-like line editing is supported.\ngrub> ",
        ] {
            assert!(matches!(sign(line), Some(Sign::NoLoader(_))), "{line:?}");
        }
        let goes_on = "BdsDxe: failed to load Boot0001 \"UEFI QEMU DVD-ROM\" from PciRoot(0x0): Not Found";
        assert_eq!(sign(goes_on), None, "the next entry may do");
    }

    #[test]
    fn signs_come_in_order_and_the_rest_is_left() {
        let text = "a\nPlease unlock disk x: \nserver login: ";
        let (at, sign) = first(text, true).expect("there is one");
        assert_eq!((sign, &text[at..]), (Sign::Prompt, "server login: "));
    }

    #[test]
    fn a_text_screen_is_read_line_by_line() {
        let mut memory = [0u8; 4000];
        "Debian 12".bytes().enumerate().for_each(|(n, byte)| memory[2 * n] = byte);
        "server login: x".bytes().enumerate().for_each(|(n, byte)| memory[320 + 2 * n] = byte);
        let text = text_screen(&memory);
        assert_eq!(text, "Debian 12\nserver login: x");
        assert!(matches!(first(&text, true), Some((_, Sign::Booted(_)))));
    }

    #[test]
    fn the_last_lines_are_those_that_say_something() {
        assert_eq!(last_lines("a\n\nb\n  \nc\n", 2), ["b", "c"]);
    }
}
