//! A request as it is kept for a node that may have to run it again.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::incoming::Requester;
use crate::engine::shares::Shares;
use crate::session::{Identity, Peer, Principal, RequestInfo, StoredIdentity};

/// A request's JSON text, with what its handler may know of the HTTP request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredRequest<'a> {
    /// The request.
    #[serde(borrow)]
    request: &'a RawValue,
    /// Its headers, a line for each.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    headers: Cow<'a, str>,
    /// The peer it counts for.
    #[serde(borrow, default)]
    peer: Cow<'a, str>,
    /// What its credentials say of who sends it, apart from the principal, whose session it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Cow<'a, StoredIdentity>>,
}

impl<'a> StoredRequest<'a> {
    /// The text that is kept; `None` when the request is not JSON.
    pub(crate) fn encode(request: &str, requester: &Requester) -> Option<String> {
        let Requester { identity, peer, info } = requester;
        let stored = StoredRequest {
            request: serde_json::from_str(request).ok()?,
            headers: info.as_lines().into(),
            peer: peer.peer().to_string().into(),
            identity: identity.stored().map(Cow::Borrowed),
        };
        serde_json::to_string(&stored).ok()
    }

    /// What was kept; `None` when it cannot be read.
    pub(crate) fn decode(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The request's JSON text.
    pub(crate) fn request(&self) -> &'a str {
        self.request.get()
    }

    /// Who sent it, in a session of that principal's.
    pub(crate) fn requester(self, principal: &Principal, shares: &Arc<Shares>) -> Requester {
        let stored = self.identity.map(Cow::into_owned);
        Requester {
            identity: Identity::restored(principal.clone(), stored),
            peer: shares.of(Peer::parse(&self.peer)),
            info: RequestInfo::from_lines(&self.headers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn requester(identity: Identity, peer: Peer, info: RequestInfo) -> (Arc<Shares>, Requester) {
        let shares = Arc::new(Shares::new(&Settings::default()));
        let peer = shares.of(peer);
        (shares, Requester { identity, peer, info })
    }

    /// Finding 31: a call that is run again sees the headers that the first run saw. And it has the scopes of the
    /// first run.
    #[test]
    fn a_request_is_kept_with_who_sent_it_and_how_it_came() {
        let info = RequestInfo::of([("x-tenant", "blue \"sky\"")]);
        let peer = Peer::at([192, 0, 2, 1].into());
        let alice = Principal("alice".into());
        let identity = Identity::of(alice.clone())
            .with_client("cli")
            .with_scopes(["a", "b"]);
        let (shares, sender) = requester(identity.clone(), peer.clone(), info.clone());
        let text = StoredRequest::encode(r#"{"id":1, "big": 18446744073709551616}"#, &sender).unwrap();
        let stored = StoredRequest::decode(&text).unwrap();
        assert_eq!(stored.request(), r#"{"id":1, "big": 18446744073709551616}"#);
        let again = stored.requester(&alice, &shares);
        assert_eq!((again.identity, again.info), (identity, info));
        assert_eq!(again.peer.peer(), &peer);
    }

    #[test]
    fn what_is_not_known_takes_no_room() {
        let (shares, sender) = requester(
            Identity::of(Principal::anonymous()),
            Peer::Local,
            RequestInfo::default(),
        );
        let bare = StoredRequest::encode("{}", &sender).unwrap();
        assert_eq!(bare, r#"{"request":{},"peer":"local"}"#);
        // As a node of a former version keeps it.
        let former = StoredRequest::decode(r#"{"request":{}}"#).unwrap();
        let former = former.requester(&Principal::anonymous(), &shares);
        assert_eq!(
            (former.info, former.peer.peer()),
            (RequestInfo::default(), &Peer::Unknown)
        );
        assert!(StoredRequest::encode("{", &sender).is_none() && StoredRequest::decode("{}").is_none());
    }
}
