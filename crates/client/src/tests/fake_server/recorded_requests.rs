//! The requests that the fake server got, by their type.

use std::any::Any;
use std::sync::Mutex;

use super::memory::lock;

#[derive(Default)]
pub(crate) struct RecordedRequests(Mutex<Vec<Box<dyn Any + Send>>>);

impl RecordedRequests {
    pub(crate) fn add<T: Clone + Send + 'static>(&self, request: &T) {
        lock(&self.0).push(Box::new(request.clone()));
    }

    /// All requests of a type, in order.
    pub(crate) fn all<T: Clone + 'static>(&self) -> Vec<T> {
        let requests = lock(&self.0);
        let requests = requests.iter().filter_map(|it| it.downcast_ref::<T>());
        requests.cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}
