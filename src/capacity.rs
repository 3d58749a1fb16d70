//! Capacity that callers share, such as a number of streams or bytes of memory. Each caller gets at most a share of it. Both
//! ports share the memory for messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::reason::Reason;

#[derive(Debug, Clone)]
pub struct Capacity {
    total: usize,
    used: Arc<Mutex<UsedCapacity>>,
}

#[derive(Debug, Default)]
struct UsedCapacity {
    total: usize,
    by_holder: HashMap<String, usize>,
}

/// A part of a capacity, which is released when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    capacity: Capacity,
    holder: String,
    share: usize,
    amount: usize,
}

impl Capacity {
    pub fn new(total: usize) -> Self {
        Self {
            total,
            used: Arc::default(),
        }
    }

    pub const fn total(&self) -> usize {
        self.total
    }

    /// Reserves an amount for a holder, who gets at most `share`.
    ///
    /// # Errors
    ///
    /// `OVERLOADED` if the share or the capacity is used up. Another process may have room.
    pub fn reserve(
        &self,
        holder: &str,
        share: usize,
        amount: usize,
    ) -> Result<Reservation, Reason> {
        let mut reservation = Reservation {
            capacity: self.clone(),
            holder: holder.to_owned(),
            share,
            amount: 0,
        };
        reservation.resize(amount)?;
        Ok(reservation)
    }

    fn used(&self) -> MutexGuard<'_, UsedCapacity> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    pub const fn share(&self) -> usize {
        self.share
    }

    /// Changes the amount, unless a larger one exceeds the share or the capacity.
    pub fn resize(&mut self, amount: usize) -> Result<(), Reason> {
        let mut used = self.capacity.used();
        let others = used.total - self.amount;
        let own = used.by_holder.get(&self.holder).copied();
        let own = own.unwrap_or_default() - self.amount;
        let is_larger = amount > self.amount;
        if is_larger && (own + amount > self.share || others + amount > self.capacity.total) {
            return Err(Reason::Overloaded);
        }
        used.set(&self.holder, others + amount, own + amount);
        drop(used);
        self.amount = amount;
        Ok(())
    }

    /// Changes the amount to what is in use already. That may exceed the share, so that nothing else fits.
    pub fn set(&mut self, amount: usize) {
        let mut used = self.capacity.used();
        let total = used.total - self.amount + amount;
        let own = used.by_holder.get(&self.holder).copied();
        let own = own.unwrap_or_default() - self.amount + amount;
        used.set(&self.holder, total, own);
        drop(used);
        self.amount = amount;
    }
}

impl UsedCapacity {
    fn set(&mut self, holder: &str, total: usize, own: usize) {
        self.total = total;
        if own == 0 {
            self.by_holder.remove(holder);
        } else if let Some(amount) = self.by_holder.get_mut(holder) {
            *amount = own;
        } else {
            self.by_holder.insert(holder.to_owned(), own);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_gets_its_share_and_all_holders_get_the_capacity() {
        let capacity = Capacity::new(10);
        let mut first = capacity.reserve("a", 6, 4).unwrap();
        assert_eq!(capacity.reserve("a", 6, 3).err(), Some(Reason::Overloaded));
        let second = capacity.reserve("a", 6, 2).unwrap();
        assert!(first.resize(5).is_err());
        let other = capacity.reserve("b", 6, 4).unwrap();
        assert!(capacity.reserve("c", 6, 1).is_err());
        drop(second);
        first.resize(6).unwrap();
        drop(other);
        // What is in use already counts against the share, and less is always possible.
        first.set(9);
        assert!(capacity.reserve("c", 6, 2).is_err());
        first.resize(8).unwrap();
        drop(capacity.reserve("c", 6, 2).unwrap());
        drop(first);
        assert_eq!(capacity.used().total, 0);
        assert!(capacity.used().by_holder.is_empty());
    }
}
