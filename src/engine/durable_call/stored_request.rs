//! A request as it is kept for a node that may have to run it again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session::{Peer, RequestInfo};

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
}

impl<'a> StoredRequest<'a> {
    /// The text that is kept; `None` when the request is not JSON.
    pub(crate) fn encode(request: &str, info: &RequestInfo, peer: &Peer) -> Option<String> {
        let stored = StoredRequest {
            request: serde_json::from_str(request).ok()?,
            headers: info.as_lines().into(),
            peer: peer.to_string().into(),
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

    /// What its handler may know of the HTTP request.
    pub(crate) fn info(&self) -> RequestInfo {
        RequestInfo::from_lines(&self.headers)
    }

    /// The peer it counts for.
    pub(crate) fn peer(&self) -> Peer {
        Peer::parse(&self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finding 31: a call that is run again sees the headers that the first run saw.
    #[test]
    fn a_request_is_kept_with_its_headers_and_its_peer() {
        let info = RequestInfo::of([("x-tenant", "blue \"sky\"")]);
        let peer = Peer::at([192, 0, 2, 1].into());
        let text = StoredRequest::encode(r#"{"id":1, "big": 18446744073709551616}"#, &info, &peer).unwrap();
        let stored = StoredRequest::decode(&text).unwrap();
        assert_eq!(stored.request(), r#"{"id":1, "big": 18446744073709551616}"#);
        assert_eq!(stored.info(), info);
        assert_eq!(stored.peer(), peer);
        let bare = StoredRequest::encode("{}", &RequestInfo::default(), &Peer::Local).unwrap();
        assert_eq!(bare, r#"{"request":{},"peer":"local"}"#);
        // As a node of a former version keeps it.
        let former = StoredRequest::decode(r#"{"request":{}}"#).unwrap();
        assert_eq!(
            (former.info(), former.peer()),
            (RequestInfo::default(), Peer::Unknown)
        );
        assert!(StoredRequest::encode("{", &info, &peer).is_none() && StoredRequest::decode("{}").is_none());
    }
}
