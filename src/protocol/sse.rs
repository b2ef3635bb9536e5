//! Server-sent events as this server writes them (WHATWG HTML, section 9.2). A message is one `data:` line.
//!
//! The standard ends lines at CR and LF only. Readers that split text as Python's `splitlines` does, such as
//! older versions of httpx-sse below the Python SDK 1.x, end them at each line end that Unicode knows, and take
//! half a message for a whole one. JSON can spell each of these characters in other words, so they are never
//! written as they are.

use std::borrow::Cow;

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
    let data = &*one_line(data);
    let mut bytes = BytesMut::with_capacity(id.len() + HEAD.len() + data.len() + TAIL.len());
    for part in [id.as_bytes(), HEAD, data, TAIL] {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// How much of a text is looked through between two decisions: a multiple of what a processor compares at once.
const LOOK_BYTES: usize = 64;

/// JSON text that every reader takes for one line. Nearly all texts are that as they are.
fn one_line(json: &[u8]) -> Cow<'_, [u8]> {
    // Without a branch for each byte, so that the compiler compares many at once.
    let suspect = |chunk: &[u8]| chunk.iter().fold(false, |any, byte| any | may_end_a_line(*byte));
    if !json.chunks(LOOK_BYTES).any(suspect) {
        return Cow::Borrowed(json);
    }
    let mut line = Vec::with_capacity(json.len() + LOOK_BYTES);
    let mut rest = json;
    while let Some((&first, after)) = rest.split_first() {
        let (written, read): (Cow<'_, [u8]>, usize) = match rest {
            // Between values; within strings JSON allows neither.
            [b'\n' | b'\r', ..] => (b" ".as_slice().into(), 1),
            [0x0B | 0x0C | 0x1C..=0x1E, ..] => (format!("\\u{first:04x}").into_bytes().into(), 1),
            [0xC2, 0x85, ..] => (br"\u0085".as_slice().into(), 2),
            [0xE2, 0x80, 0xA8, ..] => (br"\u2028".as_slice().into(), 3),
            [0xE2, 0x80, 0xA9, ..] => (br"\u2029".as_slice().into(), 3),
            _ => {
                let plain = after.iter().take_while(|byte| !may_end_a_line(**byte)).count();
                (rest.get(..=plain).unwrap_or(rest).into(), plain + 1)
            }
        };
        line.extend_from_slice(&written);
        rest = rest.get(read..).unwrap_or_default();
    }
    line.into()
}

/// Whether a character begins with this byte at which some reader ends lines: U+000A to U+000D, U+001C to U+001E,
/// U+0085, U+2028, U+2029.
const fn may_end_a_line(byte: u8) -> bool {
    matches!(byte, b'\n'..=b'\r' | 0x1C..=0x1E | 0xC2 | 0xE2)
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
pub(crate) fn endpoint(messages: &str) -> Bytes {
    format!("event: endpoint\ndata: {messages}\nretry: {RETRY_MS}\n\n").into()
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
            endpoint("messages?sessionId=a"),
        ];
        let texts = events.map(|event| String::from_utf8(event.to_vec()).unwrap());
        assert_eq!(
            texts,
            [
                "event: message\ndata: {}\n\n",
                "id: get-12\nevent: message\ndata: {}\n\n",
                "id: get-12\nretry: 500\ndata:\n\n",
                "retry: 7\n\n",
                "event: endpoint\ndata: messages?sessionId=a\nretry: 500\n\n",
            ]
        );
    }
    /// All that `str.splitlines` of Python ends lines at.
    const LINE_ENDS: [char; 10] = [
        '\n', '\u{b}', '\u{c}', '\r', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
    ];

    fn data(text: &str) -> String {
        let event = String::from_utf8(message(text.as_bytes()).to_vec()).unwrap();
        let data = event.strip_prefix("event: message\ndata: ");
        data.and_then(|data| data.strip_suffix("\n\n"))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn no_reader_finds_a_line_end_within_a_message() {
        for end in LINE_ENDS {
            for (before, after) in [("", ""), ("a", "b"), ("\u{2027}\u{2030}", "\u{84}\u{86}\u{e2}")] {
                let text = format!("{before}{end}{after}");
                // As a raw value keeps it: unescaped, in a key, an id and a text.
                let raw = format!(
                    r#"{{"id":"{text}","{text}":["{text}","{}"]}}"#,
                    "x".repeat(LOOK_BYTES)
                );
                let line = data(&raw);
                assert!(!line.contains(LINE_ENDS), "{end:?}: {line:?}");
                let read: serde_json::Value = serde_json::from_str(&line).unwrap();
                let text = match end {
                    // JSON allows neither within a string: there they are always escaped already.
                    '\n' | '\r' => text.replace(end, " "),
                    _ => text,
                };
                assert_eq!(read["id"], *text);
                assert_eq!(read[&text][0], *text);
            }
        }
    }

    #[test]
    fn line_ends_are_found_wherever_they_are_and_nothing_else_is_touched() {
        for at in 0..3 * LOOK_BYTES {
            let text = format!(r#""{}{}{}""#, "x".repeat(at), '\u{2028}', "ü°“".repeat(at));
            assert_eq!(data(&text), text.replace('\u{2028}', r"\u2028"), "{at}");
        }
        let pretty = "{\r\n  \"a\": [\n    1\n  ]\n}";
        assert_eq!(data(pretty), "{    \"a\": [     1   ] }");
        for plain in [r#"{"a":"äöü°“”…—"}"#, "", "日本語", r#"{"a":"\u2028\n"}"#] {
            assert_eq!(data(plain), plain);
        }
        assert!(matches!(one_line("äöü – 日本語".as_bytes()), Cow::Owned(_)));
        assert!(matches!(one_line("äöü 日本語".as_bytes()), Cow::Borrowed(_)));
    }
}
