//! The engine's side.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::place::{Place, make_private};
use super::{Reply, TEXT_BYTES_MAX};
use crate::process;

/// Callers that are served at once; more wait to be accepted.
const CALLERS_MAX: usize = 16;
/// How long a caller may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a connection could not be accepted, because files are short.
const PAUSE: Duration = Duration::from_millis(100);

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Call {
    /// What the caller wrote.
    pub request: String,
    /// Takes the answer. Dropped without one, the caller sees that the engine is gone.
    pub answer: oneshot::Sender<String>,
}

/// The socket, as long as it is listened on. Dropping this takes it away.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    /// The file that was bound; whoever took the name since is left alone.
    inode: u64,
    accepting: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // What is left is in nobody's way: the next engine of this repository replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on the socket of a repository. To be called by who has the repository's lock: a socket that is there was left
/// by an engine that died. Within a tokio runtime.
///
/// # Errors
/// When the socket can be nowhere; what is told is what the best place said.
pub fn listen(place: &Place) -> io::Result<(Listener, mpsc::Receiver<Call>)> {
    let mut refused = None;
    for path in place.candidates() {
        match bind(path.clone()) {
            Ok((path, socket)) => {
                let inode = fs::symlink_metadata(&path)?.ino();
                let (calls, receiver) = mpsc::channel(CALLERS_MAX);
                let accepting = tokio::spawn(accept(socket, calls));
                let listener = Listener {
                    path,
                    inode,
                    accepting,
                };
                return Ok((listener, receiver));
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("there is no directory for it")))
}

fn bind(path: PathBuf) -> io::Result<(PathBuf, UnixListener)> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    make_private(path.parent().expect("a socket lies in a directory"))?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(told(error)),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixListener::bind(&path).map_err(told)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(told)?;
    Ok((path, socket))
}

async fn accept(socket: UnixListener, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CALLERS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match socket.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    // A caller that hangs up is nobody's trouble but its own.
                    let _ = serve(stream, calls).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(mut stream: UnixStream, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let refused = refusal(&stream)?;
    let mut request = String::new();
    let mut limited = (&mut stream).take(TEXT_BYTES_MAX);
    // Also of whom it does not listen to: a connection that is closed on unread words takes the reply with it.
    tokio::time::timeout(PATIENCE, limited.read_to_string(&mut request)).await??;
    let reply = match refused {
        Some(why) => Reply::Refused(why),
        None => {
            let (answer, answered) = oneshot::channel();
            let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
            calls.send(Call { request, answer }).await.map_err(|_| gone())?;
            Reply::Answer(answered.await.map_err(|_| gone())?)
        }
    };
    let text = serde_json::to_vec(&reply)?;
    tokio::time::timeout(PATIENCE, stream.write_all(&text)).await??;
    stream.shutdown().await
}

/// Why a caller is not listened to.
fn refusal(stream: &UnixStream) -> io::Result<Option<String>> {
    let caller = stream.peer_cred()?;
    if caller.uid() != rustix::process::geteuid().as_raw() {
        return Ok(Some("the engine belongs to another user".to_owned()));
    }
    // One that is gone, or that lives where this process cannot see it, cannot be told from an attempt's.
    let is_free = caller.pid().is_some_and(process::is_no_descendant);
    Ok((!is_free).then(|| {
        "the engine does not listen to what it started: an attempt of a run may not steer it".to_owned()
    }))
}
