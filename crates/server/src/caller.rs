//! Who calls: the address at the other end of a connection, through whichever door the call came.

use crate::attempts::Origin;
use std::net::{IpAddr, Ipv4Addr};
use tonic::Request;

/// The address at the other end of a call's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) IpAddr);

/// Where a call comes from.
pub(crate) fn origin_of<T>(request: &Request<T>) -> Origin {
    let caller = request.extensions().get::<Caller>();
    Origin::of(caller.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |caller| caller.0))
}
