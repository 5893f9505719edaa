//! What was released of the protos stays as it is: no number gets another meaning, and nothing goes without its number being
//! reserved. Programs of two versions talk to each other by these numbers, and files of the view register are kept.
//!
//! `released.binpb` is what was released last. `REWRITE=1 cargo test --release -p api --test released` renews it, with a release.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use prost::Message;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto")
}

fn today() -> FileDescriptorSet {
    let files = ["chat", "replica"].map(|name| root().join(format!("trialogue/v1/{name}.proto")));
    protox::compile(files, [root()]).unwrap()
}

/// All messages, those in messages too, by name.
fn messages(set: &FileDescriptorSet) -> BTreeMap<String, DescriptorProto> {
    let mut all = BTreeMap::new();
    let mut rest: Vec<(String, DescriptorProto)> = Vec::new();
    for file in &set.file {
        rest.extend(file.message_type.iter().map(|message| (file.package().to_owned(), message.clone())));
    }
    while let Some((within, message)) = rest.pop() {
        let name = format!("{within}.{}", message.name());
        rest.extend(message.nested_type.iter().map(|nested| (name.clone(), nested.clone())));
        all.insert(name, message);
    }
    all
}

/// What a field is, but for its comments.
fn meaning(field: &FieldDescriptorProto) -> String {
    let (label, kind) = (field.label(), field.r#type());
    let (oneof, optional) = (field.oneof_index.is_some(), field.proto3_optional());
    format!(
        "{} {label:?} {kind:?} {} in a oneof: {oneof}, optional: {optional}",
        field.name(),
        field.type_name()
    )
}

/// All calls, with what they take and give.
fn calls(set: &FileDescriptorSet) -> Vec<String> {
    let services = set.file.iter().flat_map(|file| &file.service);
    let calls = services.flat_map(|service| {
        service.method.iter().map(move |call| {
            let streams = (call.client_streaming(), call.server_streaming());
            let (service, name) = (service.name(), call.name());
            format!(
                "{service}.{name}({}) gives {}, streams {streams:?}",
                call.input_type(),
                call.output_type()
            )
        })
    });
    calls.collect()
}

/// Whether a field of any message has this message as its type.
fn is_carried(name: &str, set: &FileDescriptorSet) -> bool {
    let kind = format!(".{name}");
    messages(set).values().flat_map(|message| &message.field).any(|field| field.type_name() == kind)
}

/// What of the released protos is not in these as it was.
fn broken(released: &FileDescriptorSet, now: &FileDescriptorSet) -> Vec<String> {
    let mut broken = Vec::new();
    let kept = messages(now);
    for (name, message) in messages(released) {
        let Some(kept) = kept.get(&name) else {
            // The fields that carried it are looked at with their own messages: all are gone too, and reserved.
            if is_carried(&name, now) || !is_carried(&name, released) {
                broken.push(format!("{name} is gone"));
            }
            continue;
        };
        for field in &message.field {
            let number = field.number();
            let reserved =
                kept.reserved_range.iter().any(|range| (range.start()..range.end()).contains(&number));
            match kept.field.iter().find(|kept| kept.number() == number) {
                Some(kept) if meaning(kept) == meaning(field) => {}
                Some(kept) => {
                    broken.push(format!("{name}: {number} was {}, and is {}", meaning(field), meaning(kept)));
                }
                None if reserved => {}
                None => broken.push(format!("{name}: {number} ({}) is gone and not reserved", field.name())),
            }
        }
        for range in &message.reserved_range {
            let taken =
                kept.field.iter().find(|field| (range.start()..range.end()).contains(&field.number()));
            broken.extend(taken.map(|field| format!("{name}: {} was reserved", field.number())));
        }
    }
    let offered = calls(now);
    broken.extend(calls(released).into_iter().filter(|call| !offered.contains(call)));
    broken
}

#[test]
fn what_was_released_is_as_it_was() {
    let (path, today) = (root().join("trialogue/v1/released.binpb"), today());
    if std::env::var_os("REWRITE").is_some() {
        let mut released = today.clone();
        released.file.iter_mut().for_each(|file| file.source_code_info = None);
        std::fs::write(&path, released.encode_to_vec()).unwrap();
    }
    let released = FileDescriptorSet::decode(&*std::fs::read(&path).unwrap()).unwrap();
    assert!(messages(&released).len() > 50 && calls(&released).len() > 15);
    assert_eq!(broken(&released, &today), Vec::<String>::new());
}

#[test]
fn what_breaks_is_named() {
    type Change = fn(&mut DescriptorProto);
    let receipt = |change: Change| {
        let mut changed = today();
        let messages = changed.file.iter_mut().flat_map(|file| &mut file.message_type);
        messages.filter(|message| message.name() == "Receipt").for_each(change);
        broken(&today(), &changed)
    };
    let changes: [(Change, &str); 4] = [
        (|message| message.field.truncate(3), "4 (read_up_to) is gone and not reserved"),
        (|message| message.field[1].number = Some(9), "2 (delivered_up_to) is gone"),
        (|message| message.field[0].name = Some("whom".into()), "1 was with_id"),
        (|message| message.field[0].r#type = Some(9), "and is with_id Optional String"),
    ];
    for (change, expected) in changes {
        let found = receipt(change);
        assert!(found.iter().any(|line| line.contains(expected)), "{expected}: {found:?}");
    }
    assert_eq!(receipt(|_| ()), Vec::<String>::new());
    let mut changed = today();
    changed.file[0].service[0].method.pop();
    assert_eq!(broken(&today(), &changed).len(), 1);
}
