//! The socket without an engine. A caller that is heard cannot be tried here, because the tests are one process: see
//! `tests/it/control.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

/// Folders below a new one, and the place of a socket in them.
fn place(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>, Place) {
    let base = tempfile::tempdir().unwrap();
    let folders: Vec<PathBuf> = names.iter().map(|name| base.path().join(name)).collect();
    let place = Place::new(&folders, "x.sock");
    (base, folders, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_the_engine_or_below_it_is_refused() {
    let (_base, _folders, place) = place(&["a"]);
    let (_listener, mut calls) = listen(&place).unwrap();
    let asked = tokio::task::spawn_blocking(move || ask(&place, "pause"))
        .await
        .unwrap();
    assert!(
        matches!(&asked, Err(AskError::Refused(why)) if why.contains("may not steer")),
        "{asked:?}"
    );
    assert!(calls.try_recv().is_err(), "the engine was not asked");
}

#[test]
fn where_nobody_listens_there_is_no_engine() {
    let (_base, folders, place) = place(&["a"]);
    assert!(matches!(ask(&place, ""), Err(AskError::NoEngine)));
    place::make_private(&folders[0]).unwrap();
    assert!(matches!(ask(&place, ""), Err(AskError::NoEngine)));
    drop(UnixListener::bind(&place.candidates()[0]).unwrap());
    assert!(
        matches!(ask(&place, ""), Err(AskError::NoEngine)),
        "what a dead engine left"
    );
}

#[test]
fn a_directory_that_others_may_enter_or_that_is_a_link_holds_no_socket() {
    let (_base, folders, place) = place(&["open", "link", "own"]);
    fs::create_dir(&folders[0]).unwrap();
    fs::set_permissions(&folders[0], Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(folders[2].parent().unwrap(), &folders[1]).unwrap();
    for folder in &folders[..2] {
        let refused = place::make_private(folder).unwrap_err().to_string();
        assert!(refused.contains("is not a directory of yours alone"), "{refused}");
    }
    // A socket in such a directory is somebody else's, and is not talked to.
    let _theirs = UnixListener::bind(&place.candidates()[0]).unwrap();
    assert!(matches!(ask(&place, ""), Err(AskError::NoEngine)));
}

#[tokio::test]
async fn the_first_directory_that_can_hold_it_does_and_the_socket_goes_with_the_listener() {
    let (_base, folders, place) = place(&["missing/a", "b"]);
    let (listener, _calls) = listen(&place).unwrap();
    let path = folders[1].join("x.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(&folders[1]).unwrap().permissions().mode() & 0o777,
        0o700
    );
    // One that was left behind is replaced; the older listener leaves the newer's alone.
    let (newer, _calls) = listen(&place).unwrap();
    drop(listener);
    assert!(path.exists());
    drop(newer);
    assert!(!path.exists());
}

#[tokio::test]
async fn where_it_can_be_nowhere_the_best_place_says_why() {
    let (_base, folders, place) = place(&["missing/a", "missing/b"]);
    let error = listen(&place).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    fs::create_dir_all(folders[0].parent().unwrap()).unwrap();
    let long = Place::new(&folders, &"x".repeat(200));
    let error = listen(&long).unwrap_err().to_string();
    assert!(error.contains("missing/a/xxx"), "{error}");
}
