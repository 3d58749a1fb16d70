//! What a use case works with.

use std::ops::{Deref, DerefMut};

use crate::store::Connection;

use super::context::Context;

/// A connection to the database, and the context of the service. Functions of the store take it as a [`Connection`].
pub struct UnitOfWork<'a> {
    pub(super) context: &'a Context,
    connection: Connection<'a>,
}

impl<'a> UnitOfWork<'a> {
    pub(super) const fn new(context: &'a Context, connection: Connection<'a>) -> Self {
        Self {
            context,
            connection,
        }
    }

    pub(super) fn into_connection(self) -> Connection<'a> {
        self.connection
    }
}

impl<'a> Deref for UnitOfWork<'a> {
    type Target = Connection<'a>;

    fn deref(&self) -> &Connection<'a> {
        &self.connection
    }
}

impl<'a> DerefMut for UnitOfWork<'a> {
    fn deref_mut(&mut self) -> &mut Connection<'a> {
        &mut self.connection
    }
}
