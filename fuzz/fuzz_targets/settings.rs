//! A settings file, and a cluster key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::{ClusterKey, Settings};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trialogue.toml");
    std::fs::write(&path, bytes).expect("a file");
    drop(Settings::read(&path, None));
    drop(ClusterKey::read(&path));
});
