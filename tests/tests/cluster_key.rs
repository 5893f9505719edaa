//! The cluster's key never travels: who has it proves it, and who has it not gets nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use api::v1::replica_message::Message as Wire;
use api::v1::replica_server::{Replica, ReplicaServer};
use api::v1::{self, ReplicaMessage};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use whole_process_tests::cluster::Cluster;
use whole_process_tests::command::Shell;
use whole_process_tests::people::{Person, Writer};
use whole_process_tests::recorder::{Recorder, as_http2_header, contains};
use whole_process_tests::wait;

fn key_text(cluster: &Cluster) -> String {
    std::fs::read_to_string(cluster.data().join("cluster.key")).unwrap().trim().to_owned()
}

/// The key in every form in which it could be found in what passes between programs.
fn forms_of(key: &str) -> Vec<(&'static str, Vec<u8>)> {
    let raw: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&key[2 * i..2 * i + 2], 16).unwrap()).collect();
    vec![
        ("raw", raw),
        ("hexadecimal", key.as_bytes().to_vec()),
        ("hexadecimal in capitals", key.to_uppercase().into_bytes()),
        ("as a header of HTTP/2", as_http2_header(key)),
    ]
}

#[tokio::test]
async fn the_key_passes_no_socket_in_streams_snapshots_and_comparisons() {
    let mut cluster = Cluster::prepared(3, "log_entries_max = 1");
    let mut recorders = Vec::new();
    for i in 0..3 {
        let mut addresses = Vec::new();
        for j in 0..3 {
            let address = cluster.address(j);
            if i == j {
                addresses.push(address);
            } else {
                let recorder = Recorder::to(address).await;
                addresses.push(recorder.address.clone());
                recorders.push(recorder);
            }
        }
        cluster.tell(i, &addresses);
    }
    cluster.start_all();
    cluster.until_all_in_sync().await;
    let alice = Person::register(&cluster, "alice").await;
    let writer = Writer::pipelined(&alice, "alice");
    writer.until_more(1500).await;
    writer.stop().await;
    alice.send_more_batches_than_are_kept("alice").await;
    // It has nothing, and neither memory nor the log reaches back: it takes a snapshot.
    cluster.kill(2);
    cluster.wipe(2);
    cluster.start(2);
    cluster.until_all_in_sync().await;
    for i in 0..3 {
        recorders.push(Recorder::to(cluster.address(i)).await);
    }
    let entrances: Vec<String> = recorders[6..].iter().map(|recorder| recorder.address.to_string()).collect();
    let shell = Shell::of(&cluster, &entrances.join(","));
    let said = tokio::task::spawn_blocking(move || shell.ok(&["verify"])).await.unwrap();
    assert!(said.contains("3 replicas are the same"), "{said}");

    let passed: Vec<Vec<u8>> = recorders.iter().flat_map(Recorder::passed).collect();
    let seen = |needle: &[u8]| passed.iter().any(|passed| contains(passed, needle));
    assert!(seen(b"SQLite format 3\0"), "a snapshot has passed");
    assert!(
        seen(b"Exchange") || passed.iter().map(Vec::len).sum::<usize>() > 10_000,
        "streams were recorded"
    );
    for (form, key) in forms_of(&key_text(&cluster)) {
        assert!(!seen(&key), "the cluster's key has passed, {form}");
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A program that listens where a replica should.
struct Impostor {
    /// What it says when it is called, made from the caller's Hello.
    hello: fn(v1::Hello) -> v1::Hello,
    metadata: mpsc::UnboundedSender<String>,
    heard: mpsc::UnboundedSender<Wire>,
}

#[tonic::async_trait]
impl Replica for Impostor {
    type ExchangeStream = Answers<ReplicaMessage>;
    type FetchSnapshotStream = Answers<v1::SnapshotChunk>;

    async fn exchange(
        &self,
        request: Request<Streaming<ReplicaMessage>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        self.metadata.send(format!("{:?}", request.metadata())).unwrap();
        let mut inbound = request.into_inner();
        let (answer, answers) = mpsc::channel(8);
        let (heard, hello) = (self.heard.clone(), self.hello);
        tokio::spawn(async move {
            while let Ok(Some(ReplicaMessage { message: Some(message), .. })) = inbound.message().await {
                let said = match message.clone() {
                    Wire::Hello(theirs) => Wire::Hello(hello(theirs)),
                    // Whatever else comes is sent back: a proof, so that its maker may accept it as mine.
                    other => other,
                };
                heard.send(message).unwrap();
                answer
                    .send(Ok(ReplicaMessage { message: Some(said), ..ReplicaMessage::default() }))
                    .await
                    .ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn challenge(
        &self,
        _: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        Err(Status::unimplemented("nothing is asked of an impostor"))
    }

    async fn fetch_snapshot(
        &self,
        _: Request<v1::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        Err(Status::unimplemented("nothing is asked of an impostor"))
    }
}

/// Starts replica 1 of a cluster in which an impostor has the port of replica 0.
async fn with_an_impostor(
    hello: fn(v1::Hello) -> v1::Hello,
) -> (Cluster, mpsc::UnboundedReceiver<String>, mpsc::UnboundedReceiver<Wire>) {
    let mut cluster = Cluster::prepared(2, "");
    let listener = tokio::net::TcpListener::bind(cluster.address(0).to_string()).await.unwrap();
    let (metadata, all_metadata) = mpsc::unbounded_channel();
    let (heard, all_heard) = mpsc::unbounded_channel();
    let impostor = ReplicaServer::new(Impostor { hello, metadata, heard });
    let server = tonic::transport::Server::builder().add_service(impostor);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    cluster.start(1);
    (cluster, all_metadata, all_heard)
}

#[tokio::test]
async fn an_impostor_in_the_place_of_a_replica_learns_nothing_that_opens_anything() {
    let in_its_place = |theirs: v1::Hello| v1::Hello { replica: 0, ..theirs };
    let (cluster, mut metadata, mut heard) = with_an_impostor(in_its_place).await;
    let key = key_text(&cluster);
    let mut proofs = Vec::new();
    // It calls again and again. Each time it says who it is and proves it, and not a word more.
    while proofs.len() < 3 {
        let received = metadata.recv().await.unwrap();
        assert!(!received.contains(&key), "the impostor was told the cluster's key");
        let said = [heard.recv().await.unwrap(), heard.recv().await.unwrap()];
        let [Wire::Hello(hello), Wire::Proof(proof)] = said else { panic!("{said:?}") };
        assert_eq!((hello.replica, hello.protocol, hello.nonce.len()), (1, api::PROTOCOL, 32));
        assert!(!proofs.contains(&proof.proof), "a proof is good for one stream");
        proofs.push(proof.proof);
    }
    let log = cluster.log_text(1);
    assert!(log.contains("has not proven to replica 1 that it has the cluster's key"), "{log}");
    assert_eq!(log.matches("has not proven").count(), 1, "it is said once: {log}");
}

#[tokio::test]
async fn programs_with_different_protocols_name_each_other_once_on_both_sides() {
    // The one that calls.
    let newer = |theirs: v1::Hello| v1::Hello {
        replica: 0,
        protocol: theirs.protocol + 1,
        program: "trialogue 99.0".into(),
        ..theirs
    };
    let (cluster, mut metadata, _heard) = with_an_impostor(newer).await;
    for _ in 0..3 {
        metadata.recv().await.unwrap();
    }
    let log = cluster.log_text(1);
    let named = format!("replica 0 runs trialogue 99.0, which speaks protocol {}", api::PROTOCOL + 1);
    assert_eq!(log.matches(&named).count(), 1, "{log}");
    assert!(log.contains(&format!("replica 1 runs {}", api::PROGRAM)), "{log}");

    // The one that is called, by the program of the version before too, which said no number.
    let cluster = Cluster::serving().await;
    for (protocol, program, named) in [
        (api::PROTOCOL + 1, "trialogue 99.0", "replica 2 runs trialogue 99.0"),
        (0, "", "replica 2 runs an older trialogue, which speaks protocol 1"),
    ] {
        for _ in 0..3 {
            let hello = v1::Hello {
                replica: 2,
                replicas: 3,
                protocol,
                program: program.into(),
                ..v1::Hello::default()
            };
            let hello = ReplicaMessage { message: Some(Wire::Hello(hello)), ..ReplicaMessage::default() };
            let channel = whole_process_tests::raw::channel(&cluster, 0).await;
            let mut replica = v1::replica_client::ReplicaClient::new(channel);
            let call = Request::new(tokio_stream::iter([hello]).chain(tokio_stream::pending()));
            let refused = replica.exchange(call).await.unwrap_err();
            assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
            let ours = format!("replica 0 runs {}, which speaks protocol {}", api::PROGRAM, api::PROTOCOL);
            assert!(refused.message().contains(named) && refused.message().contains(&ours), "{refused}");
        }
        wait::until("it is logged", async || cluster.log_text(0).contains(named)).await;
        assert_eq!(cluster.log_text(0).matches(named).count(), 1, "{}", cluster.log_text(0));
    }
}

#[tokio::test]
async fn a_cluster_has_one_identity_which_outlives_its_processes() {
    let mut cluster = Cluster::serving().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        for i in 0..3 {
            ids.push(cluster.heartbeat(i).await.unwrap().cluster_id);
        }
        cluster.kill_all();
        cluster.start_all();
        cluster.until_all_in_sync().await;
    }
    assert!(ids.iter().all(|id| id.len() == 16 && *id == ids[0]), "{ids:?}");
    let other = Cluster::serving_with(1, "").await;
    assert_ne!(other.heartbeat(0).await.unwrap().cluster_id, ids[0]);
}
