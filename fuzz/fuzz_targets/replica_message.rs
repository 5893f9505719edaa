//! What another replica sends, as bytes.
#![no_main]

use api::replica::{from_wire, to_wire};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = api::v1::ReplicaMessage::decode(bytes) else { return };
    if let Ok(message) = from_wire(wire) {
        let back = from_wire(to_wire(&message)).expect("a message that was read can be sent");
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
    }
});
