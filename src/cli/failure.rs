//! How a command that failed says why: in words, or in JSON when that was asked for.

use std::fmt;

use serde_json::{Value, json};

use super::print;
use crate::causes::causes;
use crate::config::{Problem, SettingsError};

/// Tells why a command failed: in words on standard error; as JSON on standard output when it answers in
/// JSON, so that a program that reads the answer finds one.
pub(super) fn tell(error: &anyhow::Error, json: bool) {
    if json {
        let failed = json!({ "status": "error", "problems": problems(error) });
        print::remark(format!("{failed:#}"));
    } else {
        print::failure(error.as_ref());
    }
}

/// Each problem as JSON. One of a setting says which it is.
fn problems(error: &anyhow::Error) -> Vec<Value> {
    if let Some(Several(all)) = error.downcast_ref() {
        return all.iter().flat_map(problems).collect();
    }
    match error.downcast_ref::<SettingsError>() {
        Some(wrong) => wrong.problems.iter().map(of_setting).collect(),
        None => vec![json!({ "message": causes(error.as_ref()).to_string() })],
    }
}

fn of_setting(problem: &Problem) -> Value {
    json!({
        "message": problem.to_string(),
        "setting": problem.setting,
        "source": problem.source,
        "value": problem.value,
        "expected": problem.expected,
    })
}

/// Several problems of one command, one line each.
#[derive(Debug)]
pub(super) struct Several(pub(super) Vec<anyhow::Error>);

impl Several {
    /// What both came to.
    ///
    /// # Errors
    /// The one problem, or both.
    pub(super) fn both<A, B>(one: anyhow::Result<A>, other: anyhow::Result<B>) -> anyhow::Result<(A, B)> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(problem), Ok(_)) | (Ok(_), Err(problem)) => Err(problem),
            (Err(one), Err(other)) => {
                let mut all = Self::of(one);
                all.extend(Self::of(other));
                Err(Self(all).into())
            }
        }
    }

    /// The problems that an error stands for.
    fn of(error: anyhow::Error) -> Vec<anyhow::Error> {
        error.downcast().map_or_else(|one| vec![one], |Self(all)| all)
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} problems:", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n{}", causes(problem.as_ref()))?;
        }
        Ok(())
    }
}

impl std::error::Error for Several {}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_problem_is_told_and_a_setting_is_named() {
        let wrong = SettingsError {
            problems: vec![Problem {
                setting: "port".into(),
                source: "PORT".into(),
                value: Some("http".into()),
                expected: "expected a number".into(),
            }],
        };
        let away = anyhow!("refused").context("the store is away");
        let wrong = anyhow::Error::from(wrong);
        let all = Several::both(Err::<(), _>(wrong), Err::<(), _>(away)).unwrap_err();
        assert_eq!(
            all.to_string(),
            "2 problems:\nport = \"http\" (from PORT): expected a number\nthe store is away: refused"
        );
        let told = problems(&all);
        assert_eq!(told[0]["setting"], "port");
        assert_eq!(told[1], json!({ "message": "the store is away: refused" }));
        let more = Several::both(Err::<(), _>(all), Err::<(), _>(anyhow!("three"))).unwrap_err();
        assert!(more.to_string().starts_with("3 problems:\n"), "{more}");
        assert_eq!(Several::both(Ok(1), Ok(2)).unwrap(), (1, 2));
        let one = Several::both(Ok(1), Err::<(), _>(anyhow!("one"))).unwrap_err();
        assert_eq!(one.to_string(), "one");
    }
}
