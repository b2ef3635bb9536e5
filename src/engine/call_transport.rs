//! The transport of one request's own peer: what a handler sends through it belongs to that request, and to
//! no other.
//!
//! rmcp makes a `Peer` only together with a serve loop, so each request that may talk gets a loop whose
//! transport is [`CallTransport`]: it numbers the server's requests so that their ids are unique in the
//! session across nodes, keeps log messages to the level the client asked for, and ends the wait for an
//! answer that does not come.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmcp::ServerHandler;
use rmcp::model::{
    CancelledNotificationParam, ClientCapabilities, ClientJsonRpcMessage, ClientResult, CustomResult,
    ErrorCode, ErrorData, GetMeta as _, Implementation, InitializeRequestParams, JsonRpcMessage,
    NotificationMetaObject, ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::service::{RoleServer, RunningService, RxJsonRpcMessage, TxJsonRpcMessage, serve_directly};
use rmcp::transport::Transport;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::changes::{ListenStart, Listening};
use super::open_requests::{Answer, OpenRequests, RequestKind};
use crate::cluster::CachedSession;
use crate::session::announce::Topic;
use crate::session::{Announcer, Caller, LogLevel};
use crate::session::{not_asked, timed_out};
use crate::store::Limits;

/// How many requests a call may have open at its client.
pub(crate) const OPEN_REQUESTS_MAX: usize = Limits::ANSWERS_WAITING_MAX;

/// Which log messages the client wants.
#[derive(Debug, Clone)]
pub(crate) enum LogGate {
    /// Those at or above the session's level, which may change while the call runs.
    Session(Arc<CachedSession>),
    /// Those at or above the level in the request's `_meta`; none without one (2026-07-28, Logging).
    Request(Option<LogLevel>),
}

impl LogGate {
    fn lets_pass(&self, level: LogLevel) -> bool {
        match self {
            Self::Session(cached) => level >= cached.log_level(),
            Self::Request(wanted) => wanted.is_some_and(|wanted| level >= wanted),
        }
    }
}

/// What the transport of a call needs to know.
#[derive(Debug)]
pub(crate) struct CallTransportSettings {
    /// What the ids of the server's requests begin with: unique among all calls of all nodes.
    pub name: Arc<str>,
    /// The number of the first of them.
    pub first_request: u64,
    /// Which log messages the client wants.
    pub logs: LogGate,
    /// What the client can be asked for.
    pub capabilities: Arc<ClientCapabilities>,
    /// How long a client may take to answer.
    pub answer_timeout: Duration,
    /// What announces changes, and who listens for them.
    pub announcer: Announcer,
    /// Where the listener begins, if the call opens one.
    pub listens: Option<Arc<ListenStart>>,
    /// Which requests are open at the client: only answers to these are let in.
    pub open: OpenRequests,
}

/// The transport of one call's serve loop.
#[derive(Debug)]
pub(crate) struct CallTransport {
    settings: CallTransportSettings,
    outbound: mpsc::Sender<Bytes>,
    answers: mpsc::Receiver<Answer>,
    refused: Vec<(RequestId, ErrorData)>,
    listening: Option<Listening>,
}

/// The call has ended, or its client's connection is closed for good.
#[derive(Debug, thiserror::Error)]
#[error("the call has ended")]
pub(crate) struct Closed;

/// A handler for the serve loop of a request, which never dispatches anything: the request goes to the real
/// one directly.
#[derive(Debug)]
pub(crate) struct Idle;

impl ServerHandler for Idle {}

/// A peer at work, until it is dropped.
pub(crate) type Open = RunningService<RoleServer, Idle>;

/// Opens the peer of one call, or of what says things outside any.
#[must_use]
pub(crate) fn open(info: InitializeRequestParams, transport: CallTransport) -> Open {
    serve_directly(Idle, transport, Some(info))
}

/// What rmcp's peer knows of the client, which decides what rmcp lets a handler do: a modern client cannot be
/// sent requests, and results carry the members of the client's revision only.
pub(crate) fn peer_info(caller: &Caller) -> InitializeRequestParams {
    let client = caller
        .client
        .as_deref()
        .cloned()
        .unwrap_or_else(|| Implementation::new("unknown", "unknown"));
    InitializeRequestParams::new(caller.capabilities.as_ref().clone(), client)
        .with_protocol_version(caller.revision.to_rmcp())
}

impl CallTransport {
    /// What is sent comes out of the receiver of `outbound`.
    #[must_use]
    pub(crate) fn new(
        settings: CallTransportSettings,
        outbound: mpsc::Sender<Bytes>,
        answers: mpsc::Receiver<Answer>,
    ) -> Self {
        Self {
            settings,
            outbound,
            answers,
            refused: Vec::new(),
            listening: None,
        }
    }

    fn full_id(&self, number: u64) -> RequestId {
        RequestId::String(format!("{}-{number}", self.settings.name).into())
    }

    /// The id by which rmcp knows request `number`.
    fn own_id(&self, number: u64) -> RequestId {
        let own = number.saturating_sub(self.settings.first_request);
        RequestId::Number(i64::try_from(own).unwrap_or(i64::MAX))
    }

    /// What a notification announces, if it is one that every client may want, and not for one subscription.
    fn announces(&self, message: &ServerJsonRpcMessage) -> Option<Topic> {
        let JsonRpcMessage::Notification(notification) = message else {
            return None;
        };
        if notification.notification.get_meta().subscription_id().is_some() {
            return None;
        }
        match &notification.notification {
            ServerNotification::ToolListChangedNotification(_) => Some(Topic::Tools),
            ServerNotification::PromptListChangedNotification(_) => Some(Topic::Prompts),
            ServerNotification::ResourceListChangedNotification(_) => Some(Topic::Resources),
            ServerNotification::ResourceUpdatedNotification(updated) => {
                Some(Topic::Resource(updated.params.uri.clone()))
            }
            _ => None,
        }
    }

    /// Prepares a message for the client; `None` when it is not for the client.
    fn prepare(&mut self, message: ServerJsonRpcMessage) -> Option<Bytes> {
        let message: ServerJsonRpcMessage = match message {
            JsonRpcMessage::Request(mut request) => {
                let RequestId::Number(number) = request.id else {
                    return None;
                };
                let number = self.settings.first_request + u64::try_from(number).ok()?;
                let kind = RequestKind::of(&request.request);
                if let Err(error) = self.admit(kind) {
                    self.refused.push((request.id, error));
                    return None;
                }
                let until = Instant::now() + self.settings.answer_timeout;
                self.settings.open.insert(number, kind, until);
                request.id = self.full_id(number);
                // rmcp numbers the tokens of each call from the start too; the client must be able to tell
                // all of a session apart.
                let token = ProgressToken(self.full_id(number));
                request.request.get_meta_mut().set_progress_token(token);
                JsonRpcMessage::Request(request)
            }
            JsonRpcMessage::Notification(mut notification) => {
                self.filter(&mut notification.notification)?;
                JsonRpcMessage::Notification(notification)
            }
            // Results go out through the reply, never through here.
            JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_) => return None,
        };
        serde_json::to_vec(&message).ok().map(Bytes::from)
    }

    /// Whether the client said that it can be asked (2025-11-25, Lifecycle, "Capability Negotiation").
    fn admit(&self, kind: RequestKind) -> Result<(), ErrorData> {
        let capabilities = &self.settings.capabilities;
        let missing = match kind {
            RequestKind::Sampling => capabilities.sampling.is_none().then_some("sampling"),
            RequestKind::Elicitation => capabilities.elicitation.is_none().then_some("elicitation"),
            RequestKind::Roots => capabilities.roots.is_none().then_some("roots"),
            RequestKind::Ping | RequestKind::Custom => None,
        };
        if let Some(missing) = missing {
            let words =
                format!("the client did not declare the `{missing}` capability, so it cannot be asked");
            return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, words, None));
        }
        // Answers that wait for the handler count too: there is room for each.
        if self.settings.open.len() + self.answers.len() >= OPEN_REQUESTS_MAX {
            let words = "the call's limit of open requests to its client is reached";
            return Err(not_asked(words));
        }
        Ok(())
    }

    #[expect(
        deprecated,
        reason = "SEP-2577 deprecates logging; legacy clients and modern `_meta` still use it"
    )]
    fn filter(&mut self, notification: &mut ServerNotification) -> Option<()> {
        match notification {
            ServerNotification::LoggingMessageNotification(log) => self
                .settings
                .logs
                .lets_pass(log.params.level.into())
                .then_some(()),
            ServerNotification::SubscriptionsAcknowledgedNotification(acknowledged) => {
                let id = acknowledged
                    .extensions
                    .get::<NotificationMetaObject>()?
                    .subscription_id()?;
                let filter = &acknowledged.params.notifications;
                let start = self.settings.listens.as_ref()?;
                self.listening = Some(start.listen(filter, id, self.outbound.clone()));
                Some(())
            }
            ServerNotification::CancelledNotification(cancelled) => {
                if let Some(RequestId::Number(number)) = cancelled.params.request_id {
                    let number = self.settings.first_request + u64::try_from(number).ok()?;
                    // Its answer may have come already, and is what the handler gets then.
                    if !self.settings.open.remove(number) {
                        return None;
                    }
                    cancelled.params.request_id = Some(self.full_id(number));
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    fn take_answer(&self, answer: Answer) -> ClientJsonRpcMessage {
        let id = self.own_id(answer.number);
        match answer.outcome {
            Ok(result) => match typed_result(answer.kind, &result) {
                Ok(result) => JsonRpcMessage::response(result, id),
                Err(error) => {
                    let words = format!("the client's answer is not what was asked for: {error}");
                    JsonRpcMessage::error(ErrorData::new(ErrorCode::INVALID_PARAMS, words, None), Some(id))
                }
            },
            Err(error) => {
                let error = serde_json::from_str(error.get()).unwrap_or_else(|_| {
                    ErrorData::internal_error("the client answered with a malformed error", None)
                });
                JsonRpcMessage::error(error, Some(id))
            }
        }
    }

    /// Ends the wait for an answer that did not come, and tells the client not to bother.
    fn give_up(&self, number: u64) -> ClientJsonRpcMessage {
        let param =
            CancelledNotificationParam::new(Some(self.full_id(number)), Some("no answer in time".into()));
        let notification = rmcp::model::CancelledNotification::new(param);
        let message = ServerJsonRpcMessage::notification(notification.into());
        if let Ok(text) = serde_json::to_vec(&message)
            && self.outbound.try_send(text.into()).is_err()
        {
            tracing::debug!("the client could not be told that its answer is no longer wanted");
        }
        let words = format!(
            "the client did not answer within {} s",
            self.settings.answer_timeout.as_secs()
        );
        JsonRpcMessage::error(timed_out(words), Some(self.own_id(number)))
    }
}

impl Transport<RoleServer> for CallTransport {
    type Error = Closed;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Closed>> + Send + 'static {
        let announced = self
            .announces(&item)
            .map(|topic| (self.settings.announcer.clone(), topic));
        let prepared = match announced {
            Some(_) => None,
            None => self.prepare(item).map(|text| (self.outbound.clone(), text)),
        };
        async move {
            if let Some((announcer, topic)) = announced {
                announcer.announce(topic).await;
            }
            match prepared {
                Some((outbound, text)) => outbound.send(text).await.map_err(|_gone| Closed),
                None => Ok(()),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            if let Some((id, error)) = self.refused.pop() {
                return Some(JsonRpcMessage::error(error, Some(id)));
            }
            let first = self.settings.open.first_to_end();
            let until = first.map_or_else(
                || Instant::now() + self.settings.answer_timeout,
                |(_, until)| until,
            );
            tokio::select! {
                answer = self.answers.recv() => {
                    return Some(self.take_answer(answer?));
                }
                () = sleep_until(until), if first.is_some() => {
                    let (number, _) = first?;
                    // Its answer may have come just now.
                    if self.settings.open.remove(number) {
                        return Some(self.give_up(number));
                    }
                }
            }
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Closed>> + Send {
        std::future::ready(Ok(()))
    }
}

/// Reads an answer as what was asked for, instead of trying every shape.
fn typed_result(kind: RequestKind, result: &RawValue) -> Result<ClientResult, serde_json::Error> {
    Ok(match kind {
        RequestKind::Sampling => ClientResult::CreateMessageResult(serde_json::from_str(result.get())?),
        RequestKind::Elicitation => ClientResult::ElicitResult(serde_json::from_str(result.get())?),
        RequestKind::Roots => ClientResult::ListRootsResult(serde_json::from_str(result.get())?),
        RequestKind::Ping => ClientResult::empty(()),
        RequestKind::Custom => ClientResult::CustomResult(CustomResult(serde_json::from_str(result.get())?)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use rmcp::model::{PingRequest, ServerRequest};

    use super::*;
    use crate::engine::open_requests::{Answers, Handed, ResponseOutcome};
    use crate::session::announce::Announce;

    #[derive(Debug)]
    struct AnnouncesNothing;

    #[async_trait]
    impl Announce for AnnouncesNothing {
        async fn announce(self: Arc<Self>, _topic: Topic) {}

        async fn announce_own(self: Arc<Self>, _session: &crate::session::SessionId, _uri: &str) {}
    }

    const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

    /// A transport, what comes out of it, and the way of answers to it.
    fn transport() -> (CallTransport, mpsc::Receiver<Bytes>, Answers) {
        let settings = CallTransportSettings {
            name: "a".into(),
            first_request: 0,
            logs: LogGate::Request(None),
            capabilities: Arc::default(),
            answer_timeout: ANSWER_TIMEOUT,
            announcer: Announcer::new(Arc::new(AnnouncesNothing)),
            listens: None,
            open: OpenRequests::default(),
        };
        let (outbound, sent) = mpsc::channel(OPEN_REQUESTS_MAX);
        let (sender, answers) = mpsc::channel(OPEN_REQUESTS_MAX);
        let open = settings.open.clone();
        let transport = CallTransport::new(settings, outbound, answers);
        (transport, sent, Answers { sender, open })
    }

    /// Whether the transport lets a ping of that number go to the client.
    fn ask(transport: &mut CallTransport, number: usize) -> bool {
        let id = RequestId::Number(i64::try_from(number).unwrap());
        let ping = ServerRequest::PingRequest(PingRequest::default());
        transport
            .prepare(ServerJsonRpcMessage::request(ping, id))
            .is_some()
    }

    fn empty() -> ResponseOutcome {
        Ok(RawValue::from_string("{}".into()).unwrap())
    }

    #[tokio::test]
    async fn a_call_asks_as_much_at_once_as_it_may_and_no_more() {
        let (mut transport, _sent, answers) = transport();
        assert!((0..OPEN_REQUESTS_MAX).all(|number| ask(&mut transport, number)));
        assert!(!ask(&mut transport, OPEN_REQUESTS_MAX));
        assert_eq!(transport.refused.len(), 1, "the call is told");
        // An answer on its way to the handler takes the place of its request: each finds room.
        assert_eq!(answers.hand_over(0, empty()), Handed::Over);
        assert!(!ask(&mut transport, OPEN_REQUESTS_MAX + 1));
        transport.refused.clear();
        transport.receive().await.expect("the answer");
        assert!(ask(&mut transport, OPEN_REQUESTS_MAX + 2));
    }

    /// The handler gets what came, and the client is not told that nobody wants it.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_come_is_neither_cancelled_nor_waited_for() {
        let (mut transport, mut sent, answers) = transport();
        assert!(ask(&mut transport, 0) && ask(&mut transport, 1));
        assert_eq!(answers.hand_over(0, empty()), Handed::Over);
        let cancel = |number| {
            let param = CancelledNotificationParam::new(Some(RequestId::Number(number)), None);
            ServerJsonRpcMessage::notification(rmcp::model::CancelledNotification::new(param).into())
        };
        assert!(transport.prepare(cancel(0)).is_none() && transport.prepare(cancel(1)).is_some());
        tokio::time::advance(ANSWER_TIMEOUT * 2).await;
        let answered = transport.receive().await.expect("the answer");
        assert!(matches!(answered, JsonRpcMessage::Response(_)), "{answered:?}");
        assert!(ask(&mut transport, 2));
        let given_up = transport.receive().await.expect("the end of a wait");
        assert!(matches!(given_up, JsonRpcMessage::Error(_)), "{given_up:?}");
        let told = sent.try_recv().expect("the client is told of that one");
        assert!(
            String::from_utf8_lossy(&told).contains(r#""requestId":"a-2""#),
            "{told:?}"
        );
        assert!(sent.try_recv().is_err());
    }
}
