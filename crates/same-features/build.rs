//! There is something to run, so that what runs at build time is built, too.

fn main() {}
