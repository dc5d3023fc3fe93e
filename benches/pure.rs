//! The pure parts that long runs spend their time in, alone: what is left out, asked once for each entry; names made
//! printable; the search for the primary's identifiers in what boots.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use diskmirror::identity::{IdentityMap, Kind, Pair};
use diskmirror::layer::cpio;
use diskmirror::retarget::Spellings;
use diskmirror::tree::{Excludes, RelPath};
use std::hint::black_box;
use std::time::Duration;

const MIB: usize = 1 << 20;
const FSTAB: &str = "\
# /etc/fstab: static file system information.
UUID=7f0c6b1e-0c58-4a64-9c0a-6a1f4a6f3b10 /      ext4 errors=remount-ro 0 1
UUID=1d6f4c0e-52a5-4d3b-8f1a-0d9b8e3c7a55 /boot  ext4 defaults          0 2
/dev/mapper/www-swap                      none   swap sw                0 0
";

/// What a usual server leaves out: asked for every entry of both sides.
fn excludes(c: &mut Criterion) {
    let patterns = ["/tmp/*", "/var/tmp/*", "/var/lib/diskmirror", "/srv/cache/*", "*.o", "build/"];
    let excludes = Excludes::new(patterns).expect("these are patterns");
    let dir = RelPath::from_bytes("usr/share/doc/libexample-dev/examples");
    c.bench_function("leave out one entry", |b| {
        b.iter(|| excludes.leaves_out(black_box(&dir), black_box(b"readme.txt"), false));
    });
}

fn paths(c: &mut Criterion) {
    let dir = RelPath::from_bytes("usr/share/doc/libexample-dev/examples");
    c.bench_function("join a path", |b| b.iter(|| black_box(&dir).join(black_box(b"readme.txt"))));
    c.bench_function("print a path", |b| b.iter(|| black_box(&dir).to_string()));
}

/// An encrypted server with volumes: identifiers of every length.
fn map() -> IdentityMap {
    let pairs = [
        (Kind::Table, "64c2e6a0", "9b1d0f37"),
        (Kind::Partition, "64c2e6a0-05", "9b1d0f37-05"),
        (Kind::Uuid, "7f0c6b1e-0c58-4a64-9c0a-6a1f4a6f3b10", "2c5a8e64-7d0f-4c39-a2d4-1f7e0b9c6d83"),
        (Kind::Uuid, "1d6f4c0e-52a5-4d3b-8f1a-0d9b8e3c7a55", "e0b7d2a9-3f46-4b1c-9d58-6c2f1a8e7b04"),
        (Kind::Mapper, "vda5_crypt", "vdb5_crypt"),
        (Kind::Group, "www", "mirror"),
        (Kind::Volume, "www/root", "mirror/root"),
        (Kind::Volume, "www/swap", "mirror/swap"),
    ];
    let pair = |(kind, primary, mirror): (Kind, &str, &str)| Pair {
        kind,
        primary: primary.to_owned(),
        mirror: mirror.to_owned(),
    };
    IdentityMap { pairs: pairs.map(pair).to_vec() }
}

/// Bytes that do not repeat, with an identifier near their end.
fn binary() -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let mut bytes: Vec<u8> = (0..4 * MIB).map(|_| next()).collect();
    let uuid = b"7f0c6b1e-0c58-4a64-9c0a-6a1f4a6f3b10";
    let at = bytes.len() - 1000;
    bytes[at..at + uuid.len()].copy_from_slice(uuid);
    bytes
}

fn identifiers(c: &mut Criterion) {
    let (map, binary) = (map(), binary());
    let spellings = Spellings::of(&map);
    assert_eq!(spellings.find_bytes(&binary).len(), 1, "what is planted is found");
    c.bench_function("rewrite an fstab", |b| {
        b.iter(|| spellings.rewrite_file(black_box("/etc/fstab"), black_box(FSTAB.as_bytes())));
    });
    let mut group = c.benchmark_group("binary");
    group.throughput(Throughput::Bytes(binary.len() as u64));
    group.bench_function("search 4 MiB for identifiers", |b| {
        b.iter(|| spellings.find_bytes(black_box(&binary)));
    });
    group.finish();
}

fn archives(c: &mut Criterion) {
    let names: Vec<String> = (0..2000).map(|n| format!("usr/lib/modules/driver-{n:04}.ko")).collect();
    let content = vec![7; 8192];
    let members = names.iter().map(|name| (name.as_bytes(), 0o100_644, content.as_slice()));
    let archive = cpio::write(members);
    let mut group = c.benchmark_group("initramfs");
    group.throughput(Throughput::Bytes(archive.len() as u64));
    group.bench_function("list 2,000 members", |b| {
        b.iter(|| {
            let mut source = black_box(archive.as_slice());
            let mut archive = cpio::Archive::begin(&mut source);
            std::iter::from_fn(|| archive.next_entry().expect("an archive")).count()
        });
    });
    group.finish();
}

/// Short: these are looked at for factors, not for per cents.
fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = pure;
    config = brief();
    targets = excludes, paths, identifiers, archives
}
criterion_main!(pure);
