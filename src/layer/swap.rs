//! Swap space: what the kernel says of it, and how the mirror's is made.

use crate::step::Invocation;

// -- making

/// Makes swap space.
pub fn make(device: &str, uuid: &str, label: Option<&str>) -> Invocation {
    let mut args = vec!["--uuid", uuid];
    if let Some(label) = label {
        args.extend(["--label", label]);
    }
    args.push(device);
    Invocation::new("mkswap", args)
}
