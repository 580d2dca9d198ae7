//! A verb's side.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::place::{Place, require_private};
use super::{Reply, TEXT_BYTES_MAX};

/// How long an answer is waited for. An engine answers between two steps, and a step of the queue may run git on a large
/// repository.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens: no engine runs, or it is still starting.
    #[error("no engine listens")]
    NoEngine,
    /// The engine ended before it answered. What was asked for may be done.
    #[error("the engine ended before it answered")]
    Gone,
    /// There was no answer for a long time. What was asked for is done when the engine comes to it.
    #[error("the engine has not answered for {} minutes; what is asked for is done when it comes to it", PATIENCE.as_secs() / 60)]
    Late,
    /// The engine does not listen to this process.
    #[error("{0}")]
    Refused(String),
    /// The socket failed.
    #[error("the engine cannot be talked to: {0}")]
    Io(#[from] io::Error),
}

/// Asks the engine of a repository, and waits for its answer. Blocks.
///
/// # Errors
/// When there is no answer.
pub fn ask(place: &Place, request: &str) -> Result<String, AskError> {
    let mut stream = connect(place)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes()).map_err(broken_off)?;
    stream.shutdown(Shutdown::Write).map_err(broken_off)?;
    let mut text = Vec::new();
    let read = (&stream).take(TEXT_BYTES_MAX).read_to_end(&mut text);
    if read.map_err(broken_off)? == 0 {
        return Err(AskError::Gone);
    }
    match serde_json::from_slice(&text).map_err(io::Error::from)? {
        Reply::Refused(why) => Err(AskError::Refused(why)),
        Reply::Answer(answer) => Ok(answer),
    }
}

/// What it means that a connection which stood failed.
fn broken_off(error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            AskError::Gone
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Late,
        _ => error.into(),
    }
}

/// Whichever place the engine found, which may have been in another environment than this one.
fn connect(place: &Place) -> Result<UnixStream, AskError> {
    let mut refused = AskError::NoEngine;
    for path in place.candidates() {
        let folder = path.parent().expect("a socket lies in a directory");
        if require_private(folder).is_err() {
            continue;
        }
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                // Nothing is there, nobody listens any more, or no socket can be there.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {}
                _ => refused = error.into(),
            },
        }
    }
    Err(refused)
}
