//! How two replicas meet: each says who it is and draws a nonce, then each proves that it has the cluster's key.
//!
//! ```text
//!   caller                            called
//!     ── Hello(nonce) ──────────────────▶     another protocol, cluster or index is refused, in a sentence
//!     ◀───────────────── Hello(nonce) ───
//!     ── Proof ─────────────────────────▶     verified before anything else is said
//!     ◀───────────────────────── Proof ──     verified before anything else is said
//! ```

use crate::key::ClusterKey;
use crate::proof::{Call, NONCE_BYTES, Nonce, Proofs, Purpose, Side, draw_nonce};
use api::v1::replica_message::Message as Wire;
use api::v1::{Hello, Proof, ReplicaMessage};
use api::{PROGRAM, PROTOCOL};
use futures_util::{Stream, StreamExt};
use protocol::ReplicaIndex;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// How long the other side may take for one message.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// What another program may be called in our log and our answers.
const PROGRAM_NAME_MAX: usize = 64;

/// Who this replica is to the others.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) me: ReplicaIndex,
    pub(crate) replicas: usize,
    pub(crate) key: ClusterKey,
}

/// A caller that has said who it is, and has proven nothing yet.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) peer: ReplicaIndex,
    nonce: Nonce,
}

impl Credentials {
    /// Makes itself known to the replica that was called, and makes sure that it is `called`.
    pub(crate) async fn call(
        &self,
        called: ReplicaIndex,
        outbound: &mpsc::Sender<ReplicaMessage>,
        inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
        nonce: Nonce,
    ) -> Result<(), Status> {
        let hello = read_hello(inbound).await?;
        let (peer, called_nonce) = self.check(&hello)?;
        if peer != called {
            return Err(Status::invalid_argument(format!("replica {peer} answers in the place of {called}")));
        }
        let proofs = self.proofs(self.me, peer, &nonce, &called_nonce);
        send(outbound, Wire::Proof(Proof { proof: proofs.by(Side::Caller, &[]) })).await?;
        self.expect_proof(inbound, peer, &proofs, Side::Called).await
    }

    /// Reads who calls.
    pub(crate) async fn greet(
        &self,
        inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
    ) -> Result<Greeted, Status> {
        let hello = read_hello(inbound).await?;
        let (peer, nonce) = self.check(&hello)?;
        if peer <= self.me {
            return Err(Status::invalid_argument(format!(
                "replica {peer} does not call replica {}",
                self.me
            )));
        }
        Ok(Greeted { peer, nonce })
    }

    /// Makes itself known to a caller that was greeted, and makes sure that the caller is whom it says.
    pub(crate) async fn answer(
        &self,
        caller: &Greeted,
        outbound: &mpsc::Sender<ReplicaMessage>,
        inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
    ) -> Result<(), Status> {
        let nonce = draw_nonce();
        send(outbound, Wire::Hello(self.hello(&nonce))).await?;
        let proofs = self.proofs(caller.peer, self.me, &caller.nonce, &nonce);
        self.expect_proof(inbound, caller.peer, &proofs, Side::Caller).await?;
        send(outbound, Wire::Proof(Proof { proof: proofs.by(Side::Called, &[]) })).await
    }

    /// What this replica says first.
    pub(crate) fn hello(&self, nonce: &Nonce) -> Hello {
        Hello {
            replica: u32::from(self.me.0),
            replicas: u32::try_from(self.replicas).unwrap_or(u32::MAX),
            protocol: PROTOCOL,
            program: PROGRAM.to_owned(),
            cluster_id: self.key.cluster_id().0.to_vec(),
            nonce: nonce.to_vec(),
        }
    }

    /// Whether the other side can be a replica of this cluster at all, before it has proven anything.
    fn check(&self, hello: &Hello) -> Result<(ReplicaIndex, Nonce), Status> {
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(other_program(hello, self.me)));
        }
        if hello.cluster_id != self.key.cluster_id().0 {
            return Err(Status::permission_denied(format!(
                "replica {} belongs to another cluster than replica {}: their cluster keys differ",
                hello.replica, self.me
            )));
        }
        if usize::try_from(hello.replicas) != Ok(self.replicas) {
            return Err(Status::failed_precondition(format!(
                "replica {} is configured with {} replicas, replica {} with {}",
                hello.replica, hello.replicas, self.me, self.replicas
            )));
        }
        let peer = u8::try_from(hello.replica).ok().map(ReplicaIndex);
        let peer = peer.filter(|peer| usize::from(peer.0) < self.replicas && *peer != self.me);
        let peer = peer.ok_or_else(|| {
            Status::invalid_argument(format!("replica {} is not expected here", hello.replica))
        })?;
        let nonce = Nonce::try_from(&*hello.nonce)
            .map_err(|_| Status::invalid_argument(format!("a nonce has {NONCE_BYTES} bytes")))?;
        Ok((peer, nonce))
    }

    fn proofs(
        &self,
        caller: ReplicaIndex,
        called: ReplicaIndex,
        caller_nonce: &Nonce,
        nonce: &Nonce,
    ) -> Proofs {
        self.key.proofs(Call {
            purpose: Purpose::Stream,
            caller: u32::from(caller.0),
            called: u32::from(called.0),
            caller_nonce,
            called_nonce: nonce,
        })
    }

    async fn expect_proof(
        &self,
        inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
        peer: ReplicaIndex,
        proofs: &Proofs,
        side: Side,
    ) -> Result<(), Status> {
        match read(inbound).await? {
            Some(Wire::Proof(Proof { proof })) if proofs.verify(side, &[], &proof) => Ok(()),
            _ => Err(Status::permission_denied(format!(
                "a caller that says that it is replica {peer} has not proven to replica {} that it has the cluster's key",
                self.me
            ))),
        }
    }
}

/// Both programs, in one sentence. What the other one calls itself is a stranger's word: only plain characters of it count.
fn other_program(hello: &Hello, me: ReplicaIndex) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '-' | '+');
    let name: String = hello.program.chars().filter(plain).take(PROGRAM_NAME_MAX).collect();
    let (name, number) = match hello.protocol {
        0 => ("an older trialogue", 1),
        number if name.is_empty() => ("an unnamed program", number),
        number => (&*name, number),
    };
    format!(
        "replica {} runs {name}, which speaks protocol {number} between replicas, and replica {me} runs {PROGRAM}, which \
         speaks protocol {PROTOCOL}: run the same program for all of them",
        hello.replica
    )
}

async fn read(
    inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
) -> Result<Option<Wire>, Status> {
    let message = tokio::time::timeout(ANSWER_LIMIT, inbound.next())
        .await
        .map_err(|_| Status::deadline_exceeded("the other side did not say in time who it is"))?;
    Ok(message.transpose()?.and_then(|message| message.message))
}

async fn read_hello(
    inbound: &mut (impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin),
) -> Result<Hello, Status> {
    match read(inbound).await? {
        Some(Wire::Hello(hello)) => Ok(hello),
        _ => Err(Status::permission_denied(
            "the service between replicas is for those who say Hello first and prove that they have the cluster's key",
        )),
    }
}

async fn send(outbound: &mpsc::Sender<ReplicaMessage>, message: Wire) -> Result<(), Status> {
    let message = ReplicaMessage { message: Some(message), ..ReplicaMessage::default() };
    outbound.send(message).await.map_err(|_| Status::unavailable("the stream has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::wrappers::ReceiverStream;

    type Line = (mpsc::Sender<ReplicaMessage>, mpsc::Receiver<ReplicaMessage>);

    fn line() -> Line {
        mpsc::channel(8)
    }

    fn received(
        receiver: mpsc::Receiver<ReplicaMessage>,
    ) -> impl Stream<Item = Result<ReplicaMessage, Status>> + Unpin {
        ReceiverStream::new(receiver).map(Ok)
    }

    fn replica(index: u8, key: u8) -> Credentials {
        Credentials { me: ReplicaIndex(index), replicas: 3, key: ClusterKey::from_bytes([key; 32]) }
    }

    async fn next(receiver: &mut mpsc::Receiver<ReplicaMessage>) -> Wire {
        receiver.recv().await.unwrap().message.unwrap()
    }

    /// `caller` calls the replica that it takes for `wanted`, and `called` answers.
    async fn meet(
        caller: &Credentials,
        wanted: u8,
        called: &Credentials,
    ) -> (Result<(), Status>, Result<ReplicaIndex, Status>) {
        let (to_called, from_caller) = line();
        let (to_caller, from_called) = line();
        let nonce = draw_nonce();
        send(&to_called, Wire::Hello(caller.hello(&nonce))).await.unwrap();
        let calls = async move {
            let mut from_called = received(from_called);
            caller.call(ReplicaIndex(wanted), &to_called, &mut from_called, nonce).await
        };
        let answers = async move {
            let mut from_caller = received(from_caller);
            let greeted = called.greet(&mut from_caller).await?;
            called.answer(&greeted, &to_caller, &mut from_caller).await?;
            Ok(greeted.peer)
        };
        tokio::join!(calls, answers)
    }

    #[tokio::test]
    async fn two_replicas_of_one_cluster_meet() {
        let (calls, answers) = meet(&replica(2, 7), 0, &replica(0, 7)).await;
        assert_eq!((calls.unwrap(), answers.unwrap()), ((), ReplicaIndex(2)));
    }

    #[tokio::test]
    async fn replicas_that_do_not_belong_together_are_told_why() {
        let four = Credentials { replicas: 4, ..replica(0, 7) };
        let cases = [
            (replica(2, 8), 0, replica(0, 7), "belongs to another cluster"),
            (replica(2, 7), 0, four, "is configured with 3 replicas, replica 0 with 4"),
            (replica(2, 7), 0, replica(1, 7), "replica 1 answers in the place of 0"),
            (replica(1, 7), 2, replica(2, 7), "replica 1 does not call replica 2"),
            (replica(1, 7), 1, replica(1, 7), "replica 1 is not expected here"),
        ];
        for (caller, wanted, called, why) in cases {
            let (calls, answers) = meet(&caller, wanted, &called).await;
            let calls = calls.unwrap_err();
            let told = answers.err().map(|status| status.message().to_owned()).unwrap_or_default();
            assert!(told.contains(why) || calls.message().contains(why), "{told} / {}", calls.message());
        }
    }

    #[tokio::test]
    async fn a_program_with_another_protocol_is_named_together_with_this_one() {
        let ours = replica(0, 7);
        let hello = |protocol, program: &str| Hello {
            protocol,
            program: program.into(),
            ..replica(2, 7).hello(&draw_nonce())
        };
        for (hello, named) in [
            (hello(0, ""), "replica 2 runs an older trialogue, which speaks protocol 1"),
            (
                hello(9, "trialogue 9.1-x\n\u{1b}[2J"),
                "replica 2 runs trialogue 9.1-x2J, which speaks protocol 9",
            ),
            (hello(9, "\n"), "replica 2 runs an unnamed program, which speaks protocol 9"),
            (hello(9, &"x".repeat(100)), &format!("runs {},", "x".repeat(64))),
        ] {
            let (to_called, from_caller) = line();
            send(&to_called, Wire::Hello(hello)).await.unwrap();
            let refused = ours.greet(&mut received(from_caller)).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
            let both = format!("replica 0 runs {PROGRAM}, which speaks protocol {PROTOCOL}");
            assert!(refused.message().contains(named) && refused.message().contains(&both), "{refused}");
        }
    }

    /// What a replica that expects a proof receives; `None` ends the stream.
    fn forgeries(seen: &[Wire]) -> Vec<Option<Wire>> {
        let mut forged = vec![
            None,
            Some(Wire::Proof(Proof { proof: vec![] })),
            Some(Wire::Proof(Proof { proof: vec![0; 32] })),
            Some(Wire::Hello(replica(2, 7).hello(&[0; NONCE_BYTES]))),
            Some(Wire::Probe(api::v1::Probe {})),
        ];
        forged.extend(seen.iter().cloned().map(Some));
        forged
    }

    /// A stranger took a lower replica's port: it knows every message of earlier meetings, and what the caller says to it.
    #[tokio::test]
    async fn a_stranger_in_a_replicas_place_gets_a_hello_and_a_proof_that_opens_nothing() {
        let caller = replica(2, 7);
        for forgery in 0..6 {
            let (to_called, mut from_caller) = line();
            let (to_caller, from_called) = line();
            let nonce = draw_nonce();
            send(&to_called, Wire::Hello(caller.hello(&nonce))).await.unwrap();
            let caller = caller.clone();
            let calls = tokio::spawn(async move {
                caller.call(ReplicaIndex(0), &to_called, &mut received(from_called), nonce).await
            });
            assert!(matches!(next(&mut from_caller).await, Wire::Hello(_)));
            // The index and the cluster's id are no secrets. The nonce is the caller's own, so that its proof comes back.
            let hello = Hello { nonce: nonce.to_vec(), ..replica(0, 7).hello(&nonce) };
            send(&to_caller, Wire::Hello(hello)).await.unwrap();
            let proof = next(&mut from_caller).await;
            assert!(matches!(proof, Wire::Proof(_)));
            match forgeries(&[proof]).swap_remove(forgery) {
                Some(forged) => send(&to_caller, forged).await.unwrap(),
                None => drop(to_caller),
            }
            let refused = calls.await.unwrap().unwrap_err();
            assert!(refused.message().contains("has not proven to replica 2"), "{forgery}: {refused}");
            assert!(from_caller.recv().await.is_none(), "{forgery}: more was said to a stranger");
        }
    }

    /// A stranger calls, knows every message of an earlier meeting of the two, and is answered with a Hello at most.
    #[tokio::test]
    async fn a_stranger_that_calls_and_can_only_repeat_gets_a_hello() {
        let (to_called, mut from_caller) = line();
        let (to_caller, from_called) = line();
        let (caller, called) = (replica(2, 7), replica(0, 7));
        // An earlier meeting, recorded on both ways.
        let nonce = draw_nonce();
        let hello = Wire::Hello(caller.hello(&nonce));
        let recorded = {
            let (relayed_to_called, relayed_from_caller) = line();
            let (relayed_to_caller, mut relayed_from_called) = line();
            let (caller, called) = (caller.clone(), called.clone());
            let calls = tokio::spawn(async move {
                caller.call(ReplicaIndex(0), &to_called, &mut received(from_called), nonce).await
            });
            let answers = tokio::spawn(async move {
                let mut inbound = received(relayed_from_caller);
                let greeted = called.greet(&mut inbound).await?;
                called.answer(&greeted, &relayed_to_caller, &mut inbound).await
            });
            send(&relayed_to_called, hello.clone()).await.unwrap();
            let answered = next(&mut relayed_from_called).await;
            send(&to_caller, answered).await.unwrap();
            let proof = next(&mut from_caller).await;
            send(&relayed_to_called, proof.clone()).await.unwrap();
            let counter_proof = next(&mut relayed_from_called).await;
            send(&to_caller, counter_proof.clone()).await.unwrap();
            calls.await.unwrap().unwrap();
            answers.await.unwrap().unwrap();
            [proof, counter_proof]
        };
        for forged in forgeries(&recorded) {
            let (to_called, from_caller) = line();
            let (to_caller, mut from_called) = line();
            send(&to_called, hello.clone()).await.unwrap();
            let called = called.clone();
            let answers = tokio::spawn(async move {
                let mut inbound = received(from_caller);
                let greeted = called.greet(&mut inbound).await?;
                called.answer(&greeted, &to_caller, &mut inbound).await
            });
            assert!(matches!(next(&mut from_called).await, Wire::Hello(_)));
            match forged {
                Some(forged) => send(&to_called, forged).await.unwrap(),
                None => drop(to_called),
            }
            assert!(answers.await.unwrap().is_err());
            assert!(from_called.recv().await.is_none(), "more was said to a stranger");
        }
    }
}
