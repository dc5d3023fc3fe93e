//! What is known about each layer of a disk, one file a layer: the tool's text to data, data to an invocation,
//! file text to file text. Pure.

pub mod blkid;
pub mod boot_block;
pub mod compression;
pub mod cpio;
pub mod crypttab;
pub mod device_spec;
pub mod efi_entries;
pub mod encoding;
pub mod filesystem;
pub mod fill;
pub mod fstab;
pub mod grub_core;
pub mod initramfs;
pub mod json;
pub mod lines;
pub mod lsblk;
pub mod luks;
pub mod lvm;
pub mod lvm_conf;
pub mod mounts;
pub mod octal;
pub mod partition_table;
pub mod passwd;
pub mod pe;
pub mod schedule;
pub mod swap;
