//! Serves subscriptions that a handler declares and leaves to the engine, which keeps them anyway.
//!
//! rmcp's defaults for `subscribe`, `unsubscribe` and `accepted_subscription_filter` answer "method not
//! found", also when the capability is declared. What the default answers can be told from what an override
//! answers: it is -32601 with the method's name for its words, and no data. An override that answers just
//! that while its handler declares the capability contradicts itself, and counts as the default. To refuse, it
//! has any other error: -32602 or -32002 for a resource that the caller may not hear of.

use futures::{StreamExt as _, stream};
use rmcp::model::{
    ClientRequest, ConstString, ErrorCode, NotificationMetaObject, ServerCapabilities, ServerNotification,
    ServerResult, SubscribeRequestMethod, SubscribeRequestParams, SubscriptionFilter,
    SubscriptionsAcknowledgedNotification, SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequest, SubscriptionsListenRequestMethod, SubscriptionsListenResult,
    UnsubscribeRequestMethod,
};
use rmcp::service::{RequestContext, RoleServer, Service};
use rmcp::{ErrorData, ServerHandler};

/// How many resources of one listener are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// Asks a handler for a subscription of a session, or for its end. One that declares subscriptions and has
/// nothing to say about this one agrees.
pub(super) async fn subscribe<H: ServerHandler>(
    handler: &H,
    request: ClientRequest,
    context: RequestContext<RoleServer>,
) -> Result<ServerResult, ErrorData> {
    match Service::handle_request(handler, request, context).await {
        Err(error)
            if (is_default::<SubscribeRequestMethod>(&error)
                || is_default::<UnsubscribeRequestMethod>(&error))
                && declares(&handler.get_info().capabilities) =>
        {
            Ok(ServerResult::empty(()))
        }
        answer => answer,
    }
}

/// Opens a listener. A handler that says of none what it accepts accepts what it declares.
pub(super) async fn listen<H: ServerHandler>(
    handler: &H,
    listen: SubscriptionsListenRequest,
    context: RequestContext<RoleServer>,
) -> Result<ServerResult, ErrorData> {
    let listen = admitted(handler, listen, &context).await?;
    let requested = &listen.params.notifications;
    if handler.accepted_subscription_filter(requested).is_some() {
        return Service::handle_request(handler, listen.into(), context).await;
    }
    let accepted = requested.supported_by(&handler.get_info().capabilities);
    // rmcp checks the request before it finds that nothing is accepted.
    match Service::handle_request(handler, listen.into(), context.clone()).await {
        Err(error)
            if is_default::<SubscriptionsListenRequestMethod>(&error)
                && accepted != SubscriptionFilter::default() =>
        {
            listen_as_declared(handler, accepted, context).await
        }
        answer => answer,
    }
}

/// What rmcp does with a filter that a handler accepts: acknowledges it, and waits for the listener's end.
async fn listen_as_declared<H: ServerHandler>(
    handler: &H,
    accepted: SubscriptionFilter,
    context: RequestContext<RoleServer>,
) -> Result<ServerResult, ErrorData> {
    let params = SubscriptionsAcknowledgedNotificationParams::new(accepted);
    let mut acknowledgement = SubscriptionsAcknowledgedNotification::new(params);
    let mut meta = NotificationMetaObject::new();
    meta.set_subscription_id(context.id.clone());
    acknowledgement.extensions.insert(meta);
    let acknowledgement = ServerNotification::SubscriptionsAcknowledgedNotification(acknowledgement);
    if let Err(closed) = context.peer.send_notification(acknowledgement).await {
        let words = format!("the subscription could not be acknowledged: {closed}");
        return Err(ErrorData::internal_error(words, None));
    }
    context.ct.cancelled().await;
    let mut result = SubscriptionsListenResult::complete(context.id);
    result.meta.set_server_info(handler.get_info().server_info);
    Ok(ServerResult::SubscriptionsListenResult(result))
}

/// A listener may hear only of resources to which a session of the same principal may subscribe. rmcp's
/// filter for handlers knows no caller, so `subscribe` decides, which does. A handler without it refuses
/// none.
async fn admitted<H: ServerHandler>(
    handler: &H,
    mut listen: SubscriptionsListenRequest,
    context: &RequestContext<RoleServer>,
) -> Result<SubscriptionsListenRequest, ErrorData> {
    let Some(wanted) = listen.params.notifications.resource_subscriptions.take() else {
        return Ok(listen);
    };
    let asked = wanted.into_iter().map(|uri| async move {
        #[expect(
            deprecated,
            reason = "only legacy clients send it; here it is asked for modern ones"
        )]
        let asked = handler.subscribe(SubscribeRequestParams::new(uri.clone()), context.clone());
        (uri, asked.await)
    });
    let mut asked = stream::iter(asked).buffered(ASKED_AT_ONCE);
    let mut admitted = Vec::new();
    while let Some((uri, answer)) = asked.next().await {
        match answer {
            Ok(()) => admitted.push(uri),
            Err(error) if is_default::<SubscribeRequestMethod>(&error) => admitted.push(uri),
            Err(error)
                if matches!(
                    error.code,
                    ErrorCode::INVALID_PARAMS | ErrorCode::RESOURCE_NOT_FOUND | ErrorCode::METHOD_NOT_FOUND
                ) => {}
            // It is not known whether it may, for example because the store is out of reach.
            Err(error) => return Err(error),
        }
    }
    drop(asked);
    listen.params.notifications.resource_subscriptions = Some(admitted);
    Ok(listen)
}

/// Whether an error is what rmcp's default for that method answers.
fn is_default<M: ConstString>(error: &ErrorData) -> bool {
    error.code == ErrorCode::METHOD_NOT_FOUND && error.message == M::VALUE && error.data.is_none()
}

fn declares(capabilities: &ServerCapabilities) -> bool {
    let resources = capabilities.resources.as_ref();
    resources.is_some_and(|resources| resources.subscribe == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_default_says_counts_as_the_default() {
        let default = ErrorData::method_not_found::<SubscribeRequestMethod>();
        assert!(is_default::<SubscribeRequestMethod>(&default));
        assert!(!is_default::<UnsubscribeRequestMethod>(&default));
        let own_words = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "not for you", None);
        let with_data = ErrorData {
            data: Some(1.into()),
            ..default
        };
        for refusal in [own_words, with_data] {
            assert!(!is_default::<SubscribeRequestMethod>(&refusal), "{refusal:?}");
        }
    }
}
