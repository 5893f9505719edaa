//! The do-nothing server: it answers each message at once. What the service takes beyond it is the service's own.

use crate::failure::Failure;
use api::v1;
use api::v1::chat_server::{Chat, ChatServer};
use api::v1::{SendMessageRequest, SendMessageResponse};
use chat::Address;
use std::process::Stdio;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

struct Nothing;

macro_rules! nothing {
    ($($call:ident($request:ty) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl Chat for Nothing {
            type SendMessagesStream = ReceiverStream<Result<v1::SendMessagesResponse, Status>>;
            type ListenMessagesStream = ReceiverStream<Result<v1::ListenMessagesResponse, Status>>;

            async fn send_message(
                &self,
                _: Request<SendMessageRequest>,
            ) -> Result<Response<SendMessageResponse>, Status> {
                Ok(Response::new(SendMessageResponse { id: 1, sent_at: 1, copies: 3, replicas: 3 }))
            }

            $(async fn $call(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("it does nothing"))
            })*
        }
    };
}

nothing! {
    heartbeat(v1::HeartbeatRequest) -> v1::HeartbeatResponse;
    digest(v1::DigestRequest) -> v1::DigestResponse;
    create_account(v1::CreateAccountRequest) -> v1::CreateAccountResponse;
    login(v1::LoginRequest) -> v1::LoginResponse;
    logout(v1::LogoutRequest) -> v1::LogoutResponse;
    delete_account(v1::DeleteAccountRequest) -> v1::DeleteAccountResponse;
    change_password(v1::ChangePasswordRequest) -> v1::ChangePasswordResponse;
    list_accounts(v1::ListAccountsRequest) -> v1::ListAccountsResponse;
    send_messages(Streaming<SendMessageRequest>) -> Self::SendMessagesStream;
    listen_messages(v1::ListenMessagesRequest) -> Self::ListenMessagesStream;
    acknowledge_messages(v1::AcknowledgeMessagesRequest) -> v1::AcknowledgeMessagesResponse;
    list_messages(v1::ListMessagesRequest) -> v1::ListMessagesResponse;
    list_conversations(v1::ListConversationsRequest) -> v1::ListConversationsResponse;
    mark_read(v1::MarkReadRequest) -> v1::MarkReadResponse;
    set_read_marks(v1::SetReadMarksRequest) -> v1::SetReadMarksResponse;
    get_account(v1::GetAccountRequest) -> v1::GetAccountResponse;
}

/// Serves it at this port, until the process that started this one is gone.
pub(crate) async fn serve(port: u16) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = Server::builder().add_service(ChatServer::new(Nothing));
    // Standard input ends with the process at its other end.
    let lifeline = async {
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    let incoming = TcpListenerStream::new(listener);
    server.serve_with_incoming_shutdown(incoming, lifeline).await.map_err(Failure::of)
}

/// A do-nothing server in a process of its own, which ends with this value.
pub(crate) struct NothingServer {
    pub(crate) address: Address,
    _process: Child,
}

impl NothingServer {
    pub(crate) fn start(port: u16) -> Result<Self, Failure> {
        let process = Command::new(std::env::current_exe()?)
            .args(["bench", "--nothing", &port.to_string()])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let address = Address::parse(&format!("127.0.0.1:{port}")).map_err(Failure::of)?;
        Ok(Self { address, _process: process })
    }
}
