//! Nothing: this crate is what it depends on. See its `Cargo.toml`.
