//! Status: what each replica says of itself, put beside each other.

use crate::account::client_of;
use crate::arguments::{Common, Status};
use crate::failure::Failure;
use crate::output;
use client::ReplicaView;
use data_encoding::HEXLOWER;

mod summary;
mod watch;

pub(crate) use summary::ClusterSummary;
use summary::clocks_apart;

pub(crate) async fn status(common: &Common, status: &Status) -> Result<(), Failure> {
    if status.watch {
        return watch::watch(common, status.json).await;
    }
    let replicas = client_of(common).replicas().await;
    if replicas.iter().all(|replica| replica.heartbeat.is_none()) {
        let servers = common.servers.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        return Err(Failure::NobodyServed(format!(
            "no replica answers at {servers}; start the service with: trialogue up"
        )));
    }
    let summary = ClusterSummary::of(&replicas);
    if status.json {
        return Ok(output::json(&summary.json())?);
    }
    Ok(output::line(&table(&summary, &replicas))?)
}

pub(crate) fn table(summary: &ClusterSummary, replicas: &[ReplicaView]) -> String {
    let mut lines = vec![format!(
        "view {}: {} of {} in sync; {}",
        summary.view,
        summary.in_sync.len(),
        replicas.len(),
        summary.state
    )];
    if let Some(apart) = clocks_apart(replicas) {
        lines.push(format!("the clocks of the replicas are {} apart; set them right", chat::span(apart)));
    }
    let widest = replicas.iter().map(|replica| replica.address.to_string().len()).max().unwrap_or_default();
    let wide = widest.max("address".len());
    lines.push(format!(
        "{:>7}  {:<wide$}  {:<9}  {:<7}  {:>6}  {:>10}  {:>10}  {:<8}  {:>8}",
        "replica", "address", "role", "in sync", "view", "op", "lag", "chain", "pid"
    ));
    for (index, (replica, of_it)) in replicas.iter().zip(&summary.replicas).enumerate() {
        let in_sync = if of_it.in_sync { "yes" } else { "no" };
        lines.push(match &replica.heartbeat {
            None => {
                format!("{index:>7}  {:<wide$}  {:<9}  {in_sync:<7}", replica.address.to_string(), "down")
            }
            Some(said) => format!(
                "{index:>7}  {:<wide$}  {:<9}  {in_sync:<7}  {:>6}  {:>10}  {:>10}  {:<8}  {:>8}",
                replica.address.to_string(),
                output::plain(&said.role),
                said.view,
                said.op,
                of_it.lag.map_or_else(String::new, |lag| lag.to_string()),
                &HEXLOWER.encode(&said.chain)[..8.min(said.chain.len() * 2)],
                said.pid
            ),
        });
        let fault =
            replica.heartbeat.as_ref().map(|said| said.fault.as_str()).filter(|fault| !fault.is_empty());
        lines.extend(fault.map(|fault| format!("         {}", output::plain(fault))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::HeartbeatResponse;
    use chat::Address;

    #[test]
    fn clocks_that_are_apart_are_told() {
        let view = |wall_clock| ReplicaView {
            address: Address::parse("127.0.0.1:5100").unwrap(),
            heartbeat: Some(HeartbeatResponse { wall_clock, ..HeartbeatResponse::default() }),
        };
        let begin = 1_790_000_000_000;
        for (clocks, said) in [
            ([begin, begin + 1900, 0], None),
            (
                [begin, begin + 2001, begin],
                Some("the clocks of the replicas are 2 seconds apart; set them right"),
            ),
            (
                [begin, begin - 172_800_000, 0],
                Some("the clocks of the replicas are 2 days apart; set them right"),
            ),
        ] {
            let replicas = clocks.map(view);
            let told = table(&ClusterSummary::of(&replicas), &replicas);
            assert_eq!(told.lines().find(|line| line.contains("clocks")), said, "{clocks:?}");
        }
    }

    #[test]
    fn what_belongs_to_one_column_ends_or_begins_at_one_place() {
        let view = |address: &str, op, pid| ReplicaView {
            address: Address::parse(address).unwrap(),
            heartbeat: Some(HeartbeatResponse {
                op,
                pid,
                role: "secondary".into(),
                chain: vec![7; 32],
                ..HeartbeatResponse::default()
            }),
        };
        let replicas = [
            view("127.0.0.1:5100", 1_234_567, 41),
            view("chat-replica-1.example.org:5101", 7, 4_194_304),
            ReplicaView { address: Address::parse("127.0.0.1:5102").unwrap(), heartbeat: None },
        ];
        let told = table(&ClusterSummary::of(&replicas), &replicas);
        let lines: Vec<&str> = told.lines().skip(1).collect();
        let begin_of = |line: &str, what: &str| line.find(what).unwrap();
        let end_of = |line: &str, what: &str| begin_of(line, what) + what.len();
        let [heading, first, second, down] = lines[..] else { panic!("{told}") };
        for line in [first, second] {
            assert_eq!(begin_of(line, "secondary"), begin_of(heading, "role"), "{told}");
            assert_eq!(begin_of(line, "07070707"), begin_of(heading, "chain"), "{told}");
        }
        assert_eq!(begin_of(down, "down"), begin_of(heading, "role"), "{told}");
        assert_eq!(end_of(first, "1234567"), end_of(heading, "op"), "{told}");
        assert_eq!(end_of(second, "1234560"), end_of(heading, "lag"), "{told}");
        assert_eq!(end_of(second, "4194304"), end_of(heading, "pid"), "{told}");
    }
}
