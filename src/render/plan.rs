//! A plan, as people read it. Its JSON twin is the plan itself.

use crate::escape;
use crate::layer::fill::estimate;
use crate::layout::NotMirrored;
use crate::plan::{Piece, Plan};
use crate::step::{Action, FileText, Filling, Step};
use crate::units::{Bytes, duration};
use std::io::{self, Write};

/// Writes `plan`; `rotational` tells what the fill's time is reckoned from.
///
/// # Errors
/// Those of `out`.
pub fn plan(plan: &Plan, rotational: bool, out: &mut impl Write) -> io::Result<()> {
    let mut text = Vec::new();
    write_plan(plan, rotational, &mut text)?;
    out.write_all(escape::lines(&String::from_utf8_lossy(&text)).as_bytes())
}

fn write_plan(plan: &Plan, rotational: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{} becomes the mirror of {}", plan.mirror, plan.primary)?;
    section(out, "Erased")?;
    if plan.erased.is_empty() {
        writeln!(out, "  nothing that is known: {} has no signatures", plan.disk)?;
    }
    plan.erased.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    section(out, "The mirror")?;
    plan.pieces.iter().try_for_each(|piece| write_piece(out, piece))?;
    if !plan.not_mirrored.is_empty() {
        section(out, "Not in this mirror")?;
        plan.not_mirrored.iter().try_for_each(|one| write_not_mirrored(out, one))?;
    }
    if !plan.notes.is_empty() {
        section(out, "To know")?;
        plan.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    }
    section(out, "Steps")?;
    for (n, step) in plan.steps.iter().enumerate() {
        write_step(out, n + 1, step)?;
    }
    if plan.filled > Bytes(0) {
        let time = duration(estimate(rotational, plan.filled));
        writeln!(
            out,
            "\nFilling {} takes about {time}; it is measured and told again as it begins.",
            plan.filled
        )?;
    }
    writeln!(out, "\nPlan {}. Nothing has been changed.", plan.digest)
}

fn section(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(out, "\n{title}")
}

fn write_piece(out: &mut impl Write, piece: &Piece) -> io::Result<()> {
    let indent = "  ".repeat(piece.depth + 1);
    let size = if piece.size == piece.new_size {
        piece.size.to_string()
    } else {
        format!("{} instead of {}", piece.new_size, piece.size)
    };
    let to = format!("{indent}{}", piece.to);
    writeln!(out, "{to:<30} {:<18} {size:<28} as {}", piece.what, piece.from)
}

fn write_not_mirrored(
    out: &mut impl Write,
    NotMirrored { what, size, why, .. }: &NotMirrored,
) -> io::Result<()> {
    let size = size.map_or(String::new(), |size| size.to_string());
    writeln!(out, "  {what:<28} {size:<10} {why}")
}

fn write_step(out: &mut impl Write, number: usize, step: &Step) -> io::Result<()> {
    writeln!(out, "{number:>4}. {}", step.title)?;
    match &step.action {
        Action::Run(invocation) => indented(out, &invocation.to_string()),
        Action::Write { path, mode, text } => {
            let what = match text {
                FileText::RandomKey { bytes } => format!("{bytes} random bytes"),
                FileText::Text(text) => format!("{} lines", text.lines().count()),
            };
            indented(out, &format!("write {} (mode {mode:04o}, {what})", path.display()))
        }
        Action::BootBlock { from, to, gap } => {
            indented(out, &format!("diskmirror boot-block copy --keep-table {from} {to}"))?;
            if *gap > 0 {
                indented(out, &format!("and the {} behind it, where GRUB's core lies", Bytes(*gap)))
            } else {
                Ok(())
            }
        }
        Action::Fill { device, with, bytes } => {
            let with = match with {
                Filling::Random => "random",
                Filling::Zero => "zero",
                Filling::Discard => "discard",
            };
            indented(out, &format!("diskmirror fill {device} --with {with}   # {}", Bytes(*bytes)))
        }
    }
}

fn indented(out: &mut impl Write, text: &str) -> io::Result<()> {
    text.lines()
        .try_for_each(|line| if line.is_empty() { writeln!(out) } else { writeln!(out, "        {line}") })
}
