//! What went wrong with invitations elsewhere, and cannot go wrong here: `docs/incidents.md` names the cases.

mod accept;
mod canaries;
mod dependencies;
mod isolation;
mod keys;
mod linearity;
mod links;
mod lives;
mod mail;
mod names;
mod races;
mod roles;
mod rounds;
mod templates;
mod tokens;
