//! What sensors and actions there are: the node's own list.

pub use skynet_node::catalogue;
