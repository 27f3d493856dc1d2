//! What operators ask for in the API.

use std::collections::BTreeMap;

use skynet_engine::Asking;
use skynet_model::name::ServerId;
use skynet_model::policy::Match;
use skynet_model::series::Labels;
use skynet_proto::v1;
use tonic::Status;

use crate::core::Order;

/// Most names in one request.
const MAX_NAMES: usize = 10_000;
/// Most parameters, and most labels of a selector.
const MAX_PAIRS: usize = 64;
/// Longest name or text, in bytes.
const MAX_TEXT: usize = 1000;

/// Checks the form of a request; whether it can be made is the engine's to say.
pub(super) fn order(request: v1::RequestRequest, by: String) -> Result<Order, Status> {
    let bad = |text: String| Status::invalid_argument(text);
    let v1::RequestRequest { request, parameters, servers, selector, customer } = request;
    let pairs = parameters.iter().chain(&selector);
    let longest =
        pairs.flat_map(|(name, value)| [name.len(), value.len()]).chain([request.len(), customer.len()]).max();
    if servers.len() > MAX_NAMES || parameters.len() > MAX_PAIRS || selector.len() > MAX_PAIRS {
        return Err(bad(format!(
            "at most {MAX_NAMES} servers, {MAX_PAIRS} parameters and {MAX_PAIRS} labels are taken"
        )));
    }
    if longest.is_some_and(|longest| longest > MAX_TEXT) {
        return Err(bad(format!("a name or text of the request has more than {MAX_TEXT} bytes")));
    }
    if servers.is_empty() && selector.is_empty() && customer.is_empty() {
        return Err(bad(
            "say for which servers: --server web1, --where role=web, or --customer acme for all of theirs".to_owned(),
        ));
    }
    let servers: Result<Vec<ServerId>, _> = servers.iter().map(|name| ServerId::new(name)).collect();
    let asking = Asking {
        request,
        parameters: Labels::new(parameters),
        by,
        servers: servers.map_err(|error| bad(error.to_string()))?,
        customer: Some(customer).filter(|name| !name.is_empty()),
    };
    let selector = Match(selector.into_iter().collect::<BTreeMap<_, _>>());
    Ok(Order::Request { asking, selector })
}
