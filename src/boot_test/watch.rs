//! From what is seen of a machine to what to do next, and to the verdict. Pure: time and figures are passed in.
//!
//! The serial console is believed first. Where the system does not speak there, the machine is watched from outside:
//! when it stands still, the passphrase is typed on its keyboard, and its power button is pressed; a system that
//! answers by shutting down in order has come up.

use super::signs::{self, Sign};
use crate::record::Verdict;
use std::time::Duration;

/// What QEMU reports of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The system has switched the machine off.
    PoweredOff,
    /// The machine was reset from inside.
    Reset,
    /// The system says that it panicked.
    Panicked,
}

/// How long is long, with this accelerator.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// When the test is given up.
    pub limit: Duration,
    /// How long a machine without work must stand still before it is helped.
    pub still: Duration,
    /// How long the power button may take to show an effect.
    pub power: Duration,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Since the machine was started.
    pub at: Duration,
    /// All that the serial console has printed, as plain text.
    pub serial: &'a str,
    /// How long it has been silent.
    pub silent: Duration,
    /// The firmware's own log.
    pub firmware: &'a str,
    /// What a screen in text mode shows; empty while the machine is at work.
    pub screen: &'a str,
    /// Bytes read from the disk so far.
    pub read_bytes: u64,
    /// How long the disk has not been asked for anything.
    pub disk_still: Duration,
    /// How long the processor has had next to nothing to do, too.
    pub all_still: Duration,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Look again.
    Wait,
    /// Type the passphrase on the serial console.
    TypeSerial,
    /// Type the passphrase (if there is one) on the keyboard, and Enter.
    TypeKeys,
    /// Press the power button.
    PressPower,
    /// It is over, for this reason.
    Decide(Verdict, String),
}

/// A kernel with its initramfs is never as small as this, and no loader with its menu as large.
const LOADED_BYTES: u64 = 6 << 20;
/// What opening a container brings about, at the least.
const OPENED_BYTES: u64 = 2 << 20;
/// A prompt is complete when nothing has followed for this long.
const PROMPT_COMPLETE: Duration = Duration::from_secs(1);
/// A busy processor may be a loader's menu that counts down, but not for longer: its key press has ended the count.
const NOTHING_LOADED: Duration = Duration::from_secs(30);
/// Tries a container.
const TRIES: u32 = 3;
/// Rounds of typing and pressing where the console says nothing.
const ROUNDS: u32 = 3;

/// What has been seen and done so far.
#[derive(Debug)]
pub struct Watch {
    containers: u32,
    patience: Patience,
    read_up_to: usize,
    prompts: u32,
    resets: u32,
    keys: u32,
    presses: u32,
    /// Bytes read when a passphrase was first typed on the keyboard.
    read_before_keys: Option<u64>,
    /// Nothing is done blindly before this.
    rest_until: Duration,
}

impl Watch {
    /// For a disk with this many encrypted containers.
    pub fn new(containers: u32, patience: Patience) -> Self {
        Watch {
            containers,
            patience,
            read_up_to: 0,
            prompts: 0,
            resets: 0,
            keys: 0,
            presses: 0,
            read_before_keys: None,
            rest_until: Duration::ZERO,
        }
    }

    /// What an event of QEMU's decides, if it does.
    pub fn event(&mut self, event: Event) -> Option<(Verdict, String)> {
        match event {
            Event::PoweredOff if self.presses > 0 => {
                Some((Verdict::Booted, "it answered the power button by shutting down".into()))
            }
            Event::PoweredOff => Some((Verdict::Emergency, "it switched itself off".into())),
            Event::Panicked => Some((Verdict::Emergency, "the kernel panicked".into())),
            Event::Reset => {
                self.resets += 1;
                // One restart is what a first start on new hardware may ask for (relabelling, a fallback loader).
                (self.resets > 1).then(|| (Verdict::Emergency, "it restarts again and again".into()))
            }
        }
    }

    /// What to do now.
    pub fn look(&mut self, seen: &Seen<'_>) -> Act {
        if let Some(act) = self.read(seen) {
            return act;
        }
        if seen.at >= self.patience.limit {
            return self.out_of_time(seen);
        }
        if seen.at < self.rest_until {
            return Act::Wait;
        }
        if seen.read_bytes < LOADED_BYTES { self.before_a_kernel(seen) } else { self.after_a_kernel(seen) }
    }

    /// Reads on where it ended the last time.
    fn read(&mut self, seen: &Seen<'_>) -> Option<Act> {
        if let Some((_, Sign::NoLoader(line))) = signs::first(seen.firmware, true) {
            return Some(Act::Decide(Verdict::NoLoader, line));
        }
        let (length, sign) = signs::first(&seen.serial[self.read_up_to..], seen.silent >= PROMPT_COMPLETE)?;
        self.read_up_to += length;
        Some(match sign {
            Sign::Booted(line) => Act::Decide(Verdict::Booted, line),
            Sign::Emergency(line) => Act::Decide(Verdict::Emergency, line),
            Sign::NoLoader(line) => Act::Decide(Verdict::NoLoader, line),
            Sign::Prompt => self.prompted(seen),
        })
    }

    fn prompted(&mut self, seen: &Seen<'_>) -> Act {
        self.prompts += 1;
        if self.prompts > TRIES * self.containers.max(1) {
            return Act::Decide(Verdict::Emergency, "it did not take the passphrase".into());
        }
        self.rest_until = seen.at + self.patience.still * 2;
        Act::TypeSerial
    }

    /// Nothing but firmware and loader has been read.
    fn before_a_kernel(&mut self, seen: &Seen<'_>) -> Act {
        if self.keys == 0 && seen.disk_still >= self.patience.still {
            return self.type_keys(seen);
        }
        if seen.disk_still >= NOTHING_LOADED {
            let kib = seen.read_bytes >> 10;
            let sign = format!("{kib} KiB were read from the disk, and no kernel was started");
            return Act::Decide(Verdict::NoLoader, sign);
        }
        Act::Wait
    }

    /// A kernel runs. One that speaks on the serial console is given time; one that does not is helped.
    fn after_a_kernel(&mut self, seen: &Seen<'_>) -> Act {
        let wait = if self.prompts > 0 { self.patience.still * 6 } else { self.patience.still };
        if seen.all_still < wait && seen.disk_still < wait * 6 {
            return Act::Wait;
        }
        if let Some(act) = shown(seen.screen) {
            return act;
        }
        let types = self.containers > 0 && self.prompts == 0;
        if types && self.keys <= self.presses && self.keys < ROUNDS {
            return self.type_keys(seen);
        }
        if self.presses < ROUNDS {
            self.presses += 1;
            self.rest_until = seen.at + self.patience.power;
            return Act::PressPower;
        }
        if types && !self.has_opened(seen) {
            return Act::Decide(Verdict::NoPrompt, NOBODY_ASKED.into());
        }
        Act::Decide(Verdict::Emergency, "it stands still, and does not answer the power button".into())
    }

    fn type_keys(&mut self, seen: &Seen<'_>) -> Act {
        self.keys += 1;
        if seen.read_bytes >= LOADED_BYTES {
            self.read_before_keys.get_or_insert(seen.read_bytes);
        }
        self.rest_until = seen.at + self.patience.still;
        Act::TypeKeys
    }

    /// Whether what was typed on the keyboard has opened anything.
    fn has_opened(&self, seen: &Seen<'_>) -> bool {
        self.read_before_keys.is_some_and(|before| seen.read_bytes >= before + OPENED_BYTES)
    }

    fn out_of_time(&self, seen: &Seen<'_>) -> Act {
        let limit = self.patience.limit.as_secs();
        if self.containers > 0
            && self.prompts == 0
            && self.read_before_keys.is_some()
            && !self.has_opened(seen)
        {
            return Act::Decide(Verdict::NoPrompt, NOBODY_ASKED.into());
        }
        Act::Decide(Verdict::Timeout, format!("no login prompt within {limit} seconds"))
    }
}

/// What a screen that stands still decides. A prompt there is answered as any other: blindly.
fn shown(screen: &str) -> Option<Act> {
    let (verdict, line) = match signs::first(screen, true)?.1 {
        Sign::Booted(line) => (Verdict::Booted, line),
        Sign::Emergency(line) => (Verdict::Emergency, line),
        Sign::NoLoader(line) => (Verdict::NoLoader, line),
        Sign::Prompt => return None,
    };
    Some(Act::Decide(verdict, line))
}

const NOBODY_ASKED: &str =
    "no prompt on the serial console, and nothing happened when the passphrase was typed";

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const PATIENCE: Patience = Patience { limit: secs(900), still: secs(10), power: secs(60) };

    fn seen(at: u64, serial: &str, read_mib: u64, still: u64) -> Seen<'_> {
        Seen {
            at: secs(at),
            serial,
            silent: secs(2),
            firmware: "",
            screen: "",
            read_bytes: read_mib << 20,
            disk_still: secs(still),
            all_still: secs(still),
        }
    }

    fn verdict(act: &Act) -> Option<Verdict> {
        match act {
            Act::Decide(verdict, _) => Some(*verdict),
            _ => None,
        }
    }

    #[test]
    fn a_prompt_on_the_serial_console_is_answered_once_and_a_login_prompt_decides() {
        let mut watch = Watch::new(1, PATIENCE);
        let prompt = "Please unlock disk a: ";
        assert_eq!(watch.look(&seen(20, prompt, 40, 0)), Act::TypeSerial);
        assert_eq!(watch.look(&seen(21, prompt, 40, 12)), Act::Wait, "it was answered");
        let up = format!("{prompt}\nserver login: ");
        assert_eq!(verdict(&watch.look(&seen(40, &up, 90, 0))), Some(Verdict::Booted));
    }

    #[test]
    fn a_passphrase_that_is_not_taken_is_not_typed_for_ever() {
        let mut watch = Watch::new(1, PATIENCE);
        let mut text = String::new();
        for n in 0..3 {
            text += "Please unlock disk a: \n";
            assert_eq!(watch.look(&seen(20 + n, &text, 40, 0)), Act::TypeSerial);
        }
        text += "Please unlock disk a: ";
        assert_eq!(verdict(&watch.look(&seen(30, &text, 40, 0))), Some(Verdict::Emergency));
    }

    #[test]
    fn where_the_console_is_silent_keys_are_typed_and_the_power_button_tells() {
        let mut watch = Watch::new(1, PATIENCE);
        assert_eq!(watch.look(&seen(20, "", 40, 2)), Act::Wait, "it is at work");
        assert_eq!(watch.look(&seen(30, "", 40, 10)), Act::TypeKeys);
        assert_eq!(watch.look(&seen(31, "", 41, 10)), Act::Wait, "it is given time");
        assert_eq!(watch.look(&seen(60, "", 140, 10)), Act::PressPower);
        assert_eq!(watch.event(Event::PoweredOff).map(|(verdict, _)| verdict), Some(Verdict::Booted));
    }

    #[test]
    fn where_the_screen_is_in_text_mode_it_is_read_when_it_stands_still() {
        for (line, expected) in [("server login:", Verdict::Booted), ("(initramfs)", Verdict::Emergency)] {
            let mut watch = Watch::new(1, PATIENCE);
            let screen = Seen { screen: "Please unlock disk a:", ..seen(30, "", 40, 10) };
            assert_eq!(watch.look(&screen), Act::TypeKeys);
            let screen = Seen { screen: line, ..seen(60, "", 140, 10) };
            assert_eq!(verdict(&watch.look(&screen)), Some(expected));
        }
    }

    #[test]
    fn a_disk_that_is_never_opened_and_one_that_stands_still_are_told_apart() {
        for (read_later, expected) in [(40, Verdict::NoPrompt), (140, Verdict::Emergency)] {
            let mut watch = Watch::new(1, PATIENCE);
            let mut acts = vec![watch.look(&seen(30, "", 40, 10))];
            acts.extend((1..9).map(|n| watch.look(&seen(30 + 90 * n, "", read_later, 20))));
            let ended = acts.iter().find_map(verdict);
            assert_eq!(ended, Some(expected), "{acts:?}");
            assert_eq!(acts.iter().filter(|act| **act == Act::PressPower).count(), 3);
        }
    }

    #[test]
    fn a_plain_disk_is_typed_nothing_but_enter_before_a_kernel() {
        let mut watch = Watch::new(0, PATIENCE);
        assert_eq!(watch.look(&seen(12, "", 1, 10)), Act::TypeKeys, "a menu may wait for it");
        assert_eq!(watch.look(&seen(40, "", 40, 10)), Act::PressPower);
    }

    #[test]
    fn a_loader_that_loads_nothing_is_told_by_what_it_has_read() {
        let mut watch = Watch::new(1, PATIENCE);
        assert_eq!(watch.look(&seen(12, "", 0, 10)), Act::TypeKeys);
        assert_eq!(watch.look(&seen(25, "", 0, 23)), Act::Wait);
        assert_eq!(verdict(&watch.look(&seen(42, "", 0, 31))), Some(Verdict::NoLoader));
        let firmware =
            Seen { firmware: "Booting from Hard Disk...\nNo bootable device.\n", ..seen(3, "", 0, 0) };
        assert_eq!(verdict(&Watch::new(1, PATIENCE).look(&firmware)), Some(Verdict::NoLoader));
    }

    #[test]
    fn the_time_limit_and_what_the_machine_does_by_itself_decide_too() {
        assert_eq!(verdict(&Watch::new(1, PATIENCE).look(&seen(900, "", 40, 0))), Some(Verdict::Timeout));
        let mut watch = Watch::new(1, PATIENCE);
        assert_eq!(watch.event(Event::Reset), None);
        for event in [Event::Reset, Event::PoweredOff, Event::Panicked] {
            assert_eq!(watch.event(event).map(|(verdict, _)| verdict), Some(Verdict::Emergency));
        }
    }
}
