//! What a caller without a known token or key costs `ingest`, whatever it sends: in CPU time, for a function is billed
//! and bounded by that, and the clock would also show what else the machine does.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use harness::{Function, Sqs, UrlAnswer, url_event};

use crate::scene::{Scene, median};
use crate::table::{Figure, Row};

/// How often each is sent; the first times do not count.
const RUNS: usize = 40;
const UNCOUNTED: usize = 5;

const DEADLINE: Duration = Duration::from_secs(25);

/// Of CPU time for one request.
const TARGET: Duration = Duration::from_millis(2);

/// About the most that a Function URL takes in one request.
const LARGEST: usize = 5_900_000;
/// As much as is unpacked of a body whose sender is not known.
const HEAD: usize = 512 * 1024;

struct Attack {
    what: &'static str,
    path: &'static str,
    key: Option<&'static str>,
    headers: usize,
    body: Vec<u8>,
}

impl Attack {
    fn of(what: &'static str, path: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Attack { what, path, key: None, headers: 0, body: body.into() }
    }
}

fn attacks() -> Result<Vec<Attack>> {
    let webhook = "x".repeat(1_024);
    let plain = |event: &str, bytes: usize| {
        format!(r#"{{"batch":[{}]}}"#, vec![event; bytes / event.len()].join(","))
    };
    let event = r#"{"type":"track","event":"Signed Up","userId":"019f3a11","properties":{"plan":"pro"}}"#;
    let keys: Vec<String> = (0..80_000).map(|key| format!(r#""{key}":"#)).map(|key| key + "1").collect();
    let keys = format!("{{{},\"writeKey\":\"unknown\"}}", keys.join(","));
    Ok(vec![
        Attack::of("unknown token, 1 KB", "/vero/unknown", webhook),
        Attack { headers: 500, ..Attack::of("no key, 500 headers", "/v1/batch", "{}") },
        Attack::of("no key, gzip bomb of 6 MB", "/v1/batch", gzip(&vec![b' '; 6_000_000])?),
        Attack::of("no key, a batch of 512 KB in gzip", "/v1/batch", gzip(plain(event, HEAD).as_bytes())?),
        Attack::of("no key, noise in gzip", "/v1/batch", gzip(&noise(HEAD))?),
        Attack::of("no key, gzip of blocks without content", "/v1/batch", empty_blocks(HEAD)),
        Attack::of("80,000 fields before an unknown key", "/v1/batch", gzip(keys.as_bytes())?),
        Attack::of("no key, nested 512,000 deep", "/v1/batch", gzip(&vec![b'['; HEAD])?),
        Attack::of("no key, 512 KB of empty texts", "/v1/batch", gzip(plain(r#""""#, HEAD).as_bytes())?),
        Attack {
            key: Some("unknown"),
            ..Attack::of("unknown key, 6 MB", "/v1/batch", plain(event, LARGEST * 4 / 5))
        },
        Attack::of("unknown token, 6 MB", "/vero/unknown", plain(event, LARGEST * 4 / 5)),
        Attack::of("unknown token, 6 MB of base64", "/segment/unknown", vec![0x80; LARGEST * 3 / 4]),
        Attack::of("no key, 6 MB", "/v1/batch", plain(event, LARGEST * 4 / 5)),
        Attack::of("no key, 6 MB of quotes", "/v1/batch", vec![b'"'; LARGEST / 2]),
        Attack::of("unknown path, 6 MB", "/nowhere", plain(event, LARGEST * 4 / 5)),
    ])
}

/// A line for each attack.
pub async fn measure(ingest: &Path) -> Result<Vec<Row>> {
    let scene = Scene::of(Sqs::start().await?);
    // Somebody has keys; it is nobody here.
    let digest = "0".repeat(64);
    let variables = [("SEGMENT_TOKEN_SHA256", &*digest), ("WRITE_KEY_SHA256", &digest)];
    let function = scene.function(ingest, &variables).await?;
    let mut rows = Vec::new();
    for attack in attacks()? {
        let time = cpu_time_of(&function, &attack).await?;
        rows.push(
            Row::new(format!("ingest, {}", attack.what), Figure::Time(time)).at_most(Figure::Time(TARGET)),
        );
    }
    Ok(rows)
}

async fn cpu_time_of(function: &Function, attack: &Attack) -> Result<Duration> {
    let authorization = attack.key.map(harness::basic);
    let names: Vec<String> = (0..attack.headers).map(|number| format!("x-header-{number}")).collect();
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "value")).collect();
    headers.extend(authorization.iter().map(|value| ("authorization", &**value)));
    let event = url_event("POST", attack.path, "", &headers, &attack.body, false).to_string();
    let mut times = Vec::new();
    for run in 0..UNCOUNTED + RUNS {
        let before = cpu_time(function)?;
        let response = function.invoke_raw(event.clone(), DEADLINE).await?;
        let time = cpu_time(function)?.saturating_sub(before);
        let status = UrlAnswer::of(&serde_json::from_slice(&response)?).status;
        ensure!((400..500).contains(&status), "{} was answered {status}", attack.what);
        if run >= UNCOUNTED {
            times.push(time);
        }
    }
    Ok(median(times))
}

/// Of all threads of the process, to the nanosecond (Linux, Documentation/scheduler/sched-stats.rst).
fn cpu_time(function: &Function) -> Result<Duration> {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{}/task", function.pid()))? {
        let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = stat.split_whitespace().next().context("no schedstat")?;
        time += Duration::from_nanos(nanoseconds.parse()?);
    }
    Ok(time)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Text in which hardly anything repeats: what takes longest to unpack, byte by byte.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + (state >> 33) as u8 % 94
    };
    [b"{\"a\":\"".to_vec(), std::iter::repeat_with(next).take(bytes).collect()].concat()
}

/// Gzip whose blocks each bring a Huffman code of their own (RFC 1951, 3.2.7), and nothing that it codes.
fn empty_blocks(bytes: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    while bits.bytes.len() < bytes {
        bits.put(0, 1); // not the last block
        bits.put(2, 2); // a code of its own
        bits.put(0, 5); // 257 codes for text and lengths
        bits.put(0, 5); // one for distances
        bits.put(14, 4); // 18 lengths for the code of the codes, in an order of their own
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            bits.put(u32::from(matches!(symbol, 18 | 1)), 3);
        }
        // Of two codes of one bit the lower symbol, a length of 1, is 0, and 18, a run of zeros, is 1.
        for run in [138, 118] {
            bits.put(1, 1);
            bits.put(run - 11, 7);
        }
        bits.put(0, 1); // the end of a block has a code
        bits.put(0, 1); // a distance, too
        bits.put(0, 1); // the end of this block
    }
    [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &bits.bytes].concat()
}

/// Bits, the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn blocks_without_content_are_deflate_all_the_same() {
        let mut unpacked = Vec::new();
        let packed = empty_blocks(10_000);
        let read = flate2::bufread::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked);
        // Only its end is missing.
        assert_eq!(read.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::UnexpectedEof));
        assert!(unpacked.is_empty());
    }
}
