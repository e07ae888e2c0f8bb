//! A user's calls one after the other, users side by side.

use std::collections::HashMap;

use crate::timestamp::Timestamp;

/// An event's key among those of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderKey {
    /// Whom it is about, by ids and addresses; two people for an alias. Nobody: it waits for nothing.
    pub users: Vec<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// Its place in its request.
    pub place: u32,
}

/// Arranges events into lines, each to be worked off in order, all of them side by side. Whoever shares a user is in
/// one line. The result holds every index once.
pub fn in_order(keys: &[OrderKey]) -> Vec<Vec<usize>> {
    // Each event belongs to a set, named by one of its members; an alias joins the sets of two users.
    let mut set_of: Vec<usize> = (0..keys.len()).collect();
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for (index, key) in keys.iter().enumerate() {
        for user in &key.users {
            let first = *first_of.entry(user).or_insert(index);
            let (a, b) = (root(&mut set_of, first), root(&mut set_of, index));
            set_of[a.max(b)] = a.min(b);
        }
    }
    let mut lines: Vec<Vec<usize>> = vec![Vec::new(); keys.len()];
    for index in 0..keys.len() {
        lines[root(&mut set_of, index)].push(index);
    }
    lines.retain(|line| !line.is_empty());
    for line in &mut lines {
        // Stable: what is alike goes in the order of the batch.
        line.sort_by_key(|index| (keys[*index].received_at, keys[*index].place));
    }
    lines
}

/// The member that names an event's set; the way there is shortened.
fn root(set_of: &mut [usize], mut index: usize) -> usize {
    while set_of[index] != index {
        set_of[index] = set_of[set_of[index]];
        index = set_of[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(users: &[&str], second: u32, place: u32) -> OrderKey {
        let received_at = Timestamp::parse(&format!("2026-11-21T05:04:{second:02}Z")).unwrap();
        OrderKey { users: users.iter().map(|user| (*user).to_owned()).collect(), received_at, place }
    }

    #[test]
    fn a_user_s_calls_go_by_time_and_place() {
        let keys = [
            key(&["a"], 3, 0),
            key(&["b"], 0, 0),
            key(&["a"], 1, 2),
            key(&["a"], 1, 1),
            key(&[], 0, 0),
            key(&[], 0, 0),
            key(&["a"], 1, 1),
        ];
        assert_eq!(in_order(&keys), [vec![3, 6, 2, 0], vec![1], vec![4], vec![5]]);
        assert_eq!(in_order(&[]), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn an_alias_joins_two_users() {
        let keys = [key(&["b"], 9, 0), key(&["a"], 1, 0), key(&["c"], 1, 0), key(&["b", "a"], 5, 0)];
        assert_eq!(in_order(&keys), [vec![1, 3, 0], vec![2]]);
    }
}
