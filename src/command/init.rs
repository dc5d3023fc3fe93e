//! `plan` and `init`: prepare a disk as the mirror of the running server.

mod files;
mod tools;
mod unfinished;

use crate::apply::{Context, apply};
use crate::boot;
use crate::cli::{FillKind, InitArgs, MirrorOptions, PlanArgs, RunArgs, Unlock};
use crate::command::confirm::Intent;
use crate::command::{output, run, schedule};
use crate::config::{CONFIG_PATH, Config, below};
use crate::discover::{Tools, discover};
use crate::exit_code::Exit;
use crate::identity::FreshIds;
use crate::layer::luks;
use crate::layout::{Content, Survey};
use crate::mirror;
use crate::monitor::{Monitor, Silent};
use crate::plan::{self, FillChoice, Options, Plan};
use crate::refusal::{Failure, Refusal, stated};
use crate::render;
use crate::step::{Filling, quoted};
use crate::sys::secret::Passphrase;
use crate::sys::{command, mount};
use crate::tree::View;
use anyhow::{Context as _, Result};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Where things lie on the primary, as this process sees them.
pub struct Place {
    /// The primary's mounted root.
    pub root: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Whether `config` was named, and is not the one below `root`.
    pub config_named: bool,
}

impl Place {
    /// The primary mounted at `root`, with the configuration that was named, or the one below `root`.
    ///
    /// # Errors
    /// A refusal if `root` is not there.
    pub fn new(root: &Path, config: Option<&Path>) -> Result<Self> {
        let root = std::fs::canonicalize(root).map_err(|error| {
            Refusal::new("refusing to go on: the primary's root cannot be found", "nothing was written")
                .why(format!("--root {}: {error}", root.display()))
                .remedy("name the directory that the primary's root is mounted on")
        })?;
        let path = config.map_or_else(|| root.join(CONFIG_PATH), Path::to_owned);
        Ok(Place { root, config: std::path::absolute(path)?, config_named: config.is_some() })
    }
}

/// `plan`: shows what `init` would do.
///
/// # Errors
/// A `Refusal` with every reason, or what a tool said.
pub fn show_plan(place: &Place, args: &PlanArgs) -> Result<Exit> {
    let (survey, plan) = planned(place, &args.options, None)?;
    let mut out = Vec::new();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &plan)?;
        writeln!(out)?;
    } else {
        render::plan::plan(&plan, survey.mirror.disk.rotational, &mut out)?;
        let how = command_line(place, &args.options, &plan.confirmation);
        writeln!(out, "To do it:  {how} --plan {}", plan.digest)?;
    }
    output::print(&String::from_utf8_lossy(&out))?;
    Ok(Exit::Done)
}

/// `init`: prepares the mirror, makes the first run, installs the schedule.
///
/// # Errors
/// A `Refusal` before the first byte is written, a `Failure` that says what is true of the disk after it.
pub fn init(place: &Place, args: &InitArgs, monitor: &dyn Monitor) -> Result<Exit> {
    let state_dir = files::state_dir(place, files::existing(place)?.as_ref());
    unfinished::sweep(&state_dir, monitor)?;
    let (survey, plan) = planned(place, &args.options, None)?;
    show(&plan, &survey)?;
    confirm(place, &plan, args)?;
    let passphrase = tested_passphrase(&plan, args)?;
    let plan = unchanged(place, args, &plan, passphrase.as_ref().and_then(|(_, slot)| *slot))?;
    unfinished::begin(&state_dir, &plan)?;
    let context = Context {
        disk: &plan.disk,
        passphrase: passphrase.as_ref().map(|(passphrase, _)| passphrase),
        checkpoints: &state_dir,
        monitor,
    };
    prepare(&plan, &context)?;
    // The first run may take hours, and needs no passphrase.
    drop(passphrase);
    mark(place).map_err(|error| unmarked(&plan, &error))?;
    unfinished::end(&state_dir)?;
    monitor.note("the mirror is prepared; the first run copies everything");
    finish(place, args, monitor)
}

/// Where key files lie, relative to the root.
const KEY_DIR: &str = "etc/diskmirror/keys";

fn planned(place: &Place, options: &MirrorOptions, keyslot: Option<u32>) -> Result<(Survey, Plan)> {
    let state = format!("nothing was written to {}", options.mirror.display());
    looked_at(place, options, keyslot).map_err(|error| stated(error, "the mirror cannot be planned", &state))
}

fn looked_at(place: &Place, options: &MirrorOptions, keyslot: Option<u32>) -> Result<(Survey, Plan)> {
    let tools = Tools { root: place.root.clone() };
    let survey = discover(&place.root, options.primary.as_deref(), &options.mirror, &tools)?;
    let wanted = wanted(place, options, keyslot)?;
    let mut ids = FreshIds::new((0..FreshIds::ENOUGH).map(|_| Uuid::new_v4()));
    let plan = plan::plan(&survey, &wanted, &mut ids)?;
    tools::refuse_without(&plan)?;
    refuse_held(place, &plan, options)?;
    let mut plan = files::with_files(place, plan, &survey, options)?;
    plan.notes.extend(forecast(place, &survey)?);
    Ok((survey, plan))
}

/// Why the mirror would not boot, as far as the primary's mounted file systems tell.
fn forecast(place: &Place, survey: &Survey) -> Result<Vec<String>> {
    let mut mounted = Vec::new();
    for (_, content) in survey.primary.walk() {
        let Content::Filesystem(fs) = content else { continue };
        let Some(mount) = fs.mounted_at.first() else { continue };
        // Without what is mounted on top of it.
        let view = View::private(&mirror::mounted_below(&place.root, mount))?;
        mounted.push((mount.clone(), view.root().try_clone()?));
    }
    let problems = boot::forecast(&boot::Tree::new(mounted), survey.clone())?;
    Ok(problems.into_iter().map(|problem| format!("the mirror may not boot: {problem}")).collect())
}

fn wanted(place: &Place, options: &MirrorOptions, keyslot: Option<u32>) -> Result<Options> {
    let key_dir = place.root.join(KEY_DIR);
    let existing = files::existing(place)?;
    let left_out_before: Vec<String> =
        existing.iter().flat_map(|c| &c.mirrors).flat_map(|m| m.leave_out.clone()).collect();
    Ok(Options {
        fill: match options.fill {
            None => FillChoice::Default,
            Some(FillKind::None) => FillChoice::Nothing,
            Some(FillKind::Random) => FillChoice::With(Filling::Random),
            Some(FillKind::Zero) => FillChoice::With(Filling::Zero),
            Some(FillKind::Discard) => FillChoice::With(Filling::Discard),
        },
        unlock: match options.unlock {
            Unlock::Keyfile => plan::Unlock::Keyfile,
            Unlock::Crypttab => plan::Unlock::Crypttab,
        },
        fstab: options.fstab,
        vg: options.vg.clone(),
        plaintext: options.allow_plaintext_mirror,
        leave_out: options.leave_out.iter().chain(&left_out_before).cloned().collect(),
        left_out_before,
        unfinished_groups: unfinished::read(&files::state_dir(place, existing.as_ref()))?.volume_groups,
        key_dir: key_dir.to_str().context("the path of --root is not UTF-8")?.to_owned(),
        keyslot,
    })
}

/// Refuses a disk that is held by what discovery cannot see: a mount in another namespace, a loop device on it.
fn refuse_held(place: &Place, plan: &Plan, options: &MirrorOptions) -> Result<(), Refusal> {
    let device = PathBuf::from(&plan.disk);
    let command = command_line_without_erase(place, options);
    let intent = Intent { device: &device, verb: "to prepare", command };
    intent.refuse_unless_free(&intent.node()?)
}

fn show(plan: &Plan, survey: &Survey) -> Result<()> {
    Ok(render::plan::plan(plan, survey.mirror.disk.rotational, &mut io::stderr().lock())?)
}

fn confirm(place: &Place, plan: &Plan, args: &InitArgs) -> Result<()> {
    let device = PathBuf::from(&plan.disk);
    let command = command_line_without_erase(place, &args.options);
    let intent = Intent { device: &device, verb: "to prepare", command };
    if args.plan.as_ref().is_some_and(|digest| *digest != plan.digest) {
        return Err(changed(place, &args.options, plan)
            .why("it also changes with the options: are they those of `diskmirror plan`?")
            .into());
    }
    Ok(intent.confirm(&plan.mirror, &plan.confirmation, args.erase.as_deref())?)
}

fn changed(place: &Place, options: &MirrorOptions, plan: &Plan) -> Refusal {
    let look = command_line_without_erase(place, options).replacen(" init ", " plan ", 1);
    Refusal::new(
        format!("refusing to prepare {}: the disks have changed since the plan was made", plan.mirror),
        format!("nothing was written to {}", plan.disk),
    )
    .why(format!("the plan is now {}", plan.digest))
    .remedy(format!("look at it again: {look}"))
}

/// Asks for the passphrase once, and makes sure that the primary opens with it; the slot is the one that did.
fn tested_passphrase(plan: &Plan, args: &InitArgs) -> Result<Option<(Passphrase, Option<u32>)>> {
    let Some(container) = &plan.passphrase_for else { return Ok(None) };
    let refusal = |because: &str| {
        let state = format!("nothing was written to {}", plan.disk);
        Refusal::new(format!("refusing to prepare {}: {because}", plan.mirror), state)
    };
    let passphrase = match args.passphrase_fd {
        Some(fd) => Passphrase::read_from(fd).map_err(|e| refusal("no passphrase").why(e.to_string()))?,
        None if args.yes || !io::stdin().is_terminal() => {
            let remedy = "pass it on a descriptor: --passphrase-fd 3 3</run/passphrase";
            return Err(refusal("no passphrase").why("nobody can be asked for it").remedy(remedy).into());
        }
        None => Passphrase::ask(&format!("Passphrase of {container}, which will open the mirror too: "))
            .map_err(|e| refusal("no passphrase").why(e.to_string()))?,
    };
    let test = luks::test_passphrase(container);
    let said = command::ask_at_length(&test.program, &test.args, passphrase.bytes())
        .context("cannot run cryptsetup")?;
    if !said.ok() {
        let why = said.stderr.trim();
        return Err(refusal("wrong passphrase")
            .why(format!("it does not open {container}"))
            .why(if why.is_empty() { "cryptsetup said nothing more" } else { why })
            .remedy("repeat it with the passphrase that opens the primary at boot")
            .into());
    }
    let slot = luks::unlocked_slot(&said.stdout).or_else(|| luks::unlocked_slot(&said.stderr));
    Ok(Some((passphrase, slot)))
}

/// Discovers again and plans anew, and refuses if that is another plan than the one that was confirmed.
fn unchanged(place: &Place, args: &InitArgs, shown: &Plan, keyslot: Option<u32>) -> Result<Plan> {
    let (_, plan) = planned(place, &args.options, keyslot)?;
    if plan.digest != shown.digest {
        return Err(changed(place, &args.options, &plan).into());
    }
    Ok(plan)
}

/// Makes the layers and takes the mirror offline; offline also when a step fails.
fn prepare(plan: &Plan, context: &Context<'_>) -> Result<()> {
    let made = apply(&plan.steps, context);
    if made.is_err() {
        close_what_is_open(plan, context);
    }
    made?;
    let state = format!("every layer of {} is made, and some are still open; it is no mirror yet", plan.disk);
    Ok(apply(&plan.closing, context).map_err(|failure| Failure { state, ..failure })?)
}

fn unmarked(plan: &Plan, error: &anyhow::Error) -> Failure {
    let state =
        format!("every layer of {} is made and the configuration names it, but it holds no files", plan.disk);
    Failure::new("cannot give the mirror's file systems their first marks", state)
        .why(format!("{error:#}"))
        .remedy("mend what is named above, then repeat the same diskmirror init")
}

/// Gives each of the mirror's file systems its first mark, found and opened as every later run will.
fn mark(place: &Place) -> Result<()> {
    let config = Config::read(&place.root, Some(&place.config))?;
    let mirror = config.mirror(None)?;
    mount::enter_private_namespace().context("cannot have a mount namespace of its own")?;
    let opened = mirror::find(mirror)?.open(mirror, &place.root, false)?;
    mirror::write_initial_marks(mirror, &opened, &below(&place.root, &config.runtime_dir))?;
    opened.close()
}

/// After a failure: closes each layer that was opened, whatever the others say.
fn close_what_is_open(plan: &Plan, context: &Context<'_>) {
    let silent = Context { monitor: &Silent, passphrase: None, ..*context };
    plan.closing.iter().for_each(|step| drop(apply(std::slice::from_ref(step), &silent)));
}

/// The first run and the schedule. A first run that left files out does not keep the schedule away.
fn finish(place: &Place, args: &InitArgs, monitor: &dyn Monitor) -> Result<Exit> {
    let config = place.config_named.then_some(place.config.as_path());
    let exit = run::run(&place.root, config, &RunArgs::default(), monitor)?;
    if args.options.no_schedule {
        monitor.note("no schedule is installed: diskmirror run refreshes the mirror");
    } else if matches!(exit, Exit::Done | Exit::Incomplete) {
        schedule::install(&place.root, config, false).map_err(|error| {
            let state = "the mirror is prepared and complete; nothing refreshes it by itself";
            Failure::new("cannot install the schedule", state)
                .because(&error)
                .remedy("diskmirror schedule install --cron, where cron runs")
        })?;
    }
    Ok(exit)
}

fn command_line(place: &Place, options: &MirrorOptions, confirmation: &str) -> String {
    format!("{} --erase {}", command_line_without_erase(place, options), quoted(confirmation))
}

/// The options as they were given, so that the plan's command is the plan's.
fn command_line_without_erase(place: &Place, options: &MirrorOptions) -> String {
    let mut line = format!("diskmirror init --mirror {}", path(&options.mirror));
    let mut add = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };
    if place.root != Path::new("/") {
        add(format!("--root {}", path(&place.root)));
    }
    if place.config_named {
        add(format!("--config {}", path(&place.config)));
    }
    options.primary.iter().for_each(|p| add(format!("--primary {}", path(p))));
    options.fill.iter().for_each(|fill| add(format!("--fill {}", named(fill))));
    if options.unlock != Unlock::Keyfile {
        add(format!("--unlock {}", named(&options.unlock)));
    }
    if options.fstab {
        add("--fstab".into());
    }
    options.vg.iter().for_each(|vg| add(format!("--vg {}", quoted(vg))));
    if options.allow_plaintext_mirror {
        add("--allow-plaintext-mirror".into());
    }
    options.leave_out.iter().for_each(|part| add(format!("--leave-out {}", quoted(part))));
    if options.no_schedule {
        add("--no-schedule".into());
    }
    line
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

fn named(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}
