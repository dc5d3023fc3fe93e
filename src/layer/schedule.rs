//! The files of a schedule: systemd's service and timer, or cron's line, and logrotate's. Pure: settings to text,
//! and a file's text to whether it is one of ours.
//!
//! Every file begins with a line that seals the rest of it, so that a file which somebody wrote or changed is
//! never taken for ours.

use crate::step::quoted;
use crate::units::Often;

/// The service's file, below the root.
pub const SERVICE: &str = "etc/systemd/system/diskmirror.service";
/// The timer's file, below the root.
pub const TIMER: &str = "etc/systemd/system/diskmirror.timer";
/// The boot tests' systemd service, below the root.
pub const TEST_SERVICE: &str = "etc/systemd/system/diskmirror-boot-test.service";
/// The boot tests' systemd timer, below the root.
pub const TEST_TIMER: &str = "etc/systemd/system/diskmirror-boot-test.timer";
/// cron's file, below the root.
pub const CRON: &str = "etc/cron.d/diskmirror";
/// logrotate's file, below the root.
pub const LOGROTATE: &str = "etc/logrotate.d/diskmirror";
/// Every file that a schedule may consist of.
pub const FILES: [&str; 6] = [SERVICE, TIMER, TEST_SERVICE, TEST_TIMER, CRON, LOGROTATE];

/// Seconds between two runs.
pub const INTERVAL_SECS: i64 = 15 * 60;

/// Who calls the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// A systemd timer.
    Timer,
    /// cron.
    Cron,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// The program, an absolute path.
    pub program: &'a str,
    /// The configuration file, an absolute path, if it is not the usual one.
    pub config: Option<&'a str>,
    /// How often the mirror is booted in a virtual machine, if it shall be.
    pub boot_test: Option<Often>,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// As it was installed.
    Ours,
    /// Installed, and then changed by somebody.
    Changed,
    /// Somebody else's.
    Foreign,
}

/// The files of a schedule: where below the root, and what is in them.
pub fn files(caller: Caller, called: Called) -> Vec<(&'static str, String)> {
    let mut files = match caller {
        Caller::Timer => vec![(SERVICE, service(called)), (TIMER, TIMER_TEXT.to_owned())],
        Caller::Cron => vec![(CRON, cron(called))],
    };
    if let (Caller::Timer, Some(often)) = (caller, called.boot_test) {
        files.extend([(TEST_SERVICE, test_service(called)), (TEST_TIMER, test_timer(often))]);
    }
    files.push((LOGROTATE, LOGROTATE_TEXT.to_owned()));
    files.into_iter().map(|(path, body)| (path, sealed(&body))).collect()
}

/// Whose the file with this text is.
pub fn origin(text: &str) -> Origin {
    match text.split_once('\n') {
        Some((first, body)) if first.starts_with(MARKER) => {
            if first == marker(body) {
                Origin::Ours
            } else {
                Origin::Changed
            }
        }
        _ => Origin::Foreign,
    }
}

const MARKER: &str =
    "# Written by `diskmirror schedule install`, taken away by `diskmirror schedule remove`. Seal: ";

fn marker(body: &str) -> String {
    format!("{MARKER}{}", &blake3::hash(body.as_bytes()).to_hex()[..16])
}

fn sealed(body: &str) -> String {
    format!("{}\n{body}", marker(body))
}

/// No directive here may hide a part of the server's files: what a run does not see, it deletes on the mirror. So no
/// ProtectHome, PrivateTmp, TemporaryFileSystem or InaccessiblePaths; no PrivateDevices and no PrivateIPC (device
/// nodes, udev's cookies); no RestrictSUIDSGID, which forbids copying a setuid bit. KillMode=mixed: a run that is
/// stopped ends its own fsck or cryptsetup, nobody else does.
fn service(called: Called) -> String {
    let command = unit_command(called);
    format!(
        "\
[Unit]
Description=Refresh the mirror disk
Documentation=man:diskmirror(1)
RequiresMountsFor=/var/lib/diskmirror /var/log

[Service]
Type=oneshot
ExecStart={command} run
TimeoutStartSec=infinity
TimeoutStopSec=15min
KillMode=mixed
Nice=10
IOSchedulingClass=idle
PrivateMounts=yes
NoNewPrivileges=yes
MemoryDenyWriteExecute=yes
LockPersonality=yes
RestrictRealtime=yes
CapabilityBoundingSet={CAPABILITIES}
"
    )
}

fn unit_command(called: Called) -> String {
    let mut command = unit_word(called.program);
    if let Some(config) = called.config {
        command += &format!(" --config {}", unit_word(config));
    }
    command
}

/// A virtual machine without KVM makes its code as it goes, so memory may be written and executed; and QEMU becomes a user of
/// its own. A second test cannot begin: systemd starts no unit twice, and the mirror's lock is held.
fn test_service(called: Called) -> String {
    let command = unit_command(called);
    format!(
        "\
[Unit]
Description=Boot the mirror disk in a virtual machine
Documentation=man:diskmirror(1)
RequiresMountsFor=/var/lib/diskmirror

[Service]
Type=oneshot
ExecStart={command} boot-test --wait
TimeoutStartSec=infinity
TimeoutStopSec=5min
KillMode=mixed
Nice=19
CPUWeight=10
IOSchedulingClass=idle
PrivateMounts=yes
"
    )
}

fn test_timer(often: Often) -> String {
    let calendar = match often {
        Often::Daily => "*-*-* 03:30",
        Often::Weekly => "Sun *-*-* 03:30",
        Often::Monthly => "*-*-01 03:30",
    };
    format!(
        "\
[Unit]
Description=Boot the mirror disk in a virtual machine ({often})
Documentation=man:diskmirror(1)

[Timer]
OnCalendar={calendar}
Persistent=true
RandomizedDelaySec=2h

[Install]
WantedBy=timers.target
"
    )
}

/// What a run needs: to copy any file with all that belongs to it (CHOWN … SETFCAP, MAC_ADMIN for SELinux labels the
/// policy does not know); to mount, open and activate the mirror (SYS_*, IPC_LOCK: cryptsetup and LVM lock their
/// memory, SYS_NICE: LVM raises its priority, SYS_CHROOT: setns to a mount namespace); and to let hooks become the
/// user they are for (SETUID, SETGID, KILL).
const CAPABILITIES: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_MKNOD \
                            CAP_SETFCAP CAP_LINUX_IMMUTABLE CAP_LEASE CAP_MAC_ADMIN CAP_SYS_ADMIN CAP_SYS_RAWIO \
                            CAP_SYS_RESOURCE CAP_SYS_NICE CAP_SYS_CHROOT CAP_IPC_LOCK CAP_SETUID CAP_SETGID CAP_KILL";

/// `Persistent=`: a run that was missed while the server was off is made up for. The delay keeps many servers on one
/// host from beginning in the same second.
const TIMER_TEXT: &str = "\
[Unit]
Description=Refresh the mirror disk every 15 minutes
Documentation=man:diskmirror(1)

[Timer]
OnCalendar=*:0/15
Persistent=true
RandomizedDelaySec=30

[Install]
WantedBy=timers.target
";

const LOGROTATE_TEXT: &str = "\
/var/log/diskmirror.log {
    weekly
    rotate 52
    missingok
    notifempty
    compress
}
";

fn cron(called: Called) -> String {
    let mut command = quoted(called.program);
    if let Some(config) = called.config {
        command += &format!(" --config {}", quoted(config));
    }
    // In a crontab a bare % ends the line: crontab(5).
    let command = command.replace('%', r"\%");
    let when = called.boot_test.map(|often| match often {
        Often::Daily => "30 3 * * *",
        Often::Weekly => "30 3 * * 0",
        Often::Monthly => "30 3 1 * *",
    });
    let test = when.map(|when| format!("{when} root nice -n 19 ionice -c 3 {command} boot-test --wait\n"));
    format!(
        "\
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
*/15 * * * * root nice -n 10 ionice -c 3 {command} run
{}",
        test.unwrap_or_default()
    )
}

/// A word of ExecStart=: specifiers and variables are not expanded, blanks and quotes stand for themselves
/// (systemd.service(5), "Command lines").
fn unit_word(word: &str) -> String {
    let escaped = word.replace('\\', r"\\").replace('%', "%%").replace('$', "$$").replace('"', r#"\""#);
    if escaped == word && !word.contains([' ', '\t', '\'', ';']) { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Called = Called { program: "/usr/sbin/diskmirror", config: None, boot_test: None };

    fn text(caller: Caller, called: Called, path: &str) -> String {
        let found = files(caller, called).into_iter().find(|(at, _)| *at == path);
        found.expect("the schedule has this file").1
    }

    #[test]
    fn what_is_installed_is_known_again_unless_somebody_changed_it() {
        for (path, text) in files(Caller::Timer, PLAIN).into_iter().chain(files(Caller::Cron, PLAIN)) {
            assert_eq!(origin(&text), Origin::Ours, "{path}");
            assert_eq!(origin(&text.replace("15", "30").replace("52", "4")), Origin::Changed, "{path}");
            assert_eq!(origin(text.split_once('\n').expect("several lines").1), Origin::Foreign, "{path}");
        }
        assert_eq!(origin(""), Origin::Foreign);
    }

    #[test]
    fn the_configuration_is_passed_on_in_either_kind_of_quotes() {
        let called = Called { config: Some("/etc/my mirror/100%.toml"), ..PLAIN };
        let service = text(Caller::Timer, called, SERVICE);
        let line = "ExecStart=/usr/sbin/diskmirror --config \"/etc/my mirror/100%%.toml\" run\n";
        assert!(service.contains(line), "{service}");
        let cron = text(Caller::Cron, called, CRON);
        assert!(cron.contains(r"/usr/sbin/diskmirror --config '/etc/my mirror/100\%.toml' run"), "{cron}");
    }

    #[test]
    fn the_service_hides_nothing_that_is_to_be_mirrored() {
        let service = text(Caller::Timer, PLAIN, SERVICE);
        for harmful in [
            "ProtectHome",
            "ProtectSystem",
            "PrivateTmp",
            "TemporaryFileSystem",
            "InaccessiblePaths",
            "PrivateDevices",
            "PrivateIPC",
            "RestrictSUIDSGID",
            "RuntimeDirectory",
        ] {
            assert!(!service.contains(harmful), "{harmful}");
        }
    }

    #[test]
    fn boot_tests_are_called_as_often_as_the_configuration_says_and_else_not_at_all() {
        let tested = Called { boot_test: Some(Often::Weekly), ..PLAIN };
        let lines = |called| text(Caller::Cron, called, CRON).matches(" boot-test --wait\n").count();
        assert_eq!((lines(PLAIN), lines(tested)), (0, 1));
        assert!(files(Caller::Timer, PLAIN).iter().all(|(path, _)| *path != TEST_TIMER));
        assert!(text(Caller::Timer, tested, TEST_TIMER).contains("\nOnCalendar=Sun *-*-* 03:30\n"));
        let service = text(Caller::Timer, tested, TEST_SERVICE);
        assert!(service.contains("ExecStart=/usr/sbin/diskmirror boot-test --wait\n"), "{service}");
        assert!(
            !service.contains("MemoryDenyWriteExecute"),
            "a virtual machine without KVM needs such memory"
        );
    }

    #[test]
    fn the_log_is_kept_for_a_year_of_weeks() {
        let rotation = text(Caller::Cron, PLAIN, LOGROTATE);
        assert!(rotation.contains("/var/log/diskmirror.log {\n    weekly\n    rotate 52\n"), "{rotation}");
    }
}
