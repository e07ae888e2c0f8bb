//! Tokens in URLs, and write keys.

use hex::FromHex;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a token.
pub type Digest = [u8; 32];

/// Digests of the tokens that open a route. Several may be live at once, so that a token is rotated without a
/// lost webhook; the tokens themselves are nowhere in the function.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    digests: Vec<Digest>,
    unreadable: usize,
}

impl Tokens {
    /// Parses hex digests separated by commas. The digest of an empty text is none: it is what hashing a variable
    /// makes that was never set.
    pub fn parse(list: &str) -> Self {
        let entries = || list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let nothing: Digest = Sha256::digest("").into();
        let digests: Vec<Digest> = entries()
            .filter_map(|entry| Digest::from_hex(entry).ok())
            .filter(|digest| *digest != nothing)
            .collect();
        let unreadable = entries().count() - digests.len();
        Tokens { digests, unreadable }
    }

    /// How many entries are no digests.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// Whether there is a token that would do.
    pub fn is_usable(&self) -> bool {
        !self.digests.is_empty()
    }

    /// Whether the operator meant somebody to come in, even if nobody can.
    pub fn is_set(&self) -> bool {
        self.is_usable() || self.unreadable > 0
    }

    /// Whether some token opens either.
    pub fn overlaps(&self, other: &Tokens) -> bool {
        self.digests.iter().any(|digest| other.digests.contains(digest))
    }

    /// The token's digest if it opens the route. Takes the same time for every token of the same length.
    pub fn verify(&self, token: &str) -> Option<Digest> {
        let digest_of_token: Digest = Sha256::digest(token).into();
        let known =
            self.digests.iter().fold(Choice::from(0), |known, digest| known | digest.ct_eq(&digest_of_token));
        bool::from(known).then_some(digest_of_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `test` and of the empty text.
    const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn any_listed_token_is_known() {
        let tokens = Tokens::parse(&format!(" {}, ,{EMPTY} ,nonsense", TEST.to_uppercase()));
        assert_eq!((tokens.digests.len(), tokens.unreadable()), (1, 2));
        assert_eq!(tokens.verify("test"), Digest::from_hex(TEST).ok());
        for other in ["Test", TEST, ""] {
            assert_eq!(tokens.verify(other), None);
        }
    }

    #[test]
    fn without_a_digest_no_token_is_known() {
        for list in ["", ",", "x", EMPTY, &TEST[1..], &format!("{TEST}0"), &format!("é{}", &TEST[2..])] {
            let tokens = Tokens::parse(list);
            assert!(!tokens.is_usable() && tokens.is_set() == (list.len() > 1 || list == "x"), "{list}");
            assert_eq!((tokens.verify("test"), tokens.verify("")), (None, None), "{list}");
        }
    }
}
