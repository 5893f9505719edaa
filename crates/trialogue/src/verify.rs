//! `verify`: proves that replicas hold the same history.

mod folder;
mod pace;
mod servers;

use crate::account::client_of;
use crate::arguments::{Common, Verify};
use crate::failure::Failure;
use crate::output;
pub(crate) use folder::verify_data;
use server::{ClusterKey, KeyError};
use std::path::Path;
use std::time::Duration;

/// While writes go on, what differs is compared again until it is met at the same op.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The folder of `trialogue up`, if no other is named.
const DATA: &str = "./trialogue-data";

/// Compares the databases in a folder, or, where servers are named or no folder is, the replicas by their own word.
pub(crate) async fn verify(common: &Common, verify: &Verify) -> Result<(), Failure> {
    if let Some(data) = &verify.data
        && !common.servers_named
    {
        return Ok(output::line(&verify_data(data, common.timeout).await?)?);
    }
    let key = match &verify.key_file {
        Some(path) => read_key(path),
        None => read_key(&verify.data.as_deref().unwrap_or(Path::new(DATA)).join("cluster.key")),
    };
    let same = servers::verify_servers(&client_of(common), key?, common.timeout).await?;
    Ok(output::line(&same)?)
}

fn read_key(path: &Path) -> Result<ClusterKey, Failure> {
    ClusterKey::read(path).map_err(|error| match &error {
        KeyError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Failure::Usage(format!(
            "replicas are compared by those who have the cluster's key, and there is none at {}: name the folder of \
             `trialogue up` by --data, or the key's file by --key-file",
            path.display()
        )),
        _ => Failure::of(error),
    })
}
