//! The fields of a span as JSON, written once. tracing-subscriber's own form sorts them through a map, and
//! reads and writes them all again whenever one is added, which costs a quick call more than reading its
//! request.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes a span's fields as the members of one JSON object. A field that is recorded again comes again; a
/// reader of the object takes the last.
#[derive(Debug)]
pub(super) struct SpanFields;

/// How many bytes of fields most spans have.
const USUAL_BYTES: usize = 128;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        // Given to the writer in one piece: it would make room for each piece.
        let mut text = String::with_capacity(USUAL_BYTES);
        write_members(&mut text, true, |members| fields.record(members))?;
        writer.write_str(&text)
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let text = &mut current.fields;
        let first = text.len() <= "{}".len();
        // A new allocation and a copy of a few bytes is quicker than to reallocate.
        if text.capacity() - text.len() < USUAL_BYTES {
            let mut longer = String::with_capacity(text.len() + USUAL_BYTES.max(text.len()));
            longer.push_str(text);
            *text = longer;
        }
        write_members(text, first, |members| fields.record(members))
    }
}

/// Writes members of an object, which is begun if it is not there, and ends it.
fn write_members(text: &mut String, first: bool, record: impl FnOnce(&mut Members<'_>)) -> fmt::Result {
    match text.pop() {
        // The end of the object, which comes again below.
        Some(_) => {}
        None => text.push('{'),
    }
    let mut members = Members {
        text,
        first,
        written: Ok(()),
    };
    record(&mut members);
    members.written?;
    text.push('}');
    Ok(())
}

struct Members<'a> {
    text: &'a mut String,
    first: bool,
    written: fmt::Result,
}

impl Members<'_> {
    /// Writes one member, whose value `value` writes.
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut String) -> fmt::Result) {
        if self.written.is_err() {
            return;
        }
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
        // `r#type` is the field `type`.
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        self.written = string(self.text, name).and_then(|()| {
            self.text.push(':');
            value(self.text)
        });
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |text| string(text, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // What is no number in JSON is null.
        self.member(field, |text| match value.is_finite() {
            true => write!(text, "{value:?}"),
            false => text.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |text| write!(text, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |text| write!(text, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |text| write!(text, "{value}"));
    }
}

fn string(text: &mut String, value: &str) -> fmt::Result {
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // All are looked at: compilers do that many at a time.
    if value.bytes().fold(false, |any, byte| any | escaped(byte)) {
        text.push_str(&serde_json::to_string(value).map_err(|_unwritable| fmt::Error)?);
        return Ok(());
    }
    text.push('"');
    text.push_str(value);
    text.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::{Span, field, info, info_span};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct CapturedLines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for CapturedLines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for CapturedLines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The span of a line that is logged in `span`, after `record` has added to it.
    fn logged(span: impl FnOnce() -> Span, record: impl FnOnce(&Span)) -> Value {
        let lines = CapturedLines::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone());
        let subscriber = subscriber.json().with_span_list(false).fmt_fields(SpanFields);
        tracing::subscriber::with_default(subscriber.finish(), || {
            let span = span();
            record(&span);
            let _entered = span.enter();
            info!("a line");
        });
        let line = lines.0.lock().unwrap();
        serde_json::from_slice::<Value>(&line).unwrap()["span"].take()
    }

    #[test]
    fn fields_are_members_of_one_object_however_they_are_recorded() {
        let span = || {
            info_span!(
                "request",
                node = %"n\"1\"",
                late = field::Empty,
                never = field::Empty,
                count = 3_u64,
                below = -3_i64,
                part = 0.5_f64,
                none = f64::NAN,
                yes = true,
                r#type = "raw",
                "quo\"ted" = 1_u64,
            )
        };
        let told = logged(span, |span| {
            span.record("late", "a\tb\\c\u{e9}");
        });
        let expected = json!({
            "name": "request", "node": "n\"1\"", "late": "a\tb\\c\u{e9}",
            "count": 3, "below": -3, "part": 0.5, "none": null, "yes": true, "type": "raw", "quo\"ted": 1,
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_recorded_last_counts_and_a_span_may_have_no_fields() {
        let late = || info_span!("request", late = field::Empty);
        let told = logged(late, |span| {
            span.record("late", 1_u64);
            span.record("late", "again");
        });
        assert_eq!(told, json!({"name": "request", "late": "again"}));
        assert_eq!(logged(late, |_| {}), json!({"name": "request"}));
        assert_eq!(
            logged(|| info_span!("request"), |_| {}),
            json!({"name": "request"})
        );
    }
}
