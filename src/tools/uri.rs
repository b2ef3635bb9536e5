//! The URIs of notes: `note://{notebook}/{key}`.

use std::fmt;

use super::note_key::NOTE_KEY_BYTES_MAX;

/// What names a session's own notebook, in URIs and in the argument `notebook`.
pub(super) const OWN: &str = "session";
/// The URI template of every note (RFC 6570, level 1: both parts are percent-encoded).
pub(super) const TEMPLATE: &str = "note://{notebook}/{key}";
const SCHEME: &str = "note://";
/// The longest notebook name accepted in a URI, in bytes. Handles are UUIDs of 36.
const NOTEBOOK_BYTES_MAX: usize = 64;

/// The URI of one note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoteUri {
    /// The notebook's handle, or [`OWN`].
    pub(super) notebook: String,
    /// The note's key, decoded.
    pub(super) key: String,
}

impl NoteUri {
    /// The URI of note `key` of `notebook`.
    pub(super) fn new(notebook: &str, key: &str) -> Self {
        Self {
            notebook: notebook.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Reads a URI, however much of its key is percent-encoded. `None` when it cannot name a note.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        let (notebook, key) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let plain = notebook.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let dots = key.strip_prefix('?').filter(|dots| is_dots(dots));
        let key = decode(dots.unwrap_or(key))?;
        let fits = (1..=NOTEBOOK_BYTES_MAX).contains(&notebook.len())
            && (1..=NOTE_KEY_BYTES_MAX).contains(&key.len());
        (plain && fits).then(|| Self {
            notebook: notebook.to_ascii_lowercase(),
            key,
        })
    }
}

/// The canonical form, which is the one that is listed: every byte of the key that is not unreserved
/// (RFC 3986, 2.3) is percent-encoded.
impl fmt::Display for NoteUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients resolve dots in a path, encoded or not, and none in a query (URL Standard, "path state").
        let query = if is_dots(&self.key) { "?" } else { "" };
        write!(f, "{SCHEME}{}/{query}{}", self.notebook, encode(&self.key))
    }
}

/// Whether a client would take it for a place in a path.
fn is_dots(key: &str) -> bool {
    [".", ".."].contains(&key)
}

/// Percent-encodes every byte that is not unreserved.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes [`encode`]. `None` for a broken escape, or bytes that are not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_survives_the_trip_through_a_uri() {
        let keys = [
            "count", "a/b c", "100%", "ключ", "?#&=+~", "note:x", "\u{0}\n", ".", "..", "...", "?..",
        ];
        for key in keys {
            let uri = NoteUri::new(OWN, key);
            // Some clients parse a URI, and send what that makes of it.
            let normalized = url::Url::parse(&uri.to_string()).unwrap();
            assert_eq!(NoteUri::parse(normalized.as_str()).as_ref(), Some(&uri));
            assert_eq!(NoteUri::parse(&uri.to_string()), Some(uri));
        }
        assert_eq!(NoteUri::new(OWN, "a/b c").to_string(), "note://session/a%2Fb%20c");
    }

    #[test]
    fn a_key_may_be_encoded_more_or_less_than_it_must_be() {
        let canonical = "note://session/it%27s";
        for uri in [canonical, "note://session/it's", "note://session/%69%74%27s"] {
            assert_eq!(NoteUri::parse(uri).unwrap().to_string(), canonical);
        }
        let handle = "note://0A1B2C3D-0000-4000-8000-000000000000/k";
        assert_eq!(
            NoteUri::parse(handle).unwrap().to_string(),
            handle.to_lowercase().as_str()
        );
    }

    #[test]
    fn what_cannot_name_a_note_is_refused() {
        let long = format!("note://session/{}", "k".repeat(NOTE_KEY_BYTES_MAX + 1));
        for uri in [
            "",
            "note://",
            "note://session",
            "note://session/",
            "note:///key",
            "file://session/key",
            "note://a b/key",
            "note://../key",
            "note://session/%",
            "note://session/%4",
            "note://session/%zz",
            "note://session/%ff",
            &long,
        ] {
            assert_eq!(NoteUri::parse(uri), None, "{uri}");
        }
    }
}
