//! An `init` that breaks off: at every step by a failing tool, at any moment by a kill, in the middle by a signal. It
//! says what is true, and a plain repetition makes the mirror. Needs root; says so where it is skipped.

#[path = "common/server.rs"]
mod server;

use server::{PLAIN, Said, Server, Shape, Stub, root_or_skip, tool};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

/// With swap, so that every tool of a plain layout is called.
const SHAPE: Shape = Shape {
    table: "label: gpt\nsize=16MiB\nsize=30MiB, type=L\ntype=S\n",
    swaps: &[3],
    primary_mib: 56,
    mirror_mib: 56,
    ..PLAIN
};

/// A disk as it comes from another machine: with a table and a file system, so that it is wiped first.
fn used() -> Server {
    let server = Server::new(SHAPE);
    server.mirror.partition("label: gpt\nsize=40MiB, type=L\n");
    tool("mke2fs", &["-q", "-t", "ext4", &server.mirror.part(1)]);
    server
}

/// What must be true after every failure.
fn is_closed(server: &Server, said: &Said) {
    assert!(server.mirror.is_free(), "something is left open: {said:?}");
    let mounts = fs::read_to_string("/proc/mounts").expect("proc");
    assert!(!mounts.contains(&format!("{}p", server.mirror.node)), "{mounts}");
}

fn repeats(server: &Server) {
    let said = server.init_done(&[]);
    assert_eq!(server.differences(), "", "{said:?}");
}

#[test]
fn whichever_tool_fails_the_state_is_told_and_a_repetition_succeeds() {
    if !root_or_skip("whichever_tool_fails_the_state_is_told_and_a_repetition_succeeds") {
        return;
    }
    let server = used();
    let part = |n| server.mirror.part(n);
    let node = &server.mirror.node;
    // The tool, which of its calls, the step's title, and what the state says.
    let untouched = "is as it was but for what this step may have begun";
    let lost = "no longer holds what it held and is no mirror yet";
    let cases = [
        ("wipefs", "*--all*".to_owned(), "erase the old signatures", untouched),
        ("partx", "*--delete*".to_owned(), "let the kernel forget", lost),
        ("sfdisk", "*--wipe*".to_owned(), "partition", lost),
        ("partx", "*--update*".to_owned(), "let the kernel see the partitions", lost),
        ("mke2fs", format!("*{}", part(1)), "make ext4", lost),
        ("mke2fs", format!("*{}", part(2)), "make ext4", lost),
        ("mkswap", format!("*{}", part(3)), "make swap space", lost),
    ];
    for (n, (program, pattern, title, state)) in cases.iter().enumerate() {
        let stub = Stub::failing(program, pattern);
        let said = server.init(&[]);
        drop(stub);
        said.is_failure(&[
            title,
            &format!("{program} exited with 9"),
            "the disk is on fire",
            state,
            "repeat the same",
        ]);
        assert!(said.error().contains("the primary's own files are unchanged"), "{said:?}");
        assert!(!server.config().exists(), "{program}: {said:?}");
        is_closed(&server, &said);
        let was_told: usize = said
            .error()
            .split(" of the steps are done")
            .next()
            .and_then(|head| head.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0);
        // Only the first has nothing behind it.
        assert!(was_told >= n.min(1), "{said:?}");
    }
    assert!(node.starts_with("/dev/loop"));
    repeats(&server);
}

#[test]
fn a_step_that_did_not_do_what_it_said_is_found_out() {
    if !root_or_skip("a_step_that_did_not_do_what_it_said_is_found_out") {
        return;
    }
    let server = Server::new(SHAPE);
    // They say that all is well, and have done nothing.
    let liars = [
        ("sfdisk", "*--wipe*", "partition"),
        ("mke2fs", "*p2", "make ext4"),
        ("mkswap", "*p3", "make swap space"),
    ];
    for (program, pattern, title) in liars {
        let script = format!("case \"$*\" in {pattern}) exit 0;; esac\nexec \"$REAL\" \"$@\"");
        let stub = Stub::new(program, &script);
        let said = server.init(&[]);
        drop(stub);
        said.is_failure(&[if program == "sfdisk" { "the kernel" } else { title }, "of the steps are done"]);
        is_closed(&server, &said);
        tool("wipefs", &["-qaf", &server.mirror.node]);
    }
    repeats(&server);
}

#[test]
fn a_disk_that_stops_taking_writes_in_the_middle_is_told() {
    if !root_or_skip("a_disk_that_stops_taking_writes_in_the_middle_is_told") {
        return;
    }
    let server = Server::new(SHAPE);
    let script = format!("\"$REAL\" \"$@\" && blockdev --setro {}", server.mirror.node);
    let stub = Stub::new("partx", &script);
    let said = server.init(&[]);
    drop(stub);
    said.is_failure(&["copy the boot code", "of the steps are done"]);
    tool("blockdev", &["--setrw", &server.mirror.node]);
    is_closed(&server, &said);
    repeats(&server);
}

#[test]
fn a_file_of_the_primary_that_cannot_be_written_is_told() {
    if !root_or_skip("a_file_of_the_primary_that_cannot_be_written_is_told") {
        return;
    }
    let server = Server::new(SHAPE);
    let etc = server.root().join("etc");
    let fstab = fs::read(etc.join("fstab")).expect("it is there");
    for (blocked, state) in [
        (".fstab.new", "the primary's own files are unchanged".to_owned()),
        (".diskmirror.toml.new", format!("on the primary {} and ", etc.join("fstab").display())),
    ] {
        let block = etc.join(blocked);
        fs::create_dir(&block).expect("nothing is there");
        let said = server.init(&["--fstab"]);
        fs::remove_dir(&block).expect("it is empty");
        said.is_failure(&[blocked.trim_start_matches('.').trim_end_matches(".new"), &state]);
        assert!(!server.config().exists());
        is_closed(&server, &said);
        assert_eq!(fs::read(etc.join("fstab")).expect("it is there") == fstab, blocked == ".fstab.new");
    }
    server.init_done(&["--fstab"]);
    assert_eq!(server.differences(), "");
}

#[test]
fn marks_that_cannot_be_written_and_a_first_run_that_fails_are_told() {
    if !root_or_skip("marks_that_cannot_be_written_and_a_first_run_that_fails_are_told") {
        return;
    }
    let server = Server::new(SHAPE);
    let run = server.root().join("run/diskmirror");
    fs::write(&run, "in the way").expect("nothing is there");
    let said = server.init(&[]);
    fs::remove_file(&run).expect("it is there");
    said.is_failure(&["first marks", "every layer of", "holds no files", "repeat the same diskmirror init"]);
    is_closed(&server, &said);
    repeats(&server);
}

#[test]
fn a_state_directory_that_cannot_be_written_stops_it_before_the_first_byte() {
    if !root_or_skip("a_state_directory_that_cannot_be_written_stops_it_before_the_first_byte") {
        return;
    }
    let server = Server::new(SHAPE);
    let state_dir = server.root().join("var/lib/diskmirror");
    tool("mount", &["-o", "remount,ro", state_dir.to_str().expect("a plain name")]);
    let before = server.snapshot();
    let said = server.init(&[]);
    said.is_failure(&["state: nothing was written to"]);
    server.is_as_it_was(&before, &said);
    tool("mount", &["-o", "remount,rw", state_dir.to_str().expect("a plain name")]);
    // A record that cannot be read may name what is open.
    fs::create_dir(state_dir.join("unfinished-init.json")).expect("nothing is there");
    server.plan_and_init_refuse(&["unfinished-init.json"]);
}

/// Waits until nobody works on the mirror: the tool that a killed init had started ends a little later.
fn settled(server: &Server) {
    let end = Instant::now() + Duration::from_secs(20);
    while !server.mirror.is_free() {
        assert!(Instant::now() < end, "something holds the mirror for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_init_that_is_killed_at_any_moment_can_be_repeated() {
    if !root_or_skip("an_init_that_is_killed_at_any_moment_can_be_repeated") {
        return;
    }
    const KILLS: u32 = 15;
    let server = used();
    let begun = Instant::now();
    repeats(&server);
    let whole = begun.elapsed();
    for n in 0..KILLS {
        let mut child = server.start_init();
        std::thread::sleep(whole * n / KILLS);
        child.kill().expect("it is our child");
        let ended = child.wait_with_output().expect("it ends");
        settled(&server);
        let said = server.init(&[]);
        assert_eq!(said.code, 0, "after kill {n}, {:?}: {said:?}", Said::of(ended));
        if n % 3 == 2 {
            assert_eq!(server.differences(), "", "after kill {n}");
        }
    }
}

/// Starts an init, kills it as soon as it says that it is at step `n`, and gives back how many steps there are.
fn killed_at_step(server: &Server, n: usize) -> usize {
    let mut child = server.start_init();
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let steps = lines.map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once(&format!("[{n}/"))?;
        rest.split(']').next()?.parse().ok()
    });
    child.kill().expect("it is our child");
    assert!(!child.wait().expect("it ends").success(), "it ended before step {n}");
    settled(server);
    steps.unwrap_or_else(|| panic!("there is no step {n}"))
}

#[test]
fn an_init_that_is_killed_at_each_step_changes_no_byte_of_the_primary_and_can_be_repeated() {
    if !root_or_skip("an_init_that_is_killed_at_each_step_changes_no_byte_of_the_primary_and_can_be_repeated")
    {
        return;
    }
    let server = used();
    let primary = server.primary.hash();
    let names = || fs::read_dir(server.root().join("etc")).expect("a directory").count();
    let before = names();
    let (mut n, mut steps) = (1, 1);
    while n <= steps {
        steps = killed_at_step(&server, n);
        // The last step writes the configuration: whole or not at all. Until it begins, nothing is written.
        if n < steps || names() == before {
            assert_eq!(server.primary.hash(), primary, "killed at step {n} of {steps}");
            assert!(!server.config().exists(), "killed at step {n} of {steps}");
        } else if let Ok(text) = fs::read_to_string(server.config()) {
            text.parse::<toml::Table>().expect("it is written whole");
        }
        let mounts = fs::read_to_string("/proc/mounts").expect("proc");
        assert!(!mounts.contains(&format!("{}p", server.mirror.node)), "killed at step {n}: {mounts}");
        n += 1;
    }
    println!("{steps} steps, killed at each");
    repeats(&server);
}

#[test]
fn an_init_that_is_killed_between_its_steps_can_be_repeated() {
    if !root_or_skip("an_init_that_is_killed_between_its_steps_can_be_repeated") {
        return;
    }
    let server = used();
    // The parent is killed while the tool is at work, before and after it has done its work.
    for (program, pattern) in [
        ("wipefs", "*--all*"),
        ("sfdisk", "*--wipe*"),
        ("partx", "*--update*"),
        ("mke2fs", "*p1"),
        ("mkswap", "*p3"),
    ] {
        for script in ["kill -9 $PPID; exit 1", "\"$REAL\" \"$@\"; kill -9 $PPID; exit 0"] {
            let stub = Stub::new(
                program,
                &format!("case \"$*\" in {pattern}) {script};; esac\nexec \"$REAL\" \"$@\""),
            );
            let said = server.init(&[]);
            drop(stub);
            assert_eq!(said.code, -1, "{program} {script}: {said:?}");
            settled(&server);
        }
        // What it left behind is refused without a confirmation, as everything is, and planned.
        server.plan(&[]);
    }
    repeats(&server);
}

#[test]
fn a_signal_in_the_middle_ends_it_with_a_true_state() {
    if !root_or_skip("a_signal_in_the_middle_ends_it_with_a_true_state") {
        return;
    }
    let server = used();
    for (until, state) in [
        ("[1/", "no longer holds what it held"),
        ("[4/", "no longer holds what it held"),
        ("the mirror is prepared", "state:"),
    ] {
        for signal in ["-TERM", "-INT"] {
            let mut child = server.start_init();
            let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
            let mut stderr = String::new();
            for line in lines.by_ref() {
                let line = line.expect("it is text");
                stderr += &format!("{line}\n");
                if line.contains(until) {
                    break;
                }
            }
            tool("kill", &[signal, &child.id().to_string()]);
            lines.for_each(|line| stderr += &format!("{}\n", line.expect("it is text")));
            let code = child.wait().expect("it ends").code().unwrap_or(-1);
            let said = Said { code, stdout: String::new(), stderr };
            // The small tree may have been copied before the signal came.
            if said.code != 0 || until.starts_with('[') {
                assert_eq!(said.code, 1, "{said:?}");
                assert!(said.error().contains(state) && said.error().contains("state:"), "{said:?}");
            }
            is_closed(&server, &said);
            assert!(Path::new(&server.mirror.node).exists());
        }
    }
    repeats(&server);
}
