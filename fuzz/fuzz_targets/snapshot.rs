//! A snapshot that has arrived: any bytes, alone or in the place of some of a whole one's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use store::{Writer, check_snapshot};

/// A whole database without companions.
fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chat.db");
        drop(Writer::open(&path).expect("a database"));
        check_snapshot(&path, None).expect("a sound one");
        std::fs::read(&path).expect("its bytes")
    })
}

fuzz_target!(|input: (bool, u32, &[u8])| {
    let (alone, place, bytes) = input;
    let mut content = if alone { bytes.to_vec() } else { whole().to_vec() };
    if !alone {
        let place = place as usize % content.len();
        let length = bytes.len().min(content.len() - place);
        content[place..place + length].copy_from_slice(&bytes[..length]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("chat.db");
    std::fs::write(&path, content).expect("a file");
    drop(check_snapshot(&path, None));
});
