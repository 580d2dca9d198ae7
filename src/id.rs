//! Names of things: the small value types every layer passes around.
//!
//! They are newtypes so that a branch name cannot be handed over where a unit id is meant, and they hold only
//! what is safe as a ref and path component wherever the type says so.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest unit, stage, agent, tier or check name, in bytes.
pub const NAME_BYTES_MAX: usize = 40;

macro_rules! string_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

string_newtype! {
    /// The id of a unit: `[a-z0-9][a-z0-9-]{0,39}`, safe as a ref and as a path component.
    UnitId
}

string_newtype! {
    /// The name of a stage within its tier; same alphabet as [`UnitId`], with `_` allowed.
    StageName
}

string_newtype! {
    /// The id of a run: `r-<UTC date>-<UTC time>-<64 random bits in hex>`; sorts by time.
    RunId
}

string_newtype! {
    /// A git object id as 40 lower-case hex digits.
    Oid
}

/// A name that its type refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct NameError {
    /// What was given.
    pub text: String,
    /// What would have been accepted, as a noun phrase.
    pub expected: &'static str,
}

/// Whether `text` is `[a-z0-9][a-z0-9-]{0,39}`: the alphabet of unit ids and pipeline names.
pub fn is_safe_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=NAME_BYTES_MAX).contains(&bytes.len())
        && (bytes[0].is_ascii_lowercase() || bytes[0].is_ascii_digit())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

impl FromStr for UnitId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_safe_name(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            expected: "a unit id: up to 40 of a-z, 0-9 and `-`, not starting with `-`",
        })
    }
}

impl FromStr for StageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_safe_name(&text.replace('_', "-")) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            expected: "a stage name: up to 40 of a-z, 0-9, `-` and `_`, not starting with `-` or `_`",
        })
    }
}

impl FromStr for Oid {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() == 40
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            expected: "a git object id: 40 lower-case hex digits",
        })
    }
}

impl Oid {
    /// The first seven digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl RunId {
    /// An id from the moment the run was created and 64 random bits.
    pub fn new(created: jiff::Timestamp, random: u64) -> Self {
        let stamp = created.strftime("%Y%m%d-%H%M%S");
        Self(format!("r-{stamp}-{random:016x}"))
    }

    /// The id that sorts right after this one: the same second, the random bits plus one.
    #[must_use]
    pub fn successor(&self) -> Self {
        let (stamp, random) = self.0.split_at(self.0.len() - 16);
        let bits = u64::from_str_radix(random, 16).unwrap_or(0);
        // With all bits set, one time in 2^64, the id stays the same, and making the run says that it exists.
        Self(format!("{stamp}{:016x}", bits.saturating_add(1)))
    }

    /// Takes a stored id back; anything that is not of the shape [`RunId::new`] makes is refused.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let well_formed = text.starts_with("r-")
            && text.len() == 34
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if well_formed {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError {
            text: text.to_owned(),
            expected: "a run id: r-YYYYMMDD-HHMMSS-<16 hex digits>",
        })
    }
}

/// What one execution of one job of one unit is called; every effect of an attempt is keyed by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The unit.
    pub unit: UnitId,
    /// The stage, or `checks` for the checks on a unit's head, or `verify` for a candidate.
    pub stage: StageName,
    /// The round, from 1.
    pub round: u32,
    /// The attempt within the round, from 1; members of a panel and interrupted attempts count on.
    pub attempt: u32,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}.{}", self.unit, self.stage, self.round, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_id_is_safe_as_a_ref_and_a_path() {
        for good in ["a", "api", "0-x", &"a".repeat(40)] {
            assert!(good.parse::<UnitId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "a.b", "..", "a b", "ä", &"a".repeat(41)] {
            assert!(bad.parse::<UnitId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn run_ids_sort_by_time_and_parse_back() {
        let early = RunId::new("2026-11-21T14:22:33Z".parse().unwrap(), u64::MAX);
        let late = RunId::new("2026-11-21T14:22:34Z".parse().unwrap(), 0);
        assert!(early < late);
        assert_eq!(RunId::parse(late.as_str()).unwrap(), late);
        assert_eq!(late.as_str(), "r-20261121-142234-0000000000000000");
        assert!(late.successor() > late && RunId::parse(late.successor().as_str()).is_ok());
    }

    #[test]
    fn an_attempt_is_named_unit_stage_round_attempt() {
        let key = AttemptKey {
            unit: "api".parse().unwrap(),
            stage: "review".parse().unwrap(),
            round: 2,
            attempt: 1,
        };
        assert_eq!(key.to_string(), "api/review.2.1");
    }
}
