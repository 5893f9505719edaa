# One command a task, for `just` (https://just.systems). CONTRIBUTING.md says which to run when.

# What there is.
default:
    @just --list

# Three replicas and the page, in ./trialogue-data.
up *options:
    cargo run --release -- up {{ options }}

# What must hold before a change lands.
gate:
    .ci/run

# What the tests need beyond Rust and a C compiler.
install:
    tests/install

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- --deny warnings

# The tests of the protocol, with a number of seeds.
protocol seeds="20000":
    SEEDS={{ seeds }} cargo test --release -p protocol -p simulator

# Whole processes; a name picks one file of tests/tests.
whole *test:
    cargo build --release -p trialogue
    cargo test --release -p whole-process-tests {{ if test == "" { "" } else { "--test " + test } }}

# Random clusters from these seeds, on all cores.
seeds range="1..100000":
    cargo run --release -p simulator -- --seeds {{ range }}

# One seed, a line an event.
trace seed:
    cargo run --release -p simulator -- --seed {{ seed }} --trace

# That the simulator finds each planted fault, or those that are named.
planted *names:
    crates/simulator/planted/run {{ names }}

# Texts that tests compare, written anew: read what changed before it is committed.
rewrite:
    REWRITE=1 cargo test --release -p protocol --test dialogues --test stories
    REWRITE=1 cargo test --release -p trialogue screens
    REWRITE=1 cargo test --release -p server schema

# Three replicas under every fault for some minutes.
prove minutes="30":
    cargo run --release -- prove --minutes {{ minutes }}

# Sending, as a ratio to calls that do nothing.
floor:
    cargo build --release -p trialogue
    cargo run --release -p whole-process-tests --example floor

# Two commits measured in turn: each figure of `trialogue bench` as a ratio.
compare before after="" rounds="5":
    tests/compare {{ before }} "{{ after }}" {{ rounds }}

# What crowds cost an honest sender.
crowds:
    cargo build --release -p trialogue
    cargo run --release -p whole-process-tests --example crowds

# How quick the service is here, beside what this machine could do at most.
bench *options:
    cargo run --release -- bench {{ options }}
