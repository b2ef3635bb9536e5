//! The fields of a span as JSON, written once. tracing-subscriber's own form sorts them through a map, and reads and writes
//! them all anew whenever one is added, which costs a quick call more than reading its request.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// Writes a span's fields as the members of one JSON object. A field that is recorded again comes again; whoever reads the
/// object takes the last.
#[derive(Debug)]
pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        writer.write_char('{')?;
        let mut members = Members::new(writer.by_ref(), true);
        fields.record(&mut members);
        members.written?;
        writer.write_char('}')
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        current.fields.truncate(current.fields.len().saturating_sub(1));
        let first = current.fields.len() <= 1;
        let mut members = Members::new(current.as_writer(), first);
        fields.record(&mut members);
        members.written?;
        current.fields.push('}');
        Ok(())
    }
}

struct Members<'a> {
    writer: Writer<'a>,
    first: bool,
    written: fmt::Result,
}

impl<'a> Members<'a> {
    const fn new(writer: Writer<'a>, first: bool) -> Self {
        Self {
            writer,
            first,
            written: Ok(()),
        }
    }

    /// Writes one member, whose value `value` writes.
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'a>) -> fmt::Result) {
        if self.written.is_err() {
            return;
        }
        let comma = if self.first { "" } else { "," };
        self.first = false;
        // `r#type` is the field `type`.
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        self.written = self
            .writer
            .write_str(comma)
            .and_then(|()| string(&mut self.writer, name))
            .and_then(|()| self.writer.write_char(':'))
            .and_then(|()| value(&mut self.writer));
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |writer| string(writer, value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // What is no number in JSON is null.
        self.member(field, |writer| match value.is_finite() {
            true => write!(writer, "{value:?}"),
            false => writer.write_str("null"),
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |writer| write!(writer, "{value}"));
    }
}

fn string(writer: &mut Writer<'_>, value: &str) -> fmt::Result {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        return ["\"", value, "\""]
            .iter()
            .try_for_each(|part| writer.write_str(part));
    }
    writer.write_str(&serde_json::to_string(value).map_err(|_unwritable| fmt::Error)?)
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
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The span of a line that is logged in `span`, after `record` has added to it.
    fn logged(span: impl FnOnce() -> Span, record: impl FnOnce(&Span)) -> Value {
        let lines = Lines::default();
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
