//! Signals that end a run (TERM, INT, HUP) or ask how far it is (USR1), as flags that work looks at.
//!
//! A handler only stores to an atomic: everything else happens where the flag is read.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static STOP: AtomicBool = AtomicBool::new(false);
static TELL: AtomicBool = AtomicBool::new(false);

extern "C" fn on_stop(_: libc::c_int) {
    STOP.store(true, Relaxed);
}

extern "C" fn on_tell(_: libc::c_int) {
    TELL.store(true, Relaxed);
}

/// Installs the handlers. Called once, by main, before any thread is started.
pub fn install() {
    for (signal, handler) in [
        (libc::SIGTERM, on_stop as extern "C" fn(libc::c_int)),
        (libc::SIGINT, on_stop),
        (libc::SIGHUP, on_stop),
        (libc::SIGUSR1, on_tell),
    ] {
        // SAFETY: sigaction is given a zeroed, then filled structure, and a handler that is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Whether the work should end at the next safe point.
pub fn stop_requested() -> bool {
    STOP.load(Relaxed)
}

/// Whether somebody asked (`SIGUSR1`) for a line about progress since the last call.
pub fn progress_requested() -> bool {
    TELL.swap(false, Relaxed)
}
