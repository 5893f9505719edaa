//! Status: what each replica says of itself, put beside each other.

use crate::account::client_of;
use crate::arguments::{Common, Status};
use crate::failure::Failure;
use crate::output;
use api::service_state;
use api::v1::HeartbeatResponse;
use client::ReplicaView;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use std::time::Duration;

mod watch;

/// Clocks that are further apart than this are worth a word.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(2);

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
    let summary = summary(&replicas);
    if status.json {
        return Ok(output::json(&summary)?);
    }
    Ok(output::line(&table(&summary, &replicas))?)
}

/// The picture that the newest view and the replicas' own words give.
pub(crate) fn summary(replicas: &[ReplicaView]) -> Value {
    let newest = replicas
        .iter()
        .filter_map(|replica| replica.heartbeat.as_ref())
        .max_by_key(|heartbeat| heartbeat.view);
    let in_sync = newest.map(|newest| newest.in_sync.clone()).unwrap_or_default();
    let head = replicas
        .iter()
        .filter_map(|replica| replica.heartbeat.as_ref())
        .map(|said| said.op)
        .max()
        .unwrap_or(0);
    let each = replicas.iter().enumerate().map(|(index, replica)| {
        let said = replica.heartbeat.as_ref();
        let listed = u32::try_from(index).is_ok_and(|index| in_sync.contains(&index));
        json!({
            "index": index,
            "address": replica.address.to_string(),
            "alive": said.is_some(),
            "role": said.map(|said| said.role.clone()),
            "view": said.map(|said| said.view),
            "op": said.map(|said| said.op),
            "lag": said.map(|said| head.saturating_sub(said.op)),
            "chain": said.map(|said| HEXLOWER.encode(&said.chain)),
            "messages": said.map(|said| said.messages),
            "pid": said.map(|said| said.pid),
            "in_sync": listed,
            "fault": said.map(|said| said.fault.clone()).filter(|fault| !fault.is_empty()),
        })
    });
    let serving = replicas.iter().filter_map(|replica| replica.heartbeat.as_ref()).any(|said| said.serving);
    let state = state(replicas);
    json!({
        "view": newest.map_or(0, |newest| newest.view),
        "primary": newest.and_then(|newest| newest.primary),
        "in_sync": in_sync,
        "serving": serving,
        "state": state,
        "clocks_apart_s": clocks_apart(replicas).map(|apart| apart.as_secs()),
        "unserved_ms": newest.and_then(|newest| unserved_before(replicas, newest.view)),
        "replicas": each.collect::<Vec<_>>(),
    })
}

/// How the service is doing, in one sentence: by the word of the replica that serves, and by which of them answer.
fn state(replicas: &[ReplicaView]) -> String {
    let said = || replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    let down = (0..).zip(replicas).filter(|(_, replica)| replica.heartbeat.is_none()).map(|(index, _)| index);
    let down: Vec<u32> = down.collect();
    match said().filter(|said| said.serving).max_by_key(|said| said.view) {
        Some(serving) => {
            let unreachable = if down.is_empty() { serving.unreachable.clone() } else { down };
            service_state(&HeartbeatResponse { unreachable, ..serving.clone() }).to_string()
        }
        None if down.is_empty() => {
            "nobody serves: nothing can be read or sent; no replica is down: if this lasts, their lines say what they \
             wait for"
                .to_owned()
        }
        None => "nobody serves: nothing can be read or sent; start what is down".to_owned(),
    }
}

/// How far the wall clocks of the replicas are apart, if that is more than it takes to ask them.
fn clocks_apart(replicas: &[ReplicaView]) -> Option<Duration> {
    let said = replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    let clocks = said.map(|said| said.wall_clock).filter(|clock| *clock > 0);
    let (first, last) =
        clocks.fold((u64::MAX, 0), |(first, last), clock| (first.min(clock), last.max(clock)));
    Some(Duration::from_millis(last.saturating_sub(first))).filter(|apart| *apart > CLOCKS_APART_MAX)
}

/// For how long no replica served before a view, if its primary can tell.
fn unserved_before(replicas: &[ReplicaView], view: u64) -> Option<u64> {
    let said = replicas.iter().filter_map(|replica| replica.heartbeat.as_ref());
    said.filter(|said| said.view == view).find_map(|said| said.unserved_ms)
}

pub(crate) fn table(summary: &Value, replicas: &[ReplicaView]) -> String {
    let mut lines = vec![format!(
        "view {}: {} of {} in sync; {}",
        summary["view"],
        summary["in_sync"].as_array().map_or(0, Vec::len),
        replicas.len(),
        summary["state"].as_str().unwrap_or_default()
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
    for (index, replica) in replicas.iter().enumerate() {
        let listed = summary["replicas"][index]["in_sync"] == true;
        let in_sync = if listed { "yes" } else { "no" };
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
                // A JSON value by itself heeds no width.
                summary["replicas"][index]["lag"].as_u64().map_or_else(String::new, |lag| lag.to_string()),
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
            let told = table(&summary(&replicas), &replicas);
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
        let told = table(&summary(&replicas), &replicas);
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
