//! What a record is written as, and what is no record.

use super::*;
use crate::conversation::ConversationId;
use crate::identity::{AccountId, HistoryId, MessageId, RequestId, SealedToken, SessionId, TokenHash};
use crate::password::PasswordHash;
use crate::request::Answer;
use proptest::prelude::*;
use protocol::Record as _;
use uuid::Uuid;

const ALICE: AccountId = AccountId(2);
const BOB: AccountId = AccountId(3);

fn mark(answer: Answer) -> RequestMark {
    RequestMark {
        id: RequestId(Uuid::from_bytes([1; 16])),
        digest: [7; 16],
        answer,
        session: Some(SessionId(4)),
        passwords: vec![PasswordHash("$a".into())],
    }
}

/// What the record begins with that has that mark and happened at 300, without the length of the mark.
const BEGINS: &str = "080110ac021a";
/// What the mark begins with.
const MARK: &str = "0a1001010101010101010101010101010101121007070707070707070707070707070707180422022461";

/// A fact of each kind and an answer of each kind, with what answer and fact are written as.
fn pinned() -> Vec<(Fact, Answer, &'static str)> {
    let conversation = ConversationId::direct(BOB, ALICE);
    let opened = Answer::SessionOpened {
        session: SessionId(6),
        account: ALICE,
        expires_at: Millis(300),
        sealed: SealedToken("s".into()),
    };
    vec![
        (
            Fact::HistoryBegan { history: HistoryId(Uuid::from_bytes([9; 16])), forgotten: Some(Millis(0)) },
            Answer::HistoryBegun,
            "2a0022140a10090909090909090909090909090909091000",
        ),
        (Fact::RequestsForgotten { before: Millis(300) }, Answer::HistoryBegun, "2a002a0308ac02"),
        (
            Fact::AccountCreated { name: "A".into(), key: "a".into(), password: PasswordHash("p".into()) },
            Answer::AccountCreated { account: ALICE },
            "300232090a01411201611a0170",
        ),
        (
            Fact::SessionOpened {
                account: ALICE,
                token: TokenHash([5; 32]),
                expires_at: Millis(300),
                closes: vec![SessionId(1), SessionId(2)],
            },
            opened,
            "3a0a0806100218ac022201733a2b08021220050505050505050505050505050505050505050505050505050505050505050518ac0222020102",
        ),
        (Fact::SessionClosed { session: SessionId(6) }, Answer::SessionClosed, "420042020806"),
        (Fact::AccountDeleted { account: ALICE }, Answer::AccountDeleted, "4a004a020802"),
        (
            Fact::PasswordChanged { account: ALICE, password: PasswordHash("p".into()), keep: SessionId(6) },
            Answer::PasswordChanged,
            "5200520708021201701806",
        ),
        (
            Fact::MessageSent {
                conversation,
                from: BOB,
                from_name: "b".into(),
                to_name: "a".into(),
                text: "hi\n👋".into(),
            },
            Answer::MessageSent { id: MessageId(9), sent_at: Millis(5) },
            "5a04080910055a230a100000000000000002000000000000000310031a01622201612a0768690af09f918b",
        ),
        (
            Fact::MessagesAcknowledged { account: ALICE, up_to: MessageId(9) },
            Answer::Acknowledged { up_to: MessageId(9) },
            "6009620408021009",
        ),
        (
            Fact::ConversationSeen {
                account: ALICE,
                conversation,
                up_to: MessageId(9),
                shown_up_to: Some(MessageId(8)),
            },
            Answer::ConversationSeen { up_to: MessageId(9) },
            "68096a18080212100000000000000002000000000000000318092008",
        ),
        (
            Fact::SeenShown { account: ALICE, shown: true },
            Answer::SeenShown { shown: false },
            "7000720408021001",
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The chain hashes these bytes, and databases keep them.
#[test]
fn a_record_is_written_as_it_ever_was_and_survives_it() {
    for (fact, answer, expected) in pinned() {
        let record = Record::new(Millis(300), Some(mark(answer)), fact);
        let written = hex(record.encoded());
        let (begins, rest) = written.split_once(MARK).unwrap();
        assert_eq!((&begins[..begins.len() - 2], rest), (BEGINS, expected), "{record:?}");
        assert_eq!(Record::decode(record.encoded()), Ok(record));
    }
}

fn message(conversation: [u8; 16], from: u64) -> wire::Record {
    let (from_name, to_name, text) = ("a".into(), "b".into(), "x".into());
    let sent = wire::MessageSent { conversation: conversation.to_vec(), from, from_name, to_name, text };
    wire::Record { format: RECORD_FORMAT, at: 1, request: None, fact: Some(wire::Fact::MessageSent(sent)) }
}

#[test]
fn what_a_newer_version_wrote_is_told_from_what_is_damaged() {
    let good = message(*ConversationId::direct(ALICE, BOB).as_bytes(), 2);
    assert!(Record::decode(&good.encode_to_vec()).is_ok());
    let with = |more: &[u8]| [&good.encode_to_vec(), more].concat();
    let mut room = *ConversationId::direct(ALICE, BOB).as_bytes();
    room[0] |= 0x80;
    let newer = [
        ("a higher format", wire::Record { format: RECORD_FORMAT + 1, ..good.clone() }.encode_to_vec()),
        ("a fact that is not known", [&[8, 1, 16, 1][..], &[0x82, 1, 0]].concat()),
        ("a field that is not known", with(&[0x98, 6, 1])),
        ("a room", message(room, 2).encode_to_vec()),
    ];
    for (what, bytes) in newer {
        let read = Record::decode(&bytes);
        assert!(matches!(&read, Err(RecordError::Newer(_))), "{what}: {read:?}");
    }
    let mut short = good.clone();
    if let Some(wire::Fact::MessageSent(sent)) = &mut short.fact {
        sent.conversation.pop();
    }
    let damaged = [
        ("nothing", vec![]),
        ("no format", wire::Record { format: 0, ..good.clone() }.encode_to_vec()),
        ("no fact", wire::Record { fact: None, ..good.clone() }.encode_to_vec()),
        ("JSON, as before records were protobuf", br#"{"at":1,"fact":"nonsense"}"#.to_vec()),
        ("cut off", good.encode_to_vec()[..20].to_vec()),
        ("a conversation of 15 bytes", short.encode_to_vec()),
        ("a conversation of no accounts", message([0; 16], 2).encode_to_vec()),
        (
            "a sender that is no member",
            message(*ConversationId::direct(ALICE, BOB).as_bytes(), 4).encode_to_vec(),
        ),
    ];
    for (what, bytes) in damaged {
        let read = Record::decode(&bytes);
        assert!(matches!(&read, Err(RecordError::Damaged(_))), "{what}: {read:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_that_is_kept_as_it_is_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encoded(), &bytes);
        }
    }

    #[test]
    fn a_record_with_any_byte_changed_is_another_record_or_an_error(which in 0_usize..11, place in any::<prop::sample::Index>(), by in 1_u8..) {
        let (fact, answer, _) = pinned().swap_remove(which);
        let record = Record::new(Millis(300), Some(mark(answer)), fact);
        let mut bytes = record.encoded().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= by;
        prop_assert_ne!(Record::decode(&bytes), Ok(record));
    }
}
