//! Each part by itself, in criterion's care: `cargo bench`, `cargo bench -- yield`.
//!
//! Memory isn't in it, since bytes don't vary.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use micro::{Run, parts};

/// What `criterion_group` and `criterion_main` write, whose functions have no documentation.
fn main() {
    let mut criterion = in_short_time().configure_from_args();
    each_part(&mut criterion);
    criterion.final_summary();
}

fn each_part(criterion: &mut Criterion) {
    for part in parts() {
        let mut group = criterion.benchmark_group(part.name);
        for way in &part.ways {
            let Run::Timed(run) = way.run else { continue };
            group.bench_function(BenchmarkId::from_parameter(way.who), |bencher| {
                bencher.iter_custom(|iterations| {
                    // In whole batches: a million timers are not the same as one.
                    let batches = iterations.div_ceil(part.times);
                    let took = run(batches * part.times).expect("a loop can be made");
                    took.mul_f64(iterations as f64 / (batches * part.times) as f64)
                });
            });
        }
        group.finish();
    }
}

fn in_short_time() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
