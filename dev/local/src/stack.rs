//! The whole product, running on this machine.

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use harness::digest;
use hyper::Method;
use inspector::feed::Feed;
use relay_core::blueprint::Blueprint;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::aws::{Cloud, REGION};
use crate::deploy::{self, Outputs};
use crate::http::{self, Request};
use crate::install;
use crate::journal::{Delivery, Destination, Journal};
use crate::logs::Logs;
use crate::ministack::MiniStack;
use crate::page::{self, Ingest, Page};
use crate::project::{self, Project};
use crate::proxy;
use crate::receivers::{SEGMENT_WRITE_KEY, StandIn, VERO_AUTH_TOKEN, endpoint_settings};

const SEGMENT_PARAMETER: &str = "/vero-relay/segment-write-key";
const VERO_PARAMETER: &str = "/vero-relay/vero-auth-token";
const BLUEPRINT_PARAMETER: &str = "/vero-relay/blueprint";
const ADDRESS_HASH_PARAMETER: &str = "/vero-relay/address-hash-secret";
const ENDPOINTS_PARAMETER: &str = "/vero-relay/webhook-endpoints";
/// The name of the endpoint.
pub(crate) const ENDPOINT: &str = "local";
/// Where a running stack says how it is reached, in the folder of what `cargo local` keeps.
const RUNNING: &str = "running.json";
/// What MiniStack is installed from.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// What to deploy, also as options of the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Settings {
    /// The port to post to [default: 4580, or any when that is taken]
    #[arg(long)]
    pub port: Option<u16>,
    /// The port of the inspector [default: 4581, or any when that is taken]
    #[arg(long, value_name = "PORT")]
    pub inspector_port: Option<u16>,
    /// Rules for webhooks and first-party events (docs/rules.md)
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Send to Segment itself, not to a stand-in
    #[arg(long, value_name = "KEY")]
    pub segment_write_key: Option<String>,
    /// Segment's base URL, for the EU `https://events.eu1.segmentapis.com`
    #[arg(long, value_name = "URL", requires = "segment_write_key")]
    pub segment_endpoint: Option<String>,
    /// Send to Vero itself, not to a stand-in
    #[arg(long, value_name = "TOKEN")]
    pub vero_auth_token: Option<String>,
    /// Send to a webhook endpoint, too: a stand-in that checks signatures (docs/endpoints.md)
    #[arg(long)]
    pub endpoint: bool,
}

/// The deployed template with its functions. Dropping it stops everything that it started.
#[derive(Debug)]
pub struct Stack {
    /// What has arrived at the stand-ins.
    pub journal: Arc<Journal>,
    /// What the functions write.
    pub logs: Logs,
    /// The destinations that are stand-ins.
    pub watched: Vec<Destination>,
    /// The rules that hold, if any were given.
    pub rules: Option<Blueprint>,
    address: SocketAddr,
    inspector_url: String,
    secrets: Secrets,
    pub(crate) outputs: Outputs,
    /// The inspector looks at the stack. Before MiniStack, so that it does not look at what is gone.
    _following: JoinSet<()>,
    pub(crate) ministack: MiniStack,
    /// Where it says how it is reached.
    running: PathBuf,
}

impl Stack {
    /// Installs what is missing, builds the functions and deploys `template.yaml`.
    pub async fn start(settings: &Settings) -> Result<Stack> {
        // First, because these are the likeliest to fail.
        let rules = settings.rules.as_deref().map(Rules::read).transpose()?;
        let port = proxy::take_port(settings.port, proxy::USUAL_PORT, "--port").await?;
        let page_port =
            proxy::take_port(settings.inspector_port, page::USUAL_PORT, "--inspector-port").await?;
        let project = Project::find().await?;
        let python = install::venv(&project.state.join("venv"), REQUIREMENTS, "MiniStack").await?;
        eprintln!("Building {}", project::FUNCTIONS.join(", "));
        let binaries = project::build_functions().await?;
        eprintln!("Deploying template.yaml to MiniStack");
        let (journal, feed) = (Arc::new(Journal::default()), Arc::new(Feed::default()));
        let ministack = MiniStack::start(&python, &project).await?;
        let cloud = ministack.cloud;

        let segment =
            target(Destination::Segment, settings.segment_write_key.as_deref(), &journal, &feed).await?;
        let vero =
            target(Destination::VeroTrack, settings.vero_auth_token.as_deref(), &journal, &feed).await?;
        deploy::put_secret(&cloud, SEGMENT_PARAMETER, &segment.secret).await?;
        deploy::put_secret(&cloud, VERO_PARAMETER, &vero.secret).await?;

        let secrets = Secrets::lasting(&project)?;
        let digests =
            [&secrets.webhook_token, &secrets.segment_token, &secrets.write_key].map(|secret| digest(secret));
        let mut parameters = vec![
            ("WebhookTokenSha256", digests[0].as_str()),
            ("SegmentTokenSha256", digests[1].as_str()),
            ("WriteKeySha256", digests[2].as_str()),
            ("SegmentWriteKeyParameter", SEGMENT_PARAMETER),
            ("VeroAuthTokenParameter", VERO_PARAMETER),
            ("Archive", "true"),
        ];
        if let Some(Rules { text, .. }) = &rules {
            deploy::put_secret(&cloud, BLUEPRINT_PARAMETER, text).await?;
            deploy::put_secret(&cloud, ADDRESS_HASH_PARAMETER, &secrets.address_hash).await?;
            parameters.push(("BlueprintParameter", BLUEPRINT_PARAMETER));
            parameters.push(("AddressHashSecretParameter", ADDRESS_HASH_PARAMETER));
        }
        let endpoint = match settings.endpoint {
            true => Some(target(Destination::Endpoint, None, &journal, &feed).await?),
            false => None,
        };
        if let Some(Target { secret, .. }) = &endpoint {
            deploy::put_secret(&cloud, ENDPOINTS_PARAMETER, secret).await?;
            parameters.push(("WebhookEndpoints", ENDPOINT));
            parameters.push(("WebhookEndpointSettingsParameter", ENDPOINTS_PARAMETER));
            parameters.push(("WebhookPrivateAddresses", "true"));
        }
        let segment_endpoint = segment.url.clone().or(settings.segment_endpoint.clone());
        parameters.extend(segment_endpoint.as_deref().map(|url| ("SegmentEndpoint", url)));
        parameters.extend(vero.url.as_deref().map(|url| ("VeroEndpoint", url)));
        let outputs = deploy::deploy(&cloud, &project, &binaries, &parameters).await?;

        let address = port.address;
        proxy::serve(port, cloud, outputs.function_path.clone(), Arc::clone(&journal), Arc::clone(&feed));
        let endpoint = endpoint.and_then(|endpoint| endpoint.stand_in);
        let stand_ins: Vec<_> = [segment.stand_in, vero.stand_in, endpoint].into_iter().flatten().collect();
        let watched = stand_ins.iter().map(|stand_in| stand_in.destination).collect();
        let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let page = Page::new(
            project.clone(),
            feed,
            cloud,
            outputs.clone(),
            (parameters.collect(), rules.as_ref().map(|rules| rules.blueprint.clone()).unwrap_or_default()),
            stand_ins,
            Ingest { address, secrets: secrets.clone() },
        )?;
        let (inspector_url, following) =
            page::serve(page_port, secrets.inspector_token.clone(), Arc::new(page));
        let running = project.state.join(RUNNING);
        let stack = Stack {
            journal,
            logs: Logs::new(cloud),
            watched,
            rules: rules.map(|rules| rules.blueprint),
            address,
            inspector_url,
            secrets,
            outputs,
            _following: following,
            ministack,
            running,
        };
        stack.healthy().await?;
        stack.announce()?;
        Ok(stack)
    }

    /// Says where everything is, for `relay --local`. The last stack that started is the one.
    fn announce(&self) -> Result<()> {
        let running = json!({
            "aws": format!("http://{}", self.ministack.cloud.0),
            "region": REGION,
            "url": self.host(),
            "token": self.secrets.webhook_token,
            "inspector": self.inspector_url,
        });
        let file = &self.running;
        fs::write(file, running.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Whether Segment is to get no address.
    pub(crate) fn hides_addresses(&self) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.webhooks().hides_addresses())
    }

    /// The inspector's page.
    pub fn inspector_url(&self) -> &str {
        &self.inspector_url
    }

    /// The token that webhooks come with.
    pub fn webhook_token(&self) -> &str {
        &self.secrets.webhook_token
    }

    /// The URL that Vero would post to.
    pub fn webhook_url(&self) -> String {
        format!("{}/vero/{}", self.host(), self.secrets.webhook_token)
    }

    /// The URL that a Segment Webhooks destination would post to.
    pub fn segment_url(&self) -> String {
        format!("{}/segment/{}", self.host(), self.secrets.segment_token)
    }

    /// The host of Segment SDKs.
    pub fn host(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The write key of Segment SDKs.
    pub fn write_key(&self) -> &str {
        &self.secrets.write_key
    }

    /// Shell lines that let functions by `cargo lambda` use this stack.
    pub fn exports(&self) -> String {
        let Outputs { queue_url, dead_letter_queue_url, archive_bucket, replay_queue_url, .. } =
            &self.outputs;
        let Cloud(address) = self.ministack.cloud;
        format!(
            "  export AWS_ENDPOINT_URL=http://{address} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} \
             AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test\n  \
             export QUEUE_URL={queue_url} DEAD_LETTER_QUEUE_URL={dead_letter_queue_url}\n  \
             export REPLAY_QUEUE_URL={replay_queue_url} ARCHIVE_BUCKET={archive_bucket} \
             INGEST_LOG_GROUP=/aws/lambda/{}-ingest",
            deploy::STACK
        )
    }

    /// The last errors in MiniStack's log. A function that cannot start is named nowhere else.
    pub fn errors(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.ministack.log).unwrap_or_default();
        let errors = log.lines().filter_map(|line| Some(line.split_once(" ERROR [")?.1));
        let mut distinct: Vec<String> = errors.map(|error| format!("[{error}")).collect();
        distinct.dedup();
        distinct.split_off(distinct.len().saturating_sub(5))
    }

    /// Where MiniStack writes what it does and what the functions say.
    pub fn log(&self) -> std::path::Display<'_> {
        self.ministack.log.display()
    }

    /// Posts a webhook as Vero does and gives its id.
    pub async fn post(&self, webhook: &str) -> Result<String> {
        self.post_by(&self.secrets.webhook_token, webhook).await
    }

    /// The same by another token than the one that the stack was started with.
    pub async fn post_by(&self, token: &str, webhook: &str) -> Result<String> {
        let mut request = Request::new(webhook.to_owned().into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = format!("/vero/{token}").parse()?;
        request.headers_mut().insert("content-type", "application/json".parse()?);
        let answer = http::send(self.address, request).await?;
        let text = String::from_utf8_lossy(answer.body());
        let id =
            serde_json::from_str(&text).ok().and_then(|json: Value| json["id"].as_str().map(str::to_owned));
        match id {
            Some(id) if answer.status() == 202 => Ok(id),
            _ => bail!("ingest answered {}: {text}", answer.status()),
        }
    }

    /// Waits until a webhook has made `count` deliveries, and gives what has arrived by then.
    pub async fn deliveries(&self, id: &str, count: usize, wait: Duration) -> Vec<Delivery> {
        let deadline = Instant::now() + wait;
        loop {
            let deliveries = self.journal.of(id);
            if deliveries.len() >= count || Instant::now() > deadline {
                return deliveries;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many messages are in the dead-letter queue.
    pub async fn dead_letters(&self) -> Result<u64> {
        const COUNT: &str = "ApproximateNumberOfMessages";
        let query = json!({"QueueUrl": self.outputs.dead_letter_queue_url, "AttributeNames": [COUNT]});
        let cloud: &Cloud = &self.ministack.cloud;
        let answer = cloud.json("sqs", "AmazonSQS.GetQueueAttributes", query).await?;
        let count = answer["Attributes"][COUNT].as_str().and_then(|count| count.parse().ok());
        count.context("SQS answered without a count of messages")
    }

    /// One request to `ingest`, so that a function that cannot start is reported as such.
    async fn healthy(&self) -> Result<()> {
        let mut request = Request::default();
        *request.uri_mut() = hyper::Uri::from_static("/health");
        let answer = http::send(self.address, request).await?;
        if !answer.status().is_success() {
            let text = String::from_utf8_lossy(answer.body());
            bail!("ingest does not work: {} {text}\nMore is in {}", answer.status(), self.log());
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // It is not reached there any more. If another one was started meanwhile, that one is not found, and says so.
        let _ = fs::remove_file(&self.running);
    }
}

/// A blueprint of the user's.
struct Rules {
    text: String,
    blueprint: Blueprint,
}

impl Rules {
    fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let blueprint =
            Blueprint::parse(&text).with_context(|| format!("{} cannot be used", file.display()))?;
        Ok(Rules { text, blueprint })
    }
}

/// A destination: the secret that it takes, and its stand-in with its URL if it has one.
struct Target {
    secret: String,
    stand_in: Option<Arc<StandIn>>,
    url: Option<String>,
}

async fn target(
    destination: Destination,
    secret: Option<&str>,
    journal: &Arc<Journal>,
    feed: &Arc<Feed>,
) -> Result<Target> {
    if let Some(secret) = secret {
        return Ok(Target { secret: secret.to_owned(), stand_in: None, url: None });
    }
    let (stand_in, address) = StandIn::start(destination, Arc::clone(journal), Arc::clone(feed)).await?;
    let url = format!("http://{address}");
    let secret = match destination {
        Destination::Segment => SEGMENT_WRITE_KEY.to_owned(),
        Destination::VeroTrack => VERO_AUTH_TOKEN.to_owned(),
        Destination::Endpoint => endpoint_settings(&url).to_string(),
    };
    Ok(Target { secret, stand_in: Some(stand_in), url: Some(url) })
}

/// What opens the routes of `ingest`.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    pub(crate) webhook_token: String,
    pub(crate) segment_token: String,
    pub(crate) write_key: String,
    address_hash: String,
    inspector_token: String,
}

impl Secrets {
    /// Made once, so that URLs and keys outlast a restart.
    fn lasting(project: &Project) -> Result<Secrets> {
        let secret = |name: &str| secret(&project.state.join(name));
        Ok(Secrets {
            webhook_token: secret("token")?,
            segment_token: secret("segment-token")?,
            write_key: secret("write-key")?,
            address_hash: secret("address-hash")?,
            inspector_token: secret("inspector-token")?,
        })
    }
}

/// The secret that is kept in this file: as in production, 32 random bytes.
fn secret(path: &Path) -> Result<String> {
    if let Some(secret) = fs::read_to_string(path).ok().filter(|secret| secret.len() == 64) {
        return Ok(secret);
    }
    let mut bytes = [0; 32];
    File::open("/dev/urandom").context("no source of random bytes")?.read_exact(&mut bytes)?;
    let secret = hex::encode(bytes);
    fs::write(path, &secret).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}
