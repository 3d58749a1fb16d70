//! Batches: mails over providers that take many in one call, whatever the provider does.
