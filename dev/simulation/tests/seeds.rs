//! A few seeds; `cargo simulate` plays hundreds. What failed once is a test of the worker or a planted fault: a seed means
//! another day as soon as the simulation knows more.

use std::thread;

use simulation::play::play;
use simulation::scenario::Scenario;

#[test]
fn nothing_is_lost_late_or_doubled() {
    let (even, odd): (Vec<u64>, Vec<u64>) = (0..10).partition(|seed| seed % 2 == 0);
    let violations = |seeds: Vec<u64>| -> Vec<(u64, Vec<String>)> {
        let reports = seeds.into_iter().map(|seed| play(Scenario::of(seed, 24), false).unwrap());
        let failed = reports.filter(|report| !report.violations.is_empty());
        failed.map(|report| (report.seed, report.violations)).collect()
    };
    let failed = thread::scope(|scope| {
        let other = scope.spawn(|| violations(odd));
        [violations(even), other.join().unwrap()].concat()
    });
    assert!(failed.is_empty(), "cargo simulate --seed {}: {failed:#?}", failed[0].0);
}

#[test]
fn a_seed_is_the_same_twice() {
    let trace = || play(Scenario::of(3, 24), false).unwrap().trace;
    assert_eq!(trace(), trace());
}
