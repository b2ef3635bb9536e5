//! `[audit]`: where the audit log goes, and what is in it.

use std::path::PathBuf;

use ::config::ValueKind;

use super::read::{ExpectedWords, text};

/// `[audit]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where the lines go.
    pub to: AuditTo,
    /// Whether the line of a tool's call has its arguments.
    pub arguments: bool,
}

/// Where the audit log goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuditTo {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// A file, to which lines are added.
    File(PathBuf),
}

/// `off`, `stdout`, or a path. A path has a slash, so that a misspelt word is not taken for one.
pub(super) fn read_to(value: &ValueKind) -> Result<AuditTo, ExpectedWords> {
    let expected =
        "off, stdout, or the path of a file with a slash in it, such as /var/log/mcp-server/audit.jsonl";
    let is_path = |text: &str| text.contains('/') && !text.ends_with('/') && !text.contains('\0');
    let to = text(value, expected, |to| {
        matches!(to, "off" | "stdout") || is_path(to)
    })?;
    Ok(match &*to {
        "off" => AuditTo::Off,
        "stdout" => AuditTo::Stdout,
        _ => AuditTo::File(to.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_misspelt_is_no_file() {
        let read = |text: &str| read_to(&ValueKind::String(text.into()));
        assert_eq!(read("off"), Ok(AuditTo::Off));
        assert_eq!(read("stdout"), Ok(AuditTo::Stdout));
        assert_eq!(read("./audit"), Ok(AuditTo::File("./audit".into())));
        for bad in ["", "stdot", "audit.jsonl", "/var/log/", "/a\0b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
