//! Cold starts of `ingest`, beside those of a bare function.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::Sqs;
use tempfile::NamedTempFile;

use crate::binaries::Binaries;
use crate::cpu_share::CpuShare;
use crate::scene::{Program, Scene, Start, median, starts};
use crate::table::{Figure, Row};

/// How often each function is started.
pub const RUNS: usize = 30;

/// The memory that the template gives, and the least that there is.
const MEMORIES_MB: [u64; 2] = [256, 128];

/// Where the certificate authorities are on Debian, Alpine and Amazon Linux.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The stripped binaries.
pub fn sizes(binaries: &Binaries) -> Result<Vec<Row>> {
    let size = |path: &Path| Ok::<_, std::io::Error>(Figure::Bytes(fs::metadata(path)?.len()));
    let hello = size(&binaries.hello)?;
    Ok(vec![
        Row::new("ingest, stripped", size(&binaries.ingest)?)
            .beside_hello(hello)
            .at_most(Figure::Bytes(6_000_000)),
        Row::new("worker, stripped", size(&binaries.worker)?).beside_hello(hello),
    ])
}

/// From nothing to the first answer, SQS without TLS.
pub async fn start(binaries: &Binaries) -> Result<Row> {
    let scene = Scene::of(Sqs::start().await?);
    let starts = starts(&scene, &programs(binaries, &[]), RUNS, None).await?;
    let queued = scene.live.messages().len();
    ensure!(queued == RUNS + 1, "{queued} of {} webhooks are on the queue", RUNS + 1);
    let whole = |program: usize| Figure::Time(median(starts[program].iter().map(Start::whole)));
    let row = Row::new("ingest, start to first answer", whole(0)).beside_hello(whole(1));
    Ok(row.at_most_times(3.0))
}

/// As on Lambda: behind TLS, and after init with the CPU that goes with the memory.
pub async fn on_lambda(binaries: &Binaries) -> Result<Vec<Row>> {
    let scene = Scene::of(Sqs::start_tls().await?);
    let authorities = authorities(scene.sqs.ca_file().context("no authority")?)?;
    let file = authorities.path().to_string_lossy();
    let variables = [("SSL_CERT_FILE", &*file)];
    let mut rows = Vec::new();
    for mb in MEMORIES_MB {
        let share = CpuShare::of_memory(mb);
        let starts = starts(&scene, &programs(binaries, &variables), RUNS, share.as_ref().ok()).await?;
        let times = |part: fn(&Start) -> Duration| {
            let [ingest, hello] =
                [0, 1].map(|program: usize| Figure::Time(median(starts[program].iter().map(part))));
            move |what: String| Row::new(what, ingest).beside_hello(hello)
        };
        if rows.is_empty() {
            let init = times(|start| start.init)("ingest, init with TLS".to_owned());
            rows.push(init.at_most(Figure::Time(Duration::from_millis(30))));
        }
        let what = format!("ingest, first answer with the CPU share of {mb} MB");
        let first = match &share {
            Ok(_) => times(|start| start.answer)(what),
            Err(error) => {
                eprintln!("The share of the CPU is not measured: {error:#}");
                Row::not_measured(format!("{what} (no cgroups here)"))
            }
        };
        rows.push(first.at_most(Figure::Time(Duration::from_millis(3))));
    }
    Ok(rows)
}

fn programs<'p>(binaries: &'p Binaries, variables: &'p [(&'p str, &'p str)]) -> [Program<'p>; 2] {
    [&binaries.ingest, &binaries.hello].map(|binary| Program { binary, variables })
}

/// This authority among the system's own: a client has to read them all.
fn authorities(own: &Path) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(&fs::read(own)?)?;
    if let Some(system) = AUTHORITIES.iter().find_map(|path| fs::read(path).ok()) {
        file.write_all(&system)?;
    }
    Ok(file)
}
