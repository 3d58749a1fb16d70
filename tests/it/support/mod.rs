//! What tests share: the world they run in, servers that misbehave as told, and clients that speak raw bytes.

pub(crate) mod bystanders;
pub(crate) mod certificates;
pub(crate) mod database;
pub(crate) mod frames;
pub(crate) mod harness;
pub(crate) mod issuer;
pub(crate) mod lane;
pub(crate) mod programs;
pub(crate) mod provider;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod relay;
pub(crate) mod site;
pub(crate) mod statements;
pub(crate) mod streams;
pub(crate) mod web;
pub(crate) mod wire;
