//! The programs of the EFI system partition, and what unified kernel images hold.

use super::early::{Early, MOST_UNPACKED};
use super::{Content, Search};
use crate::layer::{initramfs, pe};
use crate::units::Bytes;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;

/// The most that a program may have: a unified kernel image holds an initramfs.
const MOST_BYTES: u64 = initramfs::MOST_BYTES;

/// The longest command line that is looked at: the kernel's own limit is 4 KiB on most machines.
const MOST_LINE: u64 = 64 << 10;

/// Programs that are looked into.
const MOST_PROGRAMS: usize = 200;

impl Search<'_> {
    /// Every EFI program. Of a unified kernel image, its command line and its initramfs.
    pub(super) fn programs(&mut self, early: &mut Early) -> io::Result<()> {
        let paths = self.program_paths()?;
        for (number, path) in paths.iter().enumerate() {
            if number == MOST_PROGRAMS {
                self.not_looked_into(path, None, &format!("it is one of more than {MOST_PROGRAMS} programs"));
                break;
            }
            if let Some(mut program) = self.files.open(path)? {
                self.program(path, &mut *program, early)?;
            }
        }
        Ok(())
    }

    fn program(&mut self, path: &str, program: &mut dyn Content, early: &mut Early) -> io::Result<()> {
        let bytes = program.seek(SeekFrom::End(0))?;
        self.unpacked += bytes.min(MOST_BYTES);
        if bytes > MOST_BYTES || self.unpacked > MOST_UNPACKED {
            self.not_looked_into(
                path,
                None,
                &format!(
                    "larger than {}, or all are larger than {}",
                    Bytes(MOST_BYTES),
                    Bytes(MOST_UNPACKED)
                ),
            );
            return Ok(());
        }
        let header = span(program, 0..pe::HEADER_BYTES)?;
        let Some(unified) = pe::parse(&header).filter(pe::Image::is_unified_kernel) else {
            program.rewind()?;
            let hits = self.spellings.find_in_stream(&mut &mut *program)?;
            self.stale(path, None, hits);
            return Ok(());
        };
        let place = unified.section_place(".cmdline").unwrap_or_default();
        if place.end - place.start > MOST_LINE {
            self.not_looked_into(path, Some(".cmdline"), &format!("larger than {}", Bytes(MOST_LINE)));
        } else {
            let line = span(program, place)?;
            self.stale(path, Some(".cmdline"), self.spellings.find(&line));
            early.command_line(path, &line);
        }
        match unified.section_place(".initrd") {
            Some(place) => self.image(path, &mut Section { program, at: place.start, place }, early),
            None => Ok(()),
        }
    }

    fn program_paths(&mut self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for mount in ["/boot/efi", "/efi", "/boot"] {
            let names = self.list(mount)?;
            let Some(efi) = names.iter().find(|name| name.eq_ignore_ascii_case("efi")) else { continue };
            for vendor in self.list(&format!("{mount}/{efi}"))? {
                let dir = format!("{mount}/{efi}/{vendor}");
                let programs = self.list(&dir)?.into_iter();
                let programs = programs.filter(|name| name.to_lowercase().ends_with(".efi"));
                paths.extend(programs.map(|name| format!("{dir}/{name}")));
                if paths.len() > MOST_PROGRAMS {
                    return Ok(paths);
                }
            }
        }
        Ok(paths)
    }
}

/// What of a file lies there; less, where it ends before.
fn span(mut file: &mut dyn Content, place: Range<u64>) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(place.start))?;
    let mut bytes = Vec::new();
    (&mut file).take(place.end - place.start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A section as a file of its own.
struct Section<'a> {
    program: &'a mut dyn Content,
    place: Range<u64>,
    at: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut here = self.fill_buf()?;
        let read = here.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Section<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.place.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let here = self.program.fill_buf()?;
        Ok(&here[..here.len().min(left)])
    }

    fn consume(&mut self, read: usize) {
        self.program.consume(read);
        self.at += read as u64;
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (self.place.start, i64::try_from(at).map_err(io::Error::other)?),
            SeekFrom::End(by) => (self.place.end, by),
            SeekFrom::Current(by) => (self.at, by),
        };
        let at = from.checked_add_signed(by).filter(|at| *at >= self.place.start);
        self.at = self.program.seek(SeekFrom::Start(at.ok_or(io::ErrorKind::InvalidInput)?))?;
        Ok(self.at - self.place.start)
    }
}
