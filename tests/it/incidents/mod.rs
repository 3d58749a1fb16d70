//! Incidents that other products had with invitations. `docs/incidents.md` lists them with the tests that rule them out
//! here.

mod accept;
mod canaries;
mod concurrent_batches;
mod concurrent_rounds;
mod dependencies;
mod isolation;
mod keys;
mod linearizability;
mod links;
mod mail;
mod names;
mod roles;
mod sequential_model;
mod templates;
mod tokens;
