//! A few seeds; `cargo simulate` plays hundreds. What failed once is a test of a function or a planted fault besides: a seed
//! means another day as soon as the simulation knows more.

use std::thread;

use simulation::play::play;
use simulation::scenario::Scenario;

/// What they found in the functions is mended: an upload to S3 that was ended twice.
const ONCE_FAILED: [u64; 3] = [438, 995, 2_063];

#[test]
fn nothing_is_lost_late_or_doubled() {
    let (even, odd): (Vec<u64>, Vec<u64>) = (0..10).chain(ONCE_FAILED).partition(|seed| seed % 2 == 0);
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
    // In the second one of them CloudWatch Logs fails so often that the SDK's bucket of retry tokens ran dry, which was one
    // for all processes.
    for seed in [3, 1_039] {
        let trace = || play(Scenario::of(seed, 24), false).unwrap().trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}
