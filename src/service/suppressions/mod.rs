//! `SuppressionService`: adding addresses to the suppression list, lifting and listing entries.

mod add;
mod addresses;
mod lift;
mod list;

pub use add::{AddOutcome, AddSuppressions};
pub use addresses::{AddressInputs, AddressResults, RefusedAddress};
pub use lift::{LiftOutcome, LiftSuppressions};
pub use list::ListSuppressions;
