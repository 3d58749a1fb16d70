//! Peers that send too much, too slowly, or nothing.

mod floods;
mod memory;
mod overload;
mod slow_readers;
