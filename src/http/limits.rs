//! How often clients may ask: where a request is counted, and what is not.
//!
//! A request counts for its address and its principal before its body is read. Answers and cancellations must not be
//! lost, but only the body tells what they are: so of a request that is one too many, and names a session, the body is
//! read before it is refused.

use http::HeaderMap;

use super::Service;
use super::admit::AdmittedRequest;
use super::source::Connected;
use crate::cluster::{LimitKind, LimitedBy};
use crate::protocol::error::{Limited, Refusal};
use crate::protocol::message::{Message, Notification, Unreadable};
use crate::session::{Peer, Principal, SessionId};

const CANCELLED: &str = "notifications/cancelled";
const BATCH_OVER_BURST: &str =
    "a batch of more messages than the server's limits let in at once (limit.*): send fewer in one";

impl AdmittedRequest {
    /// Counts it for its address and its principal. It keeps what it was refused for, until it is known what it is.
    pub(super) async fn count(&mut self, service: &Service) {
        self.over = count(service, &self.limited_by(), 1).await.err();
    }

    /// Refuses it, if it was one too many.
    pub(super) fn check_limits(&self) -> Result<(), Refusal> {
        self.over.map_or(Ok(()), |over| Err(over.into()))
    }

    /// The same before its body is read, unless that might be what must not be lost.
    pub(super) fn check_limits_unread(&self) -> Result<(), Refusal> {
        match self.names_session() || self.session_in_query().is_some() {
            true => Ok(()),
            false => self.check_limits(),
        }
    }

    /// It takes no token, or another limit has refused it: what it has taken is given back.
    pub(super) fn uncount(&self, service: &Service) {
        if service.engine.limits.are_on() && self.over.is_none() {
            give_back(service, &self.limited_by(), 1);
        }
    }

    /// Counts a notification, of which those that cancel take no token.
    pub(super) fn check_notification(
        &self,
        service: &Service,
        notification: &Notification<'_>,
    ) -> Result<u32, Refusal> {
        if notification.method == CANCELLED {
            self.uncount(service);
            return Ok(0);
        }
        self.check_limits().map(|()| 1)
    }

    /// Counts the messages of a batch, of which one was counted before. Returns how many count for its session.
    pub(super) async fn count_batch(
        &self,
        service: &Service,
        items: &[Result<Message<'_>, Unreadable>],
    ) -> Result<u32, Refusal> {
        let limits = &service.engine.limits;
        if !limits.are_on() {
            return Ok(0);
        }
        let counted = items.iter().filter(|item| match item {
            Ok(Message::Response(_)) => false,
            Ok(Message::Notification(notification)) => notification.method != CANCELLED,
            Ok(Message::Request(_)) | Err(_) => true,
        });
        let messages = u32::try_from(counted.count()).unwrap_or(u32::MAX);
        let Some(more) = messages.checked_sub(1) else {
            self.uncount(service);
            return Ok(0);
        };
        let over = |kind| limits.rate(kind).is_some_and(|rate| rate.burst() < messages);
        if [LimitKind::Address, LimitKind::Principal, LimitKind::Session]
            .into_iter()
            .any(over)
        {
            self.uncount(service);
            return Err(Refusal::NotAMessage(BATCH_OVER_BURST));
        }
        self.check_limits()?;
        if more > 0
            && let Err(limited) = count(service, &self.limited_by(), more).await
        {
            self.uncount(service);
            return Err(limited.into());
        }
        Ok(messages)
    }

    /// Counts so many messages for a session.
    pub(super) async fn count_in_session(
        &self,
        service: &Service,
        id: &SessionId,
        cost: u32,
    ) -> Result<(), Refusal> {
        let by = LimitedBy::Session(id.clone());
        if let Err(limited) = service.engine.limits.admit(LimitKind::Session, by, cost).await {
            if self.over.is_none() {
                give_back(service, &self.limited_by(), cost);
            }
            return Err(limited.into());
        }
        Ok(())
    }

    /// What it counts for, beside its session.
    fn limited_by(&self) -> [Option<(LimitKind, LimitedBy)>; 2] {
        let address = self.address.clone();
        [
            address.map(|address| (LimitKind::Address, LimitedBy::Peer(address))),
            of_principal(self.identity.principal()).map(|by| (LimitKind::Principal, by)),
        ]
    }
}

/// Takes tokens of each, or of none.
async fn count(service: &Service, all: &[Option<(LimitKind, LimitedBy)>], cost: u32) -> Result<(), Limited> {
    for (place, (kind, by)) in all
        .iter()
        .enumerate()
        .filter_map(|(place, one)| Some((place, one.as_ref()?)))
    {
        if let Err(limited) = service.engine.limits.admit(*kind, by.clone(), cost).await {
            give_back(service, all.get(..place).unwrap_or_default(), cost);
            return Err(limited);
        }
    }
    Ok(())
}

fn give_back(service: &Service, all: &[Option<(LimitKind, LimitedBy)>], cost: u32) {
    for (kind, by) in all.iter().flatten() {
        service.engine.limits.give_back(*kind, by.clone(), cost);
    }
}

/// Requests without a principal are nobody's.
fn of_principal(principal: &Principal) -> Option<LimitedBy> {
    let named = !principal.as_str().is_empty();
    named.then(|| LimitedBy::Peer(Peer::Principal(principal.clone())))
}

impl Service {
    /// Counts a stream that is opened in a session.
    pub(super) async fn count_stream(&self, id: &SessionId) -> Result<(), Refusal> {
        let by = LimitedBy::Session(id.clone());
        Ok(self.engine.limits.admit(LimitKind::Session, by, 1).await?)
    }

    /// The address of a request, if that is limited.
    pub(super) fn limited_address(&self, headers: &HeaderMap, connected: &Connected) -> Option<Peer> {
        let limits = &self.engine.limits;
        let by_address = [LimitKind::Address, LimitKind::InitializeAddress];
        let limited = by_address.into_iter().any(|kind| limits.rate(kind).is_some());
        limited.then(|| self.guard.address(headers, connected))
    }
}
