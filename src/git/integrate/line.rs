//! The commits of a unit: which they are, and what they say when they land.

use super::super::Result;
use super::super::objects::{own, raw, unreadable};
use super::super::repository::Repository;
use crate::event::Obstacle;
use crate::id::Oid;

/// Commits that are followed in process; a longer line is git's to list.
const COMMITS_FOLLOWED_MAX: usize = 1000;

/// What the trailers begin with that every landed commit carries.
const OWN_TRAILERS: &[u8] = b"Pipeline-";

/// Commits, each after its parent.
type Line = Vec<(Oid, Oid)>;

impl Repository {
    /// A merge commit among those of `head` that are not in `base`, which no rebase can replay.
    ///
    /// # Errors
    /// When git fails.
    pub fn merge_between(&self, base: &Oid, head: &Oid) -> Result<Option<Oid>> {
        Ok(match self.line(&self.objects()?, base, head)? {
            Err(Obstacle::MergeCommit { commit }) => Some(commit),
            Ok(_) | Err(_) => None,
        })
    }

    /// The commits of `head` that are not in `base`, the oldest first.
    pub(in crate::git) fn line(
        &self,
        objects: &git2::Repository,
        base: &Oid,
        head: &Oid,
    ) -> Result<std::result::Result<Line, Obstacle>> {
        let mut line = Vec::new();
        let mut at = raw(head);
        while at != raw(base) {
            // A root, a merge and the end of a shallow history are told by git.
            let parent = match objects.find_commit(at) {
                Ok(found) if found.parent_count() == 1 && line.len() < COMMITS_FOLLOWED_MAX => {
                    found.parent_id(0).map_err(unreadable("a parent"))?
                }
                Ok(_) | Err(_) => return self.line_by_git(base, head),
            };
            line.push((own(parent)?, own(at)?));
            at = parent;
        }
        line.reverse();
        Ok(Ok(line))
    }

    fn line_by_git(&self, base: &Oid, head: &Oid) -> Result<std::result::Result<Line, Obstacle>> {
        let call = self
            .neutral()?
            .args([
                "rev-list",
                "--reverse",
                "--topo-order",
                "--parents",
                "--end-of-options",
            ])
            .arg(format!("{base}..{head}"));
        let bytes = self.output(&call)?;
        let mut commits = Vec::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mut ids = line.split(' ').map(str::parse::<Oid>);
            let (commit, parent) = (ids.next().transpose()?, ids.next().transpose()?);
            match (commit, parent, ids.next()) {
                (Some(commit), Some(parent), None) => commits.push((parent, commit)),
                (Some(commit), _, Some(_)) => return Ok(Err(Obstacle::MergeCommit { commit })),
                (_, None, _) | (None, _, _) => return Ok(Err(Obstacle::UnrelatedHistory)),
            }
        }
        Ok(Ok(commits))
    }
}

/// A commit's message with the trailers of ours that `model` has, and with no others of that kind: whatever a commit says of
/// where it came from, it lands as what it is now.
pub(super) fn with_trailers(message: &[u8], model: &str) -> Vec<u8> {
    let wanted: Vec<&[u8]> = lines(model.as_bytes())
        .filter(|line| line.starts_with(OWN_TRAILERS))
        .collect();
    let is_foreign = |line: &[u8]| line.starts_with(OWN_TRAILERS) && !wanted.contains(&line);
    let missing: Vec<&[u8]> = wanted
        .iter()
        .copied()
        .filter(|line| !lines(message).any(|found| found == *line))
        .collect();
    if wanted.is_empty() || (missing.is_empty() && !lines(message).any(is_foreign)) {
        return message.to_vec();
    }
    let kept: Vec<&[u8]> = lines(message).filter(|line| !is_foreign(line)).collect();
    let mut text = kept.join(&b'\n').trim_ascii_end().to_vec();
    if !missing.is_empty() {
        text.extend_from_slice(if ends_with_trailers(&text) { b"\n" } else { b"\n\n" });
    }
    text.extend_from_slice(&missing.join(&b'\n'));
    text.push(b'\n');
    text
}

/// Whether the last paragraph, which is not the title, has trailers only.
fn ends_with_trailers(text: &[u8]) -> bool {
    let all: Vec<&[u8]> = lines(text).collect();
    let Some(blank) = all.iter().rposition(|line| line.trim_ascii().is_empty()) else {
        return false;
    };
    let is_trailer = |line: &&[u8]| {
        let end = line.windows(2).position(|at| at == b": ");
        end.is_some_and(|end| {
            end > 0
                && line[..end]
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        })
    };
    all[blank + 1..].iter().all(is_trailer)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "feat: x\n\nPipeline-Run: r\nPipeline-Unit: u\nTicket: T-1\n";

    fn given(message: &str) -> String {
        String::from_utf8(with_trailers(message.as_bytes(), MODEL)).unwrap()
    }

    #[test]
    fn a_persons_message_is_kept_and_gets_the_trailers_that_landed_commits_carry() {
        let trailers = "Pipeline-Run: r\nPipeline-Unit: u\n";
        assert_eq!(given("fix it\n"), format!("fix it\n\n{trailers}"));
        assert_eq!(
            given("fix: it"),
            format!("fix: it\n\n{trailers}"),
            "a title is no trailer"
        );
        assert_eq!(
            given("fix it\n\nWhy: so\nand more\n\n\n"),
            format!("fix it\n\nWhy: so\nand more\n\n{trailers}")
        );
        let signed = "fix it\n\nSigned-off-by: Ada <a@b>\n";
        assert_eq!(
            given(signed),
            format!("{signed}{trailers}"),
            "one block of trailers"
        );
    }

    #[test]
    fn a_message_that_has_the_trailers_is_left_as_it_is_to_the_byte() {
        for message in [MODEL, "fix\n\nPipeline-Unit: u\nPipeline-Run: r\n\n\n"] {
            assert_eq!(given(message), message);
        }
        assert_eq!(with_trailers(b"fix\xff\n\n", "no trailers"), b"fix\xff\n\n");
    }

    #[test]
    fn a_commit_names_no_other_run_than_the_one_it_lands_in() {
        let trailers = "Pipeline-Run: r\nPipeline-Unit: u\n";
        let other = "fix it\n\nPipeline-Run: before\nPipeline-Unit: x\n";
        assert_eq!(given(other), format!("fix it\n\n{trailers}"));
        assert_eq!(
            given(&format!("{other}{trailers}")),
            format!("fix it\n\n{trailers}")
        );
        let among = format!("fix it\n\nPipeline-Run: before\nTicket: T-1\n{trailers}");
        assert_eq!(given(&among), format!("fix it\n\nTicket: T-1\n{trailers}"));
    }
}
