//! Asking the client in the middle of a call, in one line for both eras.
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; clients of all revisions still have them"
)]

use rmcp::model::{
    ClientCapabilities, CreateMessageRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequest,
    ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema, InputRequest, InputRequests,
    InputResponses, ListRootsRequest, ListRootsResult, Root,
};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Value, json};

use super::{AskError, Caller};
use crate::protocol::era::Era;

/// Asking the client. A tool, prompt or resource does it in one line, with `?`:
///
/// ```
/// use anynode::session::{AskError, Caller};
/// use schemars::JsonSchema;
/// use serde::Deserialize;
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Confirmation {
///     /// Really?
///     sure: bool,
/// }
///
/// async fn delete(caller: &Caller, file: &str) -> Result<String, AskError> {
///     let answer: Confirmation = caller.ask(format!("Delete {file}?")).await?;
///     Ok(if answer.sure { "deleted" } else { "kept" }.to_owned())
/// }
/// ```
///
/// A client of 2026-07-28 is asked by the result of its call (SEP-2322). The handler ends there, with
/// [`AskError::Later`]. The client calls again, maybe on another node. The handler then runs from its beginning,
/// and finds the answer. So ask the same questions in the same order, and do what has an effect after the last
/// one. Earlier answers travel with the client, sealed for this principal, call and arguments.
impl Caller {
    /// Shows a form to the person at the client, whose fields are those of `T`: texts, numbers, yes or no,
    /// choices.
    ///
    /// # Errors
    /// [`AskError::Declined`] and [`AskError::Dismissed`] when the person does not fill it in; else as
    /// [`AskError`] says.
    pub async fn ask<T>(&self, message: impl Into<String> + Send) -> Result<T, AskError>
    where
        T: JsonSchema + DeserializeOwned,
    {
        let form = ElicitationSchema::from_type::<T>().map_err(AskError::NoForm)?;
        let form = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: message.into(),
            requested_schema: form,
        };
        let answer = self.elicit(form).await?;
        match answer.action {
            ElicitationAction::Accept => {
                let content = answer.content.unwrap_or_else(|| json!({}));
                if !content.is_object() {
                    return Err(self.unfit(serde_json::Error::custom("`content` is not an object")));
                }
                serde_json::from_value(content).map_err(|error| self.unfit(error))
            }
            ElicitationAction::Decline => Err(AskError::Declined),
            _ => Err(AskError::Dismissed),
        }
    }

    /// Shows a form, or a URL to visit, to the person at the client (`elicitation/create`). That the person
    /// does not fill it in is a result, too.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn elicit(&self, form: ElicitRequestParams) -> Result<ElicitResult, AskError> {
        self.input(InputRequest::Elicitation(ElicitRequest::new(form)))
            .await
    }

    /// Has the client's own model write something (`sampling/createMessage`).
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn sample(&self, prompt: CreateMessageRequestParams) -> Result<CreateMessageResult, AskError> {
        self.input(InputRequest::CreateMessage(CreateMessageRequest::new(prompt)))
            .await
    }

    /// The directories and files that the client works in (`roots/list`).
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn roots(&self) -> Result<Vec<Root>, AskError> {
        let answer: ListRootsResult = self
            .input(InputRequest::ListRoots(ListRootsRequest::default()))
            .await?;
        Ok(answer.roots)
    }

    /// Asks for several things at once, by names of the handler's own. The answers are the client's results,
    /// by the same names.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn inputs<N: Into<String>>(
        &self,
        requests: impl IntoIterator<Item = (N, InputRequest)>,
    ) -> Result<InputResponses, AskError> {
        let requests = requests.into_iter().map(|(name, request)| (name.into(), request));
        self.answers(requests.collect()).await
    }

    /// One input, under a name of the library's.
    async fn input<T: DeserializeOwned>(&self, request: InputRequest) -> Result<T, AskError> {
        const NAME: &str = "input";
        let mut answers = self.answers([(NAME.to_owned(), request)].into()).await?;
        let answer = answers.remove(NAME).unwrap_or(Value::Null);
        if !answer.is_object() {
            // Written by place, a list would pass for one.
            return Err(self.unfit(serde_json::Error::custom("it is not an object")));
        }
        serde_json::from_value(answer).map_err(|error| self.unfit(error))
    }

    /// The error for an answer that is not one to what was asked. In rounds, it is the request at hand that is
    /// at fault.
    fn unfit(&self, error: serde_json::Error) -> AskError {
        match self.era() {
            Era::Legacy => AskError::Refused(format!("its answer is not as asked for: {error}")),
            Era::Modern => AskError::BadAnswer(error),
        }
    }

    async fn answers(&self, requests: InputRequests) -> Result<InputResponses, AskError> {
        let asking = self.asking.as_ref().ok_or(AskError::NotHere)?;
        if requests.is_empty() {
            return Ok(InputResponses::new());
        }
        for request in requests.values() {
            self.check_declared(request)?;
        }
        asking
            .answers(&self.principal, &self.request_state, requests)
            .await
    }

    /// Checks that the client has declared that it can be asked for this.
    fn check_declared(&self, request: &InputRequest) -> Result<(), AskError> {
        let (declared, needed) = (&self.capabilities, ClientCapabilities::builder());
        let (can, name, needed) = match request {
            // An `elicitation` capability that names no mode means forms (2025-11-25, Elicitation,
            // "Capabilities").
            InputRequest::Elicitation(asked) => {
                let modes = declared.elicitation.as_ref();
                let can = modes.is_some_and(|modes| match &asked.params {
                    ElicitRequestParams::UrlElicitationParams { .. } => modes.url.is_some(),
                    _ => modes.form.is_some() || modes.url.is_none(),
                });
                let name = match (&asked.params, modes) {
                    (_, None) => "elicitation",
                    (ElicitRequestParams::UrlElicitationParams { .. }, _) => "elicitation.url",
                    _ => "elicitation.form",
                };
                (can, name, needed.enable_elicitation().build())
            }
            InputRequest::CreateMessage(asked) => {
                let tools = asked.params.tools.is_some() || asked.params.tool_choice.is_some();
                let sampling = declared.sampling.as_ref();
                let can = sampling.is_some_and(|sampling| !tools || sampling.tools.is_some());
                (can, "sampling", needed.enable_sampling().build())
            }
            _ => (declared.roots.is_some(), "roots", needed.enable_roots().build()),
        };
        match can {
            true => Ok(()),
            false => Err(AskError::NotDeclared {
                name,
                needed: Box::new(needed),
                era: self.era(),
            }),
        }
    }
}
