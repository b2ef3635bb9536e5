//! The notes of one notebook: the session's own, or a shared one that is named by its handle.

use serde_json::Value;

use super::failure::Failure;
use super::note_key::{NOTE_KEY_BYTES_MAX, STATE_KEY_PREFIX};
use super::uri::{NoteUri, OWN};
use crate::session::{Announcer, Caller, SessionId, State, StateError};

/// How long a handle is: a UUID with hyphens.
const HANDLE_BYTES: usize = 36;
/// The most bytes of notes that are written up for a model to read.
pub(super) const WRITE_UP_BYTES_MAX: usize = 64 * 1024; // about 16 k tokens

/// The notes of one notebook.
#[derive(Debug)]
pub(super) struct Notes {
    state: State,
    notebook: String,
    announcer: Announcer,
    session: Option<SessionId>,
}

/// A change to one note.
#[derive(Debug)]
pub(super) enum NoteChange {
    /// Keep this value, in the place of what was there.
    Put(Value),
    /// Remove the note.
    Remove,
    /// Add to the whole number that is there, or to 0.
    Add(i64),
}

impl Notes {
    /// The notebook that `handle` names; without one (or with [`OWN`]), the caller's own.
    pub(super) async fn of(caller: &Caller, handle: Option<&str>) -> Result<Self, Failure> {
        // Models often fill an optional argument with an empty string.
        match handle.filter(|handle| !handle.is_empty() && *handle != OWN) {
            Some(handle) => Self::shared(caller, handle).await,
            None => Self::own(caller),
        }
    }

    fn own(caller: &Caller) -> Result<Self, Failure> {
        let session = caller.session.as_ref().ok_or_else(|| {
            Failure::tell(
                "You have no notebook of your own: call open_notebook first and pass its handle as `notebook`.",
            )
        })?;
        Ok(Self {
            state: session.state().clone(),
            notebook: OWN.to_owned(),
            announcer: caller.announcer.clone(),
            session: Some(session.id().clone()),
        })
    }

    async fn shared(caller: &Caller, handle: &str) -> Result<Self, Failure> {
        // The same UUID can be written in other ways, of other lengths. A handle is written in one, so that a
        // note has one URI.
        let handle = handle.to_ascii_lowercase();
        let found = match handle.len() {
            HANDLE_BYTES => caller.notebooks.find(&handle).await?,
            _ => None,
        };
        let state = found.ok_or_else(|| {
            Failure::tell(
                "No notebook has this handle: it never was, has expired, or is not yours. Check the handle, or \
                 call open_notebook for a new one.",
            )
        })?;
        Ok(Self {
            state,
            notebook: handle,
            announcer: caller.announcer.clone(),
            session: None,
        })
    }

    /// The notebook's handle, or [`OWN`].
    pub(super) fn notebook(&self) -> &str {
        &self.notebook
    }

    /// Whether this is the caller's own notebook.
    pub(super) fn is_own(&self) -> bool {
        self.notebook == OWN
    }

    /// The URI of the note `key`.
    pub(super) fn uri(&self, key: &str) -> String {
        NoteUri::new(&self.notebook, key).to_string()
    }

    /// The value of the note `key`, if there is one.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Value>, Failure> {
        Ok(self.state.get(&state_key(key)?).await?)
    }

    /// All notes, sorted by key.
    pub(super) async fn all(&self) -> Result<Vec<(String, Value)>, Failure> {
        let entries = self.state.entries().await?;
        let notes = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(STATE_KEY_PREFIX)?.to_owned(), value)));
        Ok(notes.collect())
    }

    /// Changes the note `key`, and tells those who subscribed to it. Every write to a notebook goes through
    /// here. Returns the sum after [`NoteChange::Add`], else what was there before [`NoteChange::Remove`].
    pub(super) async fn change(&self, key: &str, change: NoteChange) -> Result<Option<Value>, Failure> {
        let changed = self.write(key, change).await?;
        let uri = self.uri(key);
        match &self.session {
            Some(session) => self.announcer.own_resource_updated(session, &uri).await,
            None => self.announcer.resource_updated(&uri).await,
        }
        Ok(changed)
    }

    async fn write(&self, key: &str, change: NoteChange) -> Result<Option<Value>, Failure> {
        let name = state_key(key)?;
        match change {
            NoteChange::Put(value) => {
                self.state.set(&name, &value).await?;
                Ok(None)
            }
            NoteChange::Remove => Ok(self.state.remove(&name).await?),
            NoteChange::Add(by) => self.add(&name, by).await.map(|sum| Some(sum.into())),
        }
    }

    async fn add(&self, name: &str, by: i64) -> Result<i64, Failure> {
        let mut overflows = false;
        let updated = self.state.update(name, |before: Option<i64>| {
            let sum = before.unwrap_or(0).checked_add(by);
            overflows = sum.is_none();
            sum.or(before)
        });
        let sum = updated.await.map_err(|error| match error {
            StateError::Type(_) => Failure::tell(
                "This note holds something other than a whole number, so it cannot be incremented. Use another \
                 key, or `remember` a number under this one.",
            ),
            other => other.into(),
        })?;
        if overflows {
            return Err(Failure::tell(
                "The sum would not fit into 64 bits: the note is unchanged.",
            ));
        }
        Ok(sum.unwrap_or(by))
    }
}

/// Where the note `key` is kept in its state.
fn state_key(key: &str) -> Result<String, Failure> {
    if (1..=NOTE_KEY_BYTES_MAX).contains(&key.len()) {
        Ok(format!("{STATE_KEY_PREFIX}{key}"))
    } else {
        Err(Failure::bad_arguments(format!(
            "`key` must have 1 to {NOTE_KEY_BYTES_MAX} bytes, this one has {}",
            key.len()
        )))
    }
}

/// A note's value as a resource shows it: its MIME type, and its text (a string as it is, all else as JSON).
pub(super) fn shown(value: &Value) -> (&'static str, String) {
    match value {
        Value::String(text) => ("text/plain", text.clone()),
        other => ("application/json", other.to_string()),
    }
}

/// Writes notes up for a model to read: a line for each, key and value as JSON, up to `bytes_max` bytes. Says
/// how many did not fit.
pub(super) fn write_up(notes: &[(String, Value)], bytes_max: usize) -> String {
    let mut text = String::new();
    let mut left_out = 0_usize;
    for (key, value) in notes {
        let line = format!("- {}: {value}\n", Value::from(key.as_str()));
        if text.len() + line.len() > bytes_max {
            left_out += 1;
        } else {
            text.push_str(&line);
        }
    }
    if left_out > 0 {
        text.push_str(&format!(
            "({left_out} more did not fit here: `list_notes` names them)\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_kept_apart_from_other_state_and_fit_into_it() {
        assert_eq!(state_key("a").unwrap(), "note:a");
        let longest = state_key(&"k".repeat(NOTE_KEY_BYTES_MAX)).unwrap();
        assert_eq!(longest.len(), State::KEY_BYTES_MAX);
        assert!(state_key("").is_err());
        assert!(state_key(&"k".repeat(NOTE_KEY_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_write_up_keeps_to_its_bound_and_says_what_it_left_out() {
        let notes = [
            ("a".to_owned(), json!("one\ntwo")),
            ("b".to_owned(), json!("x".repeat(100))),
            ("c".to_owned(), json!({"n": 1})),
        ];
        assert_eq!(
            write_up(&notes, 60),
            "- \"a\": \"one\\ntwo\"\n- \"c\": {\"n\":1}\n(1 more did not fit here: `list_notes` names them)\n"
        );
    }
}
