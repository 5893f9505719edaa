//! People who write and listen over a real service, and the count of what was lost, doubled or disordered: outside of the
//! service, by what its clients were told.
//!
//! Those who use it bring the habits: `demo` and the tests write steadily, `prove` at random, the playground without an end.

mod count;
mod ledger;
mod listener;
mod person;
mod writer;

pub use count::{Content, Count};
pub use ledger::{Ledger, ListenerId};
pub use listener::Listener;
pub use person::Person;
pub use writer::{Acknowledged, Writer, longest_gap};
