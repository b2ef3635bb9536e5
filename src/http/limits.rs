//! How often clients may ask: where a request is counted, and what is not.
//!
//! A request counts for its address and its principal: before its body is read, if it names no session. In a session, answers
//! and cancellations must not be lost, and only the body tells what they are. A message counts for its session once
//! that is found.

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
    /// Counts it before its body is read, unless that might be what does not count.
    pub(super) async fn count_unread(&mut self, service: &Service) -> Result<(), Refusal> {
        match self.names_session() || self.session_in_query().is_some() {
            true => Ok(()),
            false => self.count(service, 1).await,
        }
    }

    /// Counts so many messages for its address and its principal, less those that were counted before.
    pub(super) async fn count(&mut self, service: &Service, messages: u32) -> Result<(), Refusal> {
        let more = messages.saturating_sub(self.counted);
        if more == 0 || !service.engine.limits.are_on() {
            return Ok(());
        }
        let all = self.limited_by();
        let place = count_at_hand(service, &all, more)?;
        if place < all.len() {
            // In a box: its room would be kept with each request, and few wait for the store.
            Box::pin(count_from(service, all, place, more)).await?;
        }
        self.counted = messages;
        Ok(())
    }

    /// Counts a notification, unless it cancels. Returns how many count for its session.
    pub(super) async fn count_notification(
        &mut self,
        service: &Service,
        notification: &Notification<'_>,
    ) -> Result<u32, Refusal> {
        if notification.method == CANCELLED {
            return Ok(0);
        }
        self.count(service, 1).await.map(|()| 1)
    }

    /// Counts each message of a batch that counts. Returns how many count for its session.
    pub(super) async fn count_batch(
        &mut self,
        service: &Service,
        items: &[Result<Message<'_>, Unreadable>],
    ) -> Result<u32, Refusal> {
        let counts = items.iter().filter(|item| match item {
            Ok(Message::Response(_)) => false,
            Ok(Message::Notification(notification)) => notification.method != CANCELLED,
            Ok(Message::Request(_)) | Err(_) => true,
        });
        let messages = u32::try_from(counts.count()).unwrap_or(u32::MAX);
        let limits = &service.engine.limits;
        let over = |kind| limits.rate(kind).is_some_and(|rate| rate.burst() < messages);
        if [LimitKind::Address, LimitKind::Principal, LimitKind::Session]
            .into_iter()
            .any(over)
        {
            return Err(Refusal::NotAMessage(BATCH_OVER_BURST));
        }
        self.count(service, messages).await.map(|()| messages)
    }

    /// Counts so many messages for a session.
    pub(super) async fn count_in_session(
        &self,
        service: &Service,
        id: &SessionId,
        messages: u32,
    ) -> Result<(), Refusal> {
        if messages == 0 || !service.engine.limits.are_on() {
            return Ok(());
        }
        let (limits, by) = (&service.engine.limits, LimitedBy::Session(id.clone()));
        let admitted = match limits.admit_at_hand(LimitKind::Session, by.clone(), messages) {
            Some(admitted) => admitted,
            // In a box, as above.
            None => Box::pin(limits.admit_later(LimitKind::Session, by, messages)).await,
        };
        if admitted.is_err() && self.counted > 0 {
            give_back(service, &self.limited_by(), self.counted);
        }
        Ok(admitted?)
    }

    /// What it counts for, beside its session.
    fn limited_by(&self) -> CountedFor {
        let address = self.address.clone();
        [
            address.map(|address| (LimitKind::Address, LimitedBy::Peer(address))),
            of_principal(self.identity.principal()).map(|by| (LimitKind::Principal, by)),
        ]
    }
}

/// What a request counts for, in the order in which it is counted.
type CountedFor = [Option<(LimitKind, LimitedBy)>; 2];

/// Takes tokens of each that this node has at hand, or of none if one is refused. Returns at which place it has to ask for some.
fn count_at_hand(service: &Service, all: &CountedFor, cost: u32) -> Result<usize, Limited> {
    for (place, one) in all.iter().enumerate() {
        let Some((kind, by)) = one else { continue };
        match service.engine.limits.admit_at_hand(*kind, by.clone(), cost) {
            Some(Ok(())) => {}
            Some(Err(limited)) => {
                give_back(service, all.get(..place).unwrap_or_default(), cost);
                return Err(limited);
            }
            None => return Ok(place),
        }
    }
    Ok(all.len())
}

/// Takes tokens of each from that place on, and waits for them. If one is refused, gives all back.
async fn count_from(service: &Service, all: CountedFor, first: usize, cost: u32) -> Result<(), Limited> {
    for (place, one) in all.iter().enumerate().skip(first) {
        let Some((kind, by)) = one else { continue };
        let limits = &service.engine.limits;
        let admitted = match place == first {
            true => limits.admit_later(*kind, by.clone(), cost).await,
            false => limits.admit(*kind, by.clone(), cost).await,
        };
        if let Err(limited) = admitted {
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
    /// The address of a request, if that is limited.
    pub(super) fn limited_address(&self, headers: &HeaderMap, connected: &Connected) -> Option<Peer> {
        let limits = &self.engine.limits;
        let by_address = [LimitKind::Address, LimitKind::InitializeAddress];
        let limited = by_address.into_iter().any(|kind| limits.rate(kind).is_some());
        limited.then(|| self.guard.address(headers, connected))
    }
}
