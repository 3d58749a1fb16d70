//! What a unit of work has to announce once it is committed.

use std::collections::BTreeSet;

/// Most organizations that are announced one by one. Beyond that, all organizations are.
const ORGANIZATIONS_MAX: usize = 64;

/// Whom to wake after a commit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PendingNotifications {
    /// Watchers of these organizations.
    pub(super) organization_ids: BTreeSet<String>,
    /// Watchers of every organization.
    pub(super) all_organizations: bool,
    /// Workers, because mail was queued.
    pub(super) mail_queued: bool,
}

impl PendingNotifications {
    pub(super) fn is_empty(&self) -> bool {
        self.organization_ids.is_empty() && !self.all_organizations && !self.mail_queued
    }

    pub(super) fn has_events(&self) -> bool {
        self.all_organizations || !self.organization_ids.is_empty()
    }

    /// Events of an organization were written.
    pub(super) fn add_events(&mut self, organization_id: &str) {
        if !self.organization_ids.contains(organization_id) {
            self.organization_ids.insert(organization_id.to_owned());
            self.limit();
        }
    }

    /// Mail of an organization was queued, and the events that say so were written.
    pub(super) fn add_mail(&mut self, organization_id: &str) {
        self.add_events(organization_id);
        self.mail_queued = true;
    }

    /// Mail of organizations that the statement did not name was queued.
    pub(super) fn add_mail_of_any_organization(&mut self) {
        self.all_organizations = true;
        self.mail_queued = true;
        self.limit();
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.organization_ids.extend(other.organization_ids);
        self.all_organizations |= other.all_organizations;
        self.mail_queued |= other.mail_queued;
        self.limit();
    }

    fn limit(&mut self) {
        if self.organization_ids.len() > ORGANIZATIONS_MAX {
            self.all_organizations = true;
        }
        if self.all_organizations {
            self.organization_ids.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_organizations_become_all_of_them() {
        let mut notifications = PendingNotifications::default();
        notifications.add_mail("acme");
        notifications.add_events("other");
        notifications.add_events("acme");
        assert_eq!(notifications.organization_ids.len(), 2);
        assert!(notifications.mail_queued && !notifications.all_organizations);
        for id in 0..=ORGANIZATIONS_MAX {
            notifications.add_events(&id.to_string());
        }
        assert!(notifications.all_organizations && notifications.organization_ids.is_empty());
    }
}
