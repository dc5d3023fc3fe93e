//! Quantities: bytes, sectors and how they are written for people.
//!
//! Everything is planned in bytes; sectors appear only where a tool speaks of them, and always together with
//! their size. Binary prefixes, three significant figures (`3.10 GiB`); JSON carries the exact numbers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// One mebibyte: what partitions are aligned to.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// This many mebibytes.
    pub const fn mib(n: u64) -> Self {
        Bytes(n * MIB)
    }
    /// This many gibibytes.
    pub const fn gib(n: u64) -> Self {
        Bytes(n * GIB)
    }
    /// The largest multiple of `unit` bytes that is not above this.
    pub const fn round_down(self, unit: u64) -> Self {
        Bytes(self.0 / unit * unit)
    }
    /// The smallest multiple of `unit` bytes that is not below this.
    pub const fn round_up(self, unit: u64) -> Self {
        Bytes(self.0.div_ceil(unit) * unit)
    }
    /// The difference, or zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Bytes(self.0.saturating_sub(other.0))
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        Bytes(self.0 + other.0)
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        Bytes(self.0 - other.0)
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes(0), Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PREFIXES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64;
        let mut prefix = "";
        for name in PREFIXES {
            value /= 1024.0;
            prefix = name;
            if value < 999.5 {
                break;
            }
        }
        let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        f.pad(&format!("{value:.decimals$} {prefix}"))
    }
}

impl FromStr for Bytes {
    type Err = String;

    /// `512`, `100K`, `3MiB`, `1.5G`: binary prefixes, whatever their spelling.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a size (try 100M or 2GiB)"))?;
        let suffix = suffix.trim().to_ascii_lowercase();
        let shift = match suffix.trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err(format!("{text:?} has an unknown unit (use K, M, G or T)")),
        };
        Ok(Bytes((value * (1u64 << shift) as f64) as u64))
    }
}

/// A number of logical sectors of a disk whose sector size stands beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sectors(pub u64);

impl Sectors {
    /// As bytes, for a disk with logical sectors of `sector_size` bytes.
    pub const fn bytes(self, sector_size: u32) -> Bytes {
        Bytes(self.0 * sector_size as u64)
    }
    /// The whole sectors in `bytes`.
    pub const fn of(bytes: Bytes, sector_size: u32) -> Self {
        Sectors(bytes.0 / sector_size as u64)
    }
}

/// Bytes a second over a time.
pub fn rate(bytes: Bytes, elapsed: Duration) -> Bytes {
    Bytes((bytes.0 as f64 / elapsed.as_secs_f64().max(1e-6)) as u64)
}

/// `412,906`: how counts are written for people.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `a`, `a and b`, `a, b and c`.
pub fn join_words(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `0.8s`, `42s`, `1m42s`, `3h05m`: how times are written for people.
pub fn duration(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{secs}s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        3600..172_800 => format!("{}h{:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{} days", secs / 86_400),
    }
}

/// How often something is done, in seconds: written as a number with `s`, `m`, `h`, `d` or `w`. 0 is every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(pub u64);

const SPANS: [(u64, char); 5] = [(604_800, 'w'), (86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no span of time: a number with s, m, h, d or w, as \"12h\" or \"1d\"");
        if text == "0" {
            return Ok(Every(0));
        }
        let span = SPANS.iter().find(|(_, unit)| text.ends_with(*unit)).ok_or_else(wrong)?;
        let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
        number.checked_mul(span.0).map(Every).ok_or_else(wrong)
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SPANS.iter().find(|(secs, _)| self.0 > 0 && self.0.is_multiple_of(*secs)) {
            Some((secs, unit)) => write!(f, "{}{unit}", self.0 / secs),
            None => f.write_str("0"),
        }
    }
}

/// How often something is done by a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Often {
    /// Each night.
    Daily,
    /// Each Sunday.
    Weekly,
    /// On the first of each month.
    Monthly,
}

const OFTEN: [(&str, Often); 3] =
    [("daily", Often::Daily), ("weekly", Often::Weekly), ("monthly", Often::Monthly)];

impl FromStr for Often {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = OFTEN.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, often)| *often)
            .ok_or_else(|| format!("{text:?} is none of \"daily\", \"weekly\" and \"monthly\""))
    }
}

impl fmt::Display for Often {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = OFTEN.iter().find(|(_, often)| often == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// How much others may be stalled while work goes on, in percent of the time; none: nobody is considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Considerate(pub Option<u8>);

impl Considerate {
    /// If nobody says otherwise.
    pub const USUAL: Self = Considerate(Some(10));

    /// As a share of the time, 0 to 1.
    pub fn share(self) -> Option<f64> {
        self.0.map(|percent| f64::from(percent) / 100.0)
    }
}

impl FromStr for Considerate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Considerate(None));
        }
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        let percent = percent.filter(|percent| (1..100).contains(percent));
        percent
            .map(|percent| Considerate(Some(percent)))
            .ok_or_else(|| format!("{text:?} is no share of the time: \"1%\" to \"99%\", or \"off\""))
    }
}

impl fmt::Display for Considerate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(percent) => write!(f, "{percent}%"),
            None => f.write_str("off"),
        }
    }
}

/// Bytes a second, more than none: written as a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Bytes(0) => {
                Err(format!("{text:?} would never end: a limit is above 0; without one, leave it out"))
            }
            Bytes(rate) => Ok(Rate(rate)),
        }
    }
}

impl fmt::Display for Rate {
    /// As it is read: exact, in the largest unit of which it is a multiple.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |shift: &u32| self.0.is_multiple_of(1 << *shift);
        let shift = [40, 30, 20, 10].into_iter().find(fits).unwrap_or(0);
        write!(f, "{}{}", self.0 >> shift, ["", "K", "M", "G", "T"][shift as usize / 10])
    }
}

/// A part of a whole: written as a number of per cent, as `5%`. Kept in thousandths of a per cent; 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// How many such parts make the whole; none if it is nothing.
    pub const fn parts(self) -> Option<u64> {
        if self.0 == 0 { None } else { Some(100_000u64.div_ceil(self.0 as u64)) }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no share: a number from 0.001 to 100 with a % behind it, as \"5%\"");
        if text == "0" || text == "0%" {
            return Ok(Share(0));
        }
        let number: f64 =
            text.strip_suffix('%').and_then(|number| number.trim().parse().ok()).ok_or_else(wrong)?;
        if (0.001..=100.0).contains(&number) {
            Ok(Share((number * 1000.0).round() as u32))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_with_three_figures() {
        let shown = [0, 1023, 1024, 10_240, 102_400, 1_048_575, 3_328_599_655].map(|n| Bytes(n).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "10.0 KiB", "100 KiB", "1.00 MiB", "3.10 GiB"]);
    }

    #[test]
    fn sizes_are_read_in_every_usual_spelling() {
        for text in ["1536", "1.5K", "1.5KiB", "1.5kb", "1.5 k"] {
            assert_eq!(text.parse(), Ok(Bytes(1536)), "{text}");
        }
        assert!("12 parsecs".parse::<Bytes>().is_err());
        assert!("".parse::<Bytes>().is_err());
    }

    #[test]
    fn a_share_knows_how_many_of_it_make_the_whole() {
        let parts = ["100%", "50%", "30%", "5%", "0.001%", "0"].map(|text| text.parse().map(Share::parts));
        let known = [Some(1), Some(2), Some(4), Some(20), Some(100_000), None];
        assert_eq!(parts, known.map(Ok));
        assert_eq!("2.5 %".parse().map(|share: Share| share.to_string()), Ok("2.5%".into()));
        for text in ["5", "-1%", "101%", "a%", "NaN%", "%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_and_times_read_like_prose() {
        assert_eq!([0, 999, 1000, 412_906].map(thousands), ["0", "999", "1,000", "412,906"]);
        assert_eq!(duration(Duration::from_secs(102)), "1m42s");
        assert_eq!(duration(Duration::from_millis(840)), "0.8s");
        assert_eq!(duration(Duration::from_secs(11_100)), "3h05m");
    }

    #[test]
    fn rounding_keeps_to_the_unit() {
        assert_eq!(Bytes(MIB + 1).round_up(MIB), Bytes(2 * MIB));
        assert_eq!(Bytes(2 * MIB - 1).round_down(MIB), Bytes(MIB));
    }

    #[test]
    fn a_span_of_time_is_read_as_it_is_written() {
        for (text, secs) in
            [("0", 0), ("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("2w", 1_209_600)]
        {
            assert_eq!(text.parse(), Ok(Every(secs)));
            assert_eq!(Every(secs).to_string(), text);
        }
        for text in ["", "d", "1", "1.5h", "-1d", "1 d", "daily", "99999999999999999w"] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_read_as_it_is_written_and_is_never_none() {
        for (text, rate) in
            [("50M", 50 << 20), ("1000", 1000), ("3K", 3072), ("2G", 2 << 30), ("1536K", 1536 << 10)]
        {
            assert_eq!(text.parse(), Ok(Rate(rate)));
            assert_eq!(Rate(rate).to_string(), text);
        }
        for text in ["0", "0.1", "", "fast", "-1M"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn consideration_is_a_share_of_the_time_or_off() {
        for (text, share) in [("10%", Some(0.1)), ("99%", Some(0.99)), ("off", None)] {
            let read: Considerate = text.parse().expect("it is one");
            assert_eq!((read.share(), read.to_string().as_str()), (share, text));
        }
        for text in ["", "10", "0%", "100%", "300%", "1.5%", "on"] {
            assert!(text.parse::<Considerate>().is_err(), "{text}");
        }
    }
}
