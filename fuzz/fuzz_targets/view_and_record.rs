//! The content of a view file, and an entry of a log.
#![no_main]

use chat::Record;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(view) = api::v1::View::decode(bytes)
        && let Ok(view) = api::replica::read_view(view)
    {
        view.primary();
    }
    drop(Record::decode(bytes));
});
