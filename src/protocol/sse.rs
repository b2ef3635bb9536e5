//! Server-sent events as this server writes them (WHATWG HTML, section 9.2). JSON text has no line breaks, so
//! a message is one `data:` line.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::event_id::EventId;

/// How soon a client should come back whose connection has ended, in milliseconds.
pub(crate) const RETRY_MS: u64 = 500;
/// A comment: it shows that the connection is there, and clients pass it over.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");
/// The last comment of a stream that ends without a message.
pub(crate) const NOTHING_MORE: Bytes = Bytes::from_static(b": nothing more will come\n\n");

/// A message without an id.
pub(crate) fn message(data: &[u8]) -> Bytes {
    encode("", data)
}

/// A message that its client can come back after.
pub(crate) fn message_with_id(id: EventId<'_>, data: &[u8]) -> Bytes {
    encode(&format!("id: {id}\n"), data)
}

fn encode(id: &str, data: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"event: message\ndata: ";
    const TAIL: &[u8] = b"\n\n";
    let mut bytes = BytesMut::with_capacity(id.len() + HEAD.len() + data.len() + TAIL.len());
    for part in [id.as_bytes(), HEAD, data, TAIL] {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// An event without a message, which gives the client an id to come back with (2025-11-25, Transports,
/// "Sending Messages to the Server").
pub(crate) fn priming(id: EventId<'_>) -> Bytes {
    format!("id: {id}\nretry: {RETRY_MS}\ndata:\n\n").into()
}

/// How soon the client should come back when the connection ends, in milliseconds.
pub(crate) fn retry(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n\n").into()
}

/// The first event of HTTP+SSE: where to post (2024-11-05, Transports, "HTTP with SSE"), and how soon to come
/// back.
pub(crate) fn endpoint(session: &str) -> Bytes {
    format!("event: endpoint\ndata: /messages?sessionId={session}\nretry: {RETRY_MS}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_written_as_clients_read_them() {
        let id = EventId {
            stream: "get",
            number: 12,
        };
        let events = [
            message(b"{}"),
            message_with_id(id, b"{}"),
            priming(id),
            retry(7),
            endpoint("a"),
        ];
        let texts = events.map(|event| String::from_utf8(event.to_vec()).unwrap());
        assert_eq!(
            texts,
            [
                "event: message\ndata: {}\n\n",
                "id: get-12\nevent: message\ndata: {}\n\n",
                "id: get-12\nretry: 500\ndata:\n\n",
                "retry: 7\n\n",
                "event: endpoint\ndata: /messages?sessionId=a\nretry: 500\n\n",
            ]
        );
    }
}
