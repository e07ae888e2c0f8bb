//! `relay misplaced`: rows of the archive that Firehose could not place, and wrote under `errors/`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use relay_core::archive::Archived;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Done;
use crate::cloud::Cloud;
use crate::console::{Console, DIM, printable, styled};
use crate::error::Error;
use crate::options::{Consent, Misplaced};

/// So many objects at once.
const OBJECTS: usize = 1_000;
const DATA: &str = "errors/data";

pub(super) async fn run(cloud: &Cloud, console: Console, options: &Misplaced) -> Done {
    match options {
        Misplaced::List => list(cloud, console).await,
        Misplaced::Restore(consent) => restore(cloud, console, consent).await,
    }
}

async fn list(cloud: &Cloud, console: Console) -> Done {
    let stack = cloud.describe().await?;
    let bucket = cloud.bucket(&stack).await?;
    let look = async {
        let keys = bucket.keys("errors", OBJECTS).await?;
        let mut causes: BTreeMap<String, u64> = BTreeMap::new();
        for key in keys.iter().filter(|key| key.starts_with(DATA)) {
            for line in bucket.text(key).await?.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                let text = |name: &str| line[name].as_str().unwrap_or("unknown").to_owned();
                *causes.entry(format!("{}: {}", text("errorCode"), text("errorMessage"))).or_default() += 1;
            }
        }
        Ok::<_, Error>((keys, causes))
    };
    let (keys, causes) = console.wait("Reading errors/", look).await?;
    let of_log = keys.iter().filter(|key| !key.starts_with(DATA)).count();
    console.show(&json!({"objects": keys.len(), "causes": causes, "objects_of_delivery_log": of_log}), || {
        if keys.is_empty() {
            return console.say("nothing is under errors/");
        }
        for (cause, count) in &causes {
            console.say(format!("{count:>6}  {}", printable(cause)));
        }
        if !causes.is_empty() {
            console.say("Correct the cause, then: relay misplaced restore");
        }
        if of_log > 0 {
            console.say(styled(DIM, format!("{of_log} objects are rows of the delivery log, which has no personal data. Nothing puts them back.")));
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes each object's rows to the folders of their days, and then deletes it.
async fn restore(cloud: &Cloud, console: Console, consent: &Consent) -> Done {
    let stack = cloud.describe().await?;
    let bucket = cloud.bucket(&stack).await?;
    let keys = console.wait("Reading errors/", bucket.keys(DATA, OBJECTS)).await?;
    if keys.is_empty() {
        return Err(Error::NotFound("no rows of events are under errors/".to_owned()));
    }
    console.say(
        "If a row is in its place after all, the archive has it twice from then on; count distinct ids.",
    );
    console.ask(&format!("Put the rows of {} objects back?", keys.len()), consent)?;
    let work = async {
        let (mut rows, mut odd) = (0, Vec::new());
        for key in &keys {
            let folders = match sorted(&bucket.text(key).await?) {
                Ok(folders) => folders,
                Err(line) => {
                    odd.push(format!(
                        "line {line} of s3://{}/{key} has no row that belongs anywhere",
                        bucket.name
                    ));
                    continue;
                }
            };
            for (folder, lines) in folders {
                rows += lines.len();
                // Of the same name when it is done again: it replaces itself.
                let name =
                    format!("data/{folder}/from-errors-{}.gz", &hex::encode(Sha256::digest(key))[..16]);
                bucket.put(&name, packed(&lines)?).await?;
            }
            bucket.delete(key).await?;
        }
        Ok::<_, Error>((rows, odd))
    };
    let (rows, odd) = console.wait("Putting rows back", work).await?;
    console.show(&json!({"objects": keys.len() - odd.len(), "rows": rows, "left": odd}), || {
        console.say(format!("{rows} rows of {} objects are in their places", keys.len() - odd.len()));
        odd.iter().for_each(|odd| console.say(format!("{odd}; the object stays")));
        if keys.len() == OBJECTS {
            console.say("There may be more: run it again.");
        }
    })?;
    Ok(if odd.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows of an object of Firehose's, by folder; or the number of the first line that has none.
fn sorted(text: &str) -> Result<BTreeMap<String, Vec<String>>, usize> {
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let row = || {
            let line: Value = serde_json::from_str(line).ok()?;
            let row = String::from_utf8(STANDARD.decode(line["rawData"].as_str()?).ok()?).ok()?;
            let row = row.trim_end_matches('\n').to_owned();
            let archived = Archived::parse(&row)?;
            let envelope = archived.envelope()?;
            let day = envelope.received_at.iso();
            let folder = format!("day={}/source={}", day.get(..10)?, envelope.source.as_str());
            Some((folder, row))
        };
        let (folder, row) = row().ok_or(number + 1)?;
        folders.entry(folder).or_default().push(row);
    }
    Ok(folders)
}

fn packed(lines: &[String]) -> Result<Vec<u8>, Error> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let written = lines.iter().try_for_each(|line| writeln!(gzip, "{line}"));
    written.and_then(|()| gzip.finish()).map_err(|error| Error::Io("gzip".to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"id":"1","_sequence":1795237443123000001,"received_at":"2026-11-21T05:04:03.123Z","source":"vero","type":"sent","payload":"{\"n\":1.00,\"a\":\"\\té\"}"}"#;

    fn misplaced(row: &str) -> String {
        json!({"errorCode": "S3.AccessDenied", "rawData": STANDARD.encode(format!("{row}\n"))}).to_string()
    }

    #[test]
    fn rows_go_to_the_folder_of_their_day_to_the_letter() {
        let other = ROW.replace("2026-11-21", "2026-11-22");
        let text = [misplaced(ROW), misplaced(&other), misplaced(ROW)].join("\n");
        let folders = sorted(&text).unwrap();
        assert_eq!(folders["day=2026-11-21/source=vero"], [ROW, ROW]);
        assert_eq!(folders["day=2026-11-22/source=vero"], [other]);
    }

    #[test]
    fn a_line_without_a_row_is_named() {
        for odd in ["{", "{}", &misplaced("{}"), r#"{"rawData":"!"}"#] {
            assert_eq!(sorted(&format!("{}\n{odd}", misplaced(ROW))), Err(2), "{odd}");
        }
    }
}
