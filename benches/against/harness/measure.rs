//! One row: rounds of a pair, A B then B A, and what comes of them.

use super::disturbance::{Busy, is_disturbed};
use super::machine::Machine;
use super::results::{Contender, RowResult, Sample};
use super::rows::{Caches, Row, Work};
use super::settings::{Others, Settings};
use super::syscalls::Counter;
use super::tools::Tool;
use super::work::Place;
use anyhow::Context;
use diskmirror::sys::signal;
use std::fs;
use std::path::Path;

/// Measures `row`. What goes wrong is told in the result, so that the other rows are measured; an error is only that
/// somebody wants the bench to stop.
pub fn row(
    row: &Row,
    place: &mut Place<'_>,
    settings: &Settings,
    machine: &Machine,
) -> anyhow::Result<RowResult> {
    let mut result = RowResult::new(row, place.size(), settings, machine);
    if let Some(why) = row.ours.missing(&settings.program) {
        println!("{}: not available: {why}", row.title);
        result.unavailable = Some(why);
        return Ok(result);
    }
    println!("{} …", row.title);
    let mut measuring = Measuring { row, place, settings, result };
    if let Err(error) = measuring.all() {
        stop_if_asked()?;
        println!("  FAILED: {error:#}");
        measuring.result.wrong = Some(format!("{error:#}"));
    }
    measuring.place.tidy();
    Ok(measuring.result)
}

struct Measuring<'a, 'p> {
    row: &'a Row,
    place: &'a mut Place<'p>,
    settings: &'a Settings,
    result: RowResult,
}

impl Measuring<'_, '_> {
    fn all(&mut self) -> anyhow::Result<()> {
        self.place.settle(self.row)?;
        for round in 0..self.row.rounds(self.settings.rounds) {
            self.undisturbed_round(round)?;
            if self.settings.others == Others::Always || self.settings.others == Others::Once && round == 0 {
                self.others()?;
            }
        }
        if matches!(self.row.work, Work::NoChange | Work::Verify) {
            self.check(self.row.ours)?;
            self.check(self.row.against)?;
        }
        if self.settings.syscalls && !matches!(self.row.work, Work::Beside(_)) {
            self.count_calls()?;
        }
        Ok(())
    }
    /// A round, measured again as long as others disturb it and there are repeats left.
    fn undisturbed_round(&mut self, round: u32) -> anyhow::Result<()> {
        for attempt in 0.. {
            let pair = self.pair(round)?;
            let disturbed = pair.iter().any(|sample| sample.disturbed);
            let last = attempt >= self.settings.repeats;
            self.tell(round, &pair, disturbed && !last);
            if !disturbed || last {
                let [ours, against] = pair;
                self.result.ours.samples.push(ours);
                self.result.against.samples.push(against);
                break;
            }
        }
        Ok(())
    }
    /// Ours and the other, one after the other; who goes first changes from round to round.
    fn pair(&mut self, round: u32) -> anyhow::Result<[Sample; 2]> {
        self.place.begin_round(self.row)?;
        if round.is_multiple_of(2) {
            let ours = self.sample(self.row.ours)?;
            Ok([ours, self.sample(self.row.against)?])
        } else {
            let against = self.sample(self.row.against)?;
            Ok([self.sample(self.row.ours)?, against])
        }
    }
    fn tell(&self, round: u32, [ours, against]: &[Sample; 2], again: bool) {
        let ratio = ours.seconds / against.seconds;
        let again = if again { "; others were busy: measured again" } else { "" };
        println!(
            "  round {}: {:.2} s, {} {:.2} s, ratio {ratio:.3}{again}",
            round + 1,
            ours.seconds,
            self.result.against.name,
            against.seconds
        );
    }
    /// Measures one run, and has its copy judged if one was written.
    fn sample(&mut self, tool: Tool) -> anyhow::Result<Sample> {
        stop_if_asked()?;
        self.place.before(self.row, tool)?;
        // Nobody pays for what was written before.
        self.place.flush_all()?;
        if self.row.caches == Caches::Cold {
            fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
        }
        let before = Busy::now();
        let (cost, server_p99_ms) = match self.row.work {
            Work::Beside(server) => {
                let (cost, latency) = self.place.run_beside(tool, server)?;
                println!("    {}: {:.2} s, the server's p99 {latency:.2} ms", tool.name(), cost.seconds);
                (cost, Some(latency))
            }
            _ => (self.place.run(tool)?, None),
        };
        let others = Busy::now().others_since(&before);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let disturbed = is_disturbed(others, cost.seconds, processors, self.settings.disturbed_share);
        if matches!(self.row.work, Work::FirstCopy | Work::Changed | Work::Beside(_)) && tool != Tool::Nobody
        {
            self.check(tool)?;
        }
        Ok(Sample {
            seconds: cost.seconds,
            cpu_seconds: cost.cpu_seconds,
            peak_kib: cost.peak_kib,
            read_kib: cost.read_kib,
            written_kib: cost.written_kib,
            others_cpu_seconds: others,
            disturbed,
            server_p99_ms,
        })
    }
    fn others(&mut self) -> anyhow::Result<()> {
        for tool in self.row.others {
            let missing = tool.missing(&self.settings.program);
            if let Some(why) = missing {
                self.result.other(*tool).missing = Some(why);
                continue;
            }
            // Their failing says nothing of ours.
            match self.sample(*tool) {
                Ok(sample) => {
                    println!("  {} {:.2} s", tool.name(), sample.seconds);
                    self.result.other(*tool).samples.push(sample);
                }
                Err(error) => {
                    stop_if_asked()?;
                    println!("  {} did not finish: {error:#}", tool.name());
                    self.result.other(*tool).missing = Some(format!("did not finish: {error:#}"));
                }
            }
        }
        Ok(())
    }
    fn check(&mut self, tool: Tool) -> anyhow::Result<()> {
        let differing = self.place.differences(tool)?;
        let contender = self.contender(tool);
        contender.equal = Some(differing.is_none() && contender.equal != Some(false));
        if let Some(differing) = differing.filter(|_| tool.must_be_exact()) {
            println!("  WRONG: after {} rsync would still change {differing}", tool.name());
            self.result.wrong = Some(format!("after {} rsync would still change {differing}", tool.name()));
        }
        Ok(())
    }
    /// One more run of each of the pair, with somebody who counts.
    fn count_calls(&mut self) -> anyhow::Result<()> {
        let scratch = self.place.scratch();
        let Some(counter) = Counter::find(scratch).filter(|_| self.result.entries > 0) else { return Ok(()) };
        self.result.counted_with = Some(counter.name().to_owned());
        self.place.begin_round(self.row)?;
        for tool in [self.row.ours, self.row.against] {
            stop_if_asked()?;
            let calls = self.counted(tool, counter, scratch)?;
            self.contender(tool).system_calls = Some(calls);
        }
        Ok(())
    }
    fn counted(&mut self, tool: Tool, counter: Counter, scratch: &Path) -> anyhow::Result<u64> {
        self.place.before(self.row, tool)?;
        counter.count(&self.place.argv(tool)?, scratch)
    }
    fn contender(&mut self, tool: Tool) -> &mut Contender {
        if tool == self.row.ours {
            &mut self.result.ours
        } else if tool == self.row.against {
            &mut self.result.against
        } else {
            self.result.other(tool)
        }
    }
}

fn stop_if_asked() -> anyhow::Result<()> {
    if signal::stop_requested() { anyhow::bail!("stopped by a signal") } else { Ok(()) }
}
