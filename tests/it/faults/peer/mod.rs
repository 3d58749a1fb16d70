//! Peers that send too much, too slowly, or nothing.

mod attacks;
mod floods;
mod idle_peers;
mod memory;
mod overload;
mod slow_readers;
