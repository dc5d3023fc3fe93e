//! The schedule, installed below a directory of its own and judged by the tools that will read it.

use diskmirror::layer::schedule::{
    CRON, Called, Caller, FILES, LOGROTATE, SERVICE, TEST_SERVICE, TEST_TIMER, TIMER, files,
};
use diskmirror::units::Often;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const CALLED: Called = Called { program: "/usr/sbin/diskmirror", config: None, boot_test: None };
/// With boot tests.
const TESTED: Called = Called { boot_test: Some(Often::Weekly), ..CALLED };
const ENABLED: &str = "etc/systemd/system/timers.target.wants/diskmirror.timer";

fn root() -> TempDir {
    let root = tempfile::tempdir().expect("a directory for temporary files");
    fs::create_dir_all(root.path().join("etc/cron.d")).expect("it can be written");
    root
}

fn schedule(root: &Path, args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_diskmirror");
    Command::new(program).arg("--root").arg(root).arg("schedule").args(args).output().expect("it was built")
}

#[track_caller]
fn done(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn refused(output: Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("\n  state: nothing was changed"), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in:\n{text}"));
}

/// Every file and link below `root` with its content.
fn content(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
            let path = entry.path();
            match entry.file_type().expect("it has a type") {
                kind if kind.is_dir() => directories.push(path),
                kind if kind.is_symlink() => {
                    let target = fs::read_link(&path).expect("a link").display().to_string();
                    found.insert(path, target);
                }
                _ => {
                    let text = fs::read_to_string(&path).expect("text");
                    found.insert(path, text);
                }
            }
        }
    }
    found
}

/// Whether a tool is there to judge; says so if not.
fn there_is(tool: &str) -> bool {
    let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|at| Path::new(at).join(tool).exists());
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

#[test]
fn the_files_are_these() {
    let all: BTreeMap<_, _> =
        files(Caller::Timer, TESTED).into_iter().chain(files(Caller::Cron, TESTED)).collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schedule");
    for path in FILES {
        let name = path.replace('/', "_");
        let wanted = fs::read_to_string(golden.join(&name)).unwrap_or_default();
        assert!(all[path] == wanted, "{name} should be:\n{}", all[path]);
    }
}

#[test]
fn a_timer_is_installed_once_shown_and_removed_without_a_trace() {
    if !there_is("systemctl") {
        return;
    }
    let root = root();
    let before = content(root.path());
    done(schedule(root.path(), &["install"]));
    let installed = content(root.path());
    for file in [SERVICE, TIMER, LOGROTATE, ENABLED] {
        assert!(installed.contains_key(&root.path().join(file)), "{file}: {installed:#?}");
    }
    done(schedule(root.path(), &["install"]));
    assert_eq!(content(root.path()), installed, "installing twice is installing once");
    assert!(done(schedule(root.path(), &["show"])).contains("OnCalendar=*:0/15"));
    done(schedule(root.path(), &["remove"]));
    assert_eq!(content(root.path()), before);
    assert_eq!(done(schedule(root.path(), &["remove"])), "");
}

/// A configuration as `init` writes it, with boot tests or without.
fn configured(root: &Path, boot_test: &str) {
    let text = format!(
        "[[mirror]]\nname = \"mirror\"\n{boot_test}\n[mirror.primary]\ntable_id = \"1\"\n[mirror.disk]\ntable_id = \"2\"\n\
         [[mirror.volume]]\nmount = \"/\"\nkind = \"ext4\"\nprimary_uuid = \"a\"\nmirror_uuid = \"b\"\n"
    );
    fs::write(root.join("etc/diskmirror.toml"), text).expect("it can be written");
}

#[test]
fn boot_tests_come_and_go_with_the_configuration() {
    if !there_is("systemctl") {
        return;
    }
    let root = root();
    configured(root.path(), "");
    done(schedule(root.path(), &["install"]));
    let without = content(root.path());
    configured(root.path(), "boot_test = \"weekly\"");
    done(schedule(root.path(), &["install"]));
    let enabled = ENABLED.replace("diskmirror.timer", "diskmirror-boot-test.timer");
    let installed = content(root.path());
    for file in [TEST_SERVICE, TEST_TIMER, &enabled] {
        assert!(installed.contains_key(&root.path().join(file)), "{file}: {installed:#?}");
    }
    configured(root.path(), "");
    done(schedule(root.path(), &["install"]));
    assert_eq!(content(root.path()), without);
    configured(root.path(), "boot_test = \"weekly\"");
    done(schedule(root.path(), &["install"]));
    done(schedule(root.path(), &["remove"]));
    assert_eq!(content(root.path()).len(), 1, "only the configuration is left");
}

#[test]
fn a_cron_line_is_installed_and_removed_without_a_trace() {
    let root = root();
    done(schedule(root.path(), &["install", "--cron"]));
    let line = &content(root.path())[&root.path().join(CRON)];
    let program = env!("CARGO_BIN_EXE_diskmirror");
    assert!(line.contains(&format!("\n*/15 * * * * root nice -n 10 ionice -c 3 {program} run\n")), "{line}");
    done(schedule(root.path(), &["remove"]));
    assert_eq!(content(root.path()), BTreeMap::new());
}

#[test]
fn a_configuration_that_was_named_is_named_in_the_schedule() {
    let root = root();
    let config = root.path().join("other.toml");
    let args = ["install", "--cron", "--config", config.to_str().expect("UTF-8")];
    done(schedule(root.path(), &args));
    let line = &content(root.path())[&root.path().join(CRON)];
    assert!(line.contains(&format!(" --config {} run\n", config.display())), "{line}");
}

#[test]
fn a_file_that_is_not_ours_or_was_changed_is_left_alone_and_so_is_all_else() {
    let root = root();
    done(schedule(root.path(), &["install", "--cron"]));
    let cron = root.path().join(CRON);
    let ours = fs::read_to_string(&cron).expect("it was installed");
    for (text, word) in [
        (ours.replace("*/15", "*/5"), "was changed after it was installed"),
        ("@daily root true\n".to_owned(), "was not written by diskmirror"),
    ] {
        fs::write(&cron, text).expect("it can be written");
        let before = content(root.path());
        let path = cron.to_str().expect("UTF-8");
        refused(schedule(root.path(), &["install", "--cron"]), &[word, path]);
        refused(schedule(root.path(), &["remove"]), &[word, path]);
        assert_eq!(content(root.path()), before);
    }
}

#[test]
fn no_second_schedule_is_installed_beside_the_first() {
    let root = root();
    done(schedule(root.path(), &["install", "--cron"]));
    let before = content(root.path());
    refused(schedule(root.path(), &["install"]), &["cron line", "diskmirror schedule remove"]);
    assert_eq!(content(root.path()), before);
}

#[test]
fn a_cron_line_that_nobody_would_read_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    refused(schedule(root.path(), &["install", "--cron"]), &["cron is not installed"]);
    assert_eq!(content(root.path()), BTreeMap::new());
}

#[test]
fn a_timer_without_systemd_is_refused_and_cron_is_named() {
    if Path::new("/run/systemd/system").exists() {
        println!("skipped: systemd runs here, and this would install the timer on this very machine");
        return;
    }
    refused(
        schedule(Path::new("/"), &["install"]),
        &["systemd does not run here", "schedule install --cron"],
    );
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    if !there_is("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let called =
        Called { program: "/bin/true", config: Some("/etc/100% mine.toml"), boot_test: Some(Often::Monthly) };
    for (path, text) in files(Caller::Timer, called) {
        let name = Path::new(path).file_name().expect("a name");
        fs::write(directory.path().join(name), text).expect("it can be written");
    }
    for unit in [
        "diskmirror.service",
        "diskmirror.timer",
        "diskmirror-boot-test.service",
        "diskmirror-boot-test.timer",
    ] {
        let mut command = Command::new("systemd-analyze");
        let output = command.arg("verify").arg("--man=no").arg(directory.path().join(unit)).output();
        let output = output.expect("it is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("diskmirror."), "{unit}: {said}");
    }
}

#[test]
fn logrotate_finds_no_fault_in_its_file() {
    if !there_is("logrotate") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("diskmirror");
    let (_, text) =
        files(Caller::Cron, CALLED).into_iter().find(|(path, _)| *path == LOGROTATE).expect("one");
    fs::write(&file, text).expect("it can be written");
    let output = Command::new("logrotate")
        .args(["--debug", "--state"])
        .arg(directory.path().join("state"))
        .arg(&file)
        .output()
        .expect("it is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("(52 rotations)") && !said.contains("error:"), "{said}");
}
