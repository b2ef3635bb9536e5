//! Notes as resources: listed page by page, read by URI.

use rmcp::ErrorData;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource, ResourceContents,
    ResourceTemplate,
};
use serde_json::{Value, json};

use super::failure::Failure;
use super::notes::{Notes, shown};
use super::uri::{NoteUri, OWN, TEMPLATE, decode, encode};
use crate::session::Caller;

/// How many notes one page of `resources/list` holds.
const PAGE_NOTES_MAX: usize = 50; // 50 x 1 KiB = 50 KiB a page at most
/// How a cursor begins. What follows is the last key of the page before, percent-encoded.
const CURSOR: &str = "after:";

/// One page of the notes of the session's own notebook. A caller without a session has none to list: it reads
/// the notes of its notebooks by URI.
pub(super) async fn list(caller: &Caller, cursor: Option<&str>) -> Result<ListResourcesResult, ErrorData> {
    if caller.session.is_none() {
        return Ok(ListResourcesResult::default());
    }
    let notes = Notes::of(caller, None).await.map_err(Failure::into_error)?;
    let all = notes.all().await.map_err(Failure::into_error)?;
    let page = page(all, cursor)?;
    let resources = page
        .notes
        .into_iter()
        .map(|(key, value)| describe(&notes, key, &value));
    let mut listed = ListResourcesResult::with_all_items(resources.collect());
    listed.next_cursor = page.next_cursor;
    Ok(listed)
}

fn describe(notes: &Notes, key: String, value: &Value) -> Resource {
    let (mime_type, text) = shown(value);
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
    Resource::new(notes.uri(&key), key)
        .with_mime_type(mime_type)
        .with_size(size)
}

#[derive(Debug, PartialEq)]
struct Page<T> {
    notes: Vec<(String, T)>,
    next_cursor: Option<String>,
}

/// The notes that follow `cursor`, and the cursor of the page after them, if any. `notes` are sorted by key,
/// so notes that come and go between two pages make no other note appear twice or not at all.
fn page<T>(mut notes: Vec<(String, T)>, cursor: Option<&str>) -> Result<Page<T>, ErrorData> {
    if let Some(cursor) = cursor {
        let last = cursor.strip_prefix(CURSOR).and_then(decode).ok_or_else(|| {
            ErrorData::invalid_params("`cursor` is not from this list: begin again without it", None)
        })?;
        notes.retain(|(key, _)| *key > last);
    }
    let more = notes.len() > PAGE_NOTES_MAX;
    notes.truncate(PAGE_NOTES_MAX);
    let next = notes.last().filter(|_| more);
    let next_cursor = next.map(|(key, _)| format!("{CURSOR}{}", encode(key)));
    Ok(Page { notes, next_cursor })
}

/// The one template: every note of every notebook.
pub(super) fn templates() -> ListResourceTemplatesResult {
    let template = ResourceTemplate::new(TEMPLATE, "note")
        .with_title("A note")
        .with_description(
            "One note. `notebook` is the handle of a notebook, or `session` for the session's own; `key` is the \
             note's key. Text notes are text/plain, all others application/json.",
        );
    ListResourceTemplatesResult::with_all_items(vec![template])
}

/// The note that `uri` names.
pub(super) async fn read(caller: &Caller, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let not_found = || {
        let data = Some(json!({ "uri": uri }));
        ErrorData::resource_not_found(
            "there is no such note: resources are named note://{notebook}/{key}",
            data,
        )
    };
    let named = NoteUri::parse(uri).ok_or_else(not_found)?;
    let unreadable = |failure: Failure| failure.into_resource_error(uri);
    let notes = Notes::of(caller, Some(&named.notebook))
        .await
        .map_err(unreadable)?;
    let value = notes.get(&named.key).await.map_err(unreadable)?;
    let (mime_type, text) = shown(&value.ok_or_else(not_found)?);
    let contents = ResourceContents::text(text, uri).with_mime_type(mime_type);
    Ok(ReadResourceResult::new(vec![contents]))
}

/// Checks a URI that the caller subscribes to. Only the canonical form, because that is what updates name.
pub(super) fn check_subscription(uri: &str) -> Result<(), ErrorData> {
    let named = NoteUri::parse(uri).map(|named| named.to_string());
    match named {
        Some(canonical) if canonical == uri => Ok(()),
        Some(canonical) => {
            let text = format!("subscribe to this note as {canonical}, which is how updates will name it");
            Err(ErrorData::invalid_params(text, Some(json!({ "uri": uri }))))
        }
        None => {
            let text = "only notes can be subscribed to, named note://{notebook}/{key}";
            Err(ErrorData::invalid_params(text, Some(json!({ "uri": uri }))))
        }
    }
}

/// Checks that the caller may know of changes of this note: only a reader of the notebook is told of it. One
/// that is another principal's is answered as one that never was.
pub(super) async fn check_subscriber(caller: &Caller, uri: &str) -> Result<(), ErrorData> {
    check_subscription(uri)?;
    let shared = NoteUri::parse(uri).filter(|named| named.notebook != OWN);
    if let Some(named) = shared {
        Notes::of(caller, Some(&named.notebook))
            .await
            .map_err(|failure| failure.into_resource_error(uri))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(count: usize) -> Vec<(String, ())> {
        (0..count).map(|n| (format!("k {n:04}"), ())).collect()
    }

    #[test]
    fn pages_cover_everything_once_and_end() {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let part = page(notes(120), cursor.as_deref()).unwrap();
            assert!(part.notes.len() <= PAGE_NOTES_MAX);
            seen.extend(part.notes);
            cursor = part.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, notes(120));
    }

    #[test]
    fn a_page_that_just_fits_is_the_last() {
        assert_eq!(page(notes(PAGE_NOTES_MAX), None).unwrap().next_cursor, None);
        assert_eq!(page(notes(0), None).unwrap().next_cursor, None);
    }

    #[test]
    fn a_cursor_survives_the_end_of_the_note_it_names() {
        let next = page(notes(60), None).unwrap().next_cursor;
        let mut fewer = notes(60);
        fewer.remove(PAGE_NOTES_MAX - 1);
        assert_eq!(page(fewer, next.as_deref()).unwrap().notes.len(), 10);
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        for cursor in ["", "50", "after:%"] {
            assert_eq!(page(notes(3), Some(cursor)).unwrap_err().code.0, -32602);
        }
    }

    #[test]
    fn only_the_names_that_updates_use_can_be_subscribed_to() {
        assert!(check_subscription("note://session/a%2Fb").is_ok());
        let error = check_subscription("note://session/a/b").unwrap_err();
        assert!(error.message.contains("note://session/a%2Fb"));
        assert!(check_subscription("file:///etc/passwd").is_err());
    }
}
