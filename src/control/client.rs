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
    /// The engine does not listen to this process.
    #[error("{0}")]
    Refused(String),
    /// The socket failed, or no answer came in time.
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
    // Who is refused is told so before it has said anything, and then cannot write.
    let written = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.shutdown(Shutdown::Write));
    let mut text = Vec::new();
    match (&stream).take(TEXT_BYTES_MAX).read_to_end(&mut text) {
        Ok(0) => Err(AskError::Gone),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(AskError::Gone),
        Err(error) => Err(error.into()),
        Ok(_) => match serde_json::from_slice(&text).map_err(io::Error::from)? {
            Reply::Refused(why) => Err(AskError::Refused(why)),
            Reply::Answer(answer) => {
                written?;
                Ok(answer)
            }
        },
    }
}

fn connect(place: &Place) -> Result<UnixStream, AskError> {
    for path in place.candidates() {
        let folder = path.parent().expect("a socket lies in a directory");
        if require_private(folder).is_err() {
            continue;
        }
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AskError::NoEngine)
}
