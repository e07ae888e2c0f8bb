//! The pure core on one core, by criterion: webhooks read, mapped, planned and written down. `cargo bench-relay` runs it
//! and takes its medians into the table.

use std::time::Duration;

use bench::workload::{BENCHES, COUNT, Settings, envelopes, run};
use criterion::{Criterion, Throughput};

fn main() -> anyhow::Result<()> {
    let (settings, webhooks) = (Settings::default(), envelopes(COUNT)?);
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("core");
    group
        .throughput(Throughput::Elements(COUNT as u64))
        .sample_size(50)
        .measurement_time(Duration::from_secs(8));
    for (name, to) in BENCHES {
        run(&webhooks, to, &settings)?; // what fails is fast
        group.bench_function(name, |bencher| bencher.iter(|| run(&webhooks, to, &settings)));
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
