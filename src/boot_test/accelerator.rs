//! Whether the processor helps. `/dev/kvm` may exist and abort, hang, or be played by another machine and be slower than
//! no help at all: it is believed only if a small machine comes to its end with it about as soon as without.

use super::UNTOUCHED;
use super::confined::Confinement;
use super::machine::PROGRAM;
use crate::refusal::Failure;
use crate::sys::read;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long the small machine may take: it needs a tenth of a second.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// What KVM may take longer, in a machine that is busy.
const SLACK: Duration = Duration::from_millis(800);
const TICK: Duration = Duration::from_millis(20);
/// isa-debug-exit ends QEMU with twice the written value, plus one.
const WRITTEN: i32 = 0x10;
const EXIT_CODE: i32 = WRITTEN << 1 | 1;

/// A boot sector that enters 64-bit mode, writes `K` to the debug console (port 0xe9), and ends the machine by writing
/// 0x10 to port 0xf4. In assembler, at 0x7c00:
///
/// ```text
/// cli; xor ax,ax; mov ds,ax; mov es,ax; cld
/// mov di,0x1000; mov cx,0x1800; rep stosw               ; three empty page tables
/// mov word [0x1000],0x2003; mov word [0x2000],0x3003    ; level 4, level 3
/// mov byte [0x3000],0x83                                ; level 2: one page of 2 MiB
/// o32 lgdt [gdtptr]
/// mov eax,cr4; or al,0x20; mov cr4,eax                  ; PAE
/// mov eax,0x1000; mov cr3,eax
/// mov ecx,0xc0000080; rdmsr; or ax,0x100; wrmsr         ; EFER.LME
/// mov eax,cr0; or eax,0x80000001; mov cr0,eax           ; paging, protection
/// jmp 8:long
/// long: mov al,'K'; out 0xe9,al; mov al,0x10; out 0xf4,al; hlt
/// gdt: dq 0, 0x00209a0000000000; gdtptr: dw 15; dd gdt
/// ```
const BOOT_SECTOR: [u8; 126] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xfc, 0xbf, 0x00, 0x10, 0xb9, 0x00, 0x18, 0xf3, 0xab, 0xc7,
    0x06, 0x00, 0x10, 0x03, 0x20, 0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, 0xc6, 0x06, 0x00, 0x30, 0x83, 0x66,
    0x0f, 0x01, 0x16, 0x78, 0x7c, 0x0f, 0x20, 0xe0, 0x0c, 0x20, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x10,
    0x00, 0x00, 0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01, 0x0f,
    0x30, 0x0f, 0x20, 0xc0, 0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea, 0x56, 0x7c, 0x08,
    0x00, 0xb0, 0x4b, 0xe6, 0xe9, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0x0f, 0x1f, 0x80, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20,
    0x00, 0x0f, 0x00, 0x68, 0x7c, 0x00, 0x00,
];

/// The processor of a machine that is translated.
const TRANSLATED: &str = "qemu64,+aes,+pclmulqdq,+ssse3,+sse4.1,+sse4.2,+popcnt";

/// What runs the machine's processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's own processor.
    Kvm,
    /// Translation: some ten times slower.
    Tcg,
}

impl Accelerator {
    /// The name in the history, and QEMU's.
    pub fn name(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        }
    }

    /// How many processors the machine gets. Translated ones wait for each other, and on a busy host the kernel takes that
    /// for a lockup.
    pub fn processors(self) -> usize {
        match self {
            Accelerator::Kvm => std::thread::available_parallelism().map_or(1, |count| count.get().min(2)),
            Accelerator::Tcg => 1,
        }
    }

    /// QEMU's options. Without KVM the plainest processor boots quickest, if it has the instructions for AES and CRC32C: in
    /// software inside of a translated machine a cipher is so slow that systemd waits in vain for what lies behind it. With
    /// a clock that counts instructions (-icount) OVMF takes minutes to its first read of a disk.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accelerator::Tcg => ["-accel", "tcg,thread=multi", "-cpu", TRANSLATED],
        }
    }
}

/// Finds out which one works here, and whether QEMU has its filter of system calls; `dir` is private.
///
/// # Errors
/// A `Failure` if QEMU runs with neither.
pub fn probe(dir: &Path, confined: &mut Confinement) -> Result<Accelerator> {
    let mut sector = [0; 512];
    sector[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(dir.join("probe"), sector).context("cannot write a boot sector")?;
    let mut tcg = small_machine(Accelerator::Tcg, dir, confined)?;
    if tcg.is_none() && confined.lacks_filter(&said(dir)) {
        tcg = small_machine(Accelerator::Tcg, dir, confined)?;
    }
    let has_kvm = Path::new("/dev/kvm").exists();
    let kvm = if has_kvm { small_machine(Accelerator::Kvm, dir, confined)? } else { None };
    match (kvm, tcg) {
        (Some(kvm), Some(tcg)) if kvm <= tcg * 2 + SLACK => Ok(Accelerator::Kvm),
        (_, Some(_)) => Ok(Accelerator::Tcg),
        (Some(_), None) => Ok(Accelerator::Kvm),
        (None, None) => Err(Failure::new(format!("{PROGRAM} does not run"), UNTOUCHED).why(said(dir)).into()),
    }
}

/// What QEMU said of its last small machine.
fn said(dir: &Path) -> String {
    let said = read::file(&dir.join("probe.log"), read::STATE_BYTES).unwrap_or_default();
    String::from_utf8_lossy(&said).into_owned()
}

/// How long a machine took that does next to nothing; none if it did not come to its end.
fn small_machine(accelerator: Accelerator, dir: &Path, confined: &Confinement) -> Result<Option<Duration>> {
    let mut arguments = accelerator.arguments().to_vec();
    arguments.extend(["-m", "64", "-nodefaults", "-display", "none", "-no-reboot"]);
    arguments.extend(["-chardev", "file,id=said,path=probe.said"]);
    arguments.extend(["-device", "isa-debugcon,iobase=0xe9,chardev=said"]);
    arguments.extend(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
    arguments.extend(["-drive", "file=probe,format=raw,if=ide,read-only=off,snapshot=on"]);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let log = std::fs::File::create(dir.join("probe.log"))?;
    let begun = Instant::now();
    let mut child = confined
        .command(&arguments, dir, &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    while begun.elapsed() < PROBE_LIMIT {
        if let Some(status) = child.try_wait()? {
            let said = read::file(&dir.join("probe.said"), read::STATE_BYTES).unwrap_or_default();
            let came_through = status.code() == Some(EXIT_CODE) && said == b"K";
            return Ok(came_through.then(|| begun.elapsed()));
        }
        std::thread::sleep(TICK);
    }
    // One that hangs in the kernel does not die at once: nobody waits for it.
    let _ = child.kill();
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_says_and_writes_what_the_probe_waits_for() {
        let out = |value: u8, port: u8| [0xb0, value, 0xe6, port];
        let holds = |bytes: &[u8]| BOOT_SECTOR.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(&out(b'K', 0xe9)) && holds(&out(WRITTEN as u8, 0xf4)));
        assert_eq!(EXIT_CODE, 33);
    }
}
