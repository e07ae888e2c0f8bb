// The inspector in Debian's Chromium: what a user does, and what must not happen. Arguments: the page's URL, the URL for
// webhooks, the write key for SDKs, and a folder for pictures. Prints what it has seen; the first surprise ends it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [, , page_url, webhook_url, write_key, pictures] = process.argv;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false, args: QUIET });
const surprises = [];

async function newPage(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 1000 }, permissions: ["clipboard-read", "clipboard-write"], ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("dialog", (dialog) => { surprises.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("pageerror", (error) => surprises.push(`error: ${error}`));
  page.on("console", (message) => { if (message.type() === "error") surprises.push(`console: ${message.text()}`); });
  page.on("request", (request) => { if (!request.url().startsWith(page_url) && !request.url().startsWith("data:")) surprises.push(`request: ${request.url()}`); });
  await page.goto(page_url);
  await page.locator("#live", { hasText: "live" }).waitFor();
  return page;
}

async function post(webhook) {
  const body = typeof webhook === "string" ? webhook : JSON.stringify(webhook);
  const response = await fetch(webhook_url, { method: "POST", headers: { "content-type": "application/json" }, body });
  const answer = await response.json();
  return { status: response.status, id: answer.id };
}

const row = (page, id) => page.locator(`#list li[data-id="${id}"]`);
const pill = (page, id, part, outcome) => row(page, id).locator(`.pill.${outcome}`, { hasText: part });
const opened = (page, id) => page.locator("#event .head code", { hasText: id });
async function open(page, id) {
  await row(page, id).locator("a").click();
  await opened(page, id).waitFor();
}
let step = performance.now();
function did(what) {
  console.log(`ok: ${what} (${((performance.now() - step) / 1000).toFixed(1)} s)`);
  step = performance.now();
}

const CAMPAIGN = { id: 7, name: "Welcome", "trigger-event": "signed up" };
const OPENED = { type: "opened", user: { id: 123, email: "steve@example.com" }, campaign: CAMPAIGN, opened_at: 1435016238, odd_one: "carried" };

const page = await newPage();

// --- an event appears, and both its sides are there -----------------------------------------------------------------
const first = await post(OPENED);
const begin = performance.now();
for (const part of ["segment", "vero_track"]) await pill(page, first.id, part, "accepted").waitFor();
did(`an event is shown with its outcomes ${Math.round(performance.now() - begin)} ms after its 202`);
await open(page, first.id);
const sides = page.locator("#event .sides > section");
assert.deepEqual(await sides.evaluateAll((all) => all.map((side) => side.getAttribute("aria-label"))), ["What came", "segment", "vero_track", "archive"]);
const leafOf = (view, path) => view.locator(`#event .leaf[data-path="${path}"]`);
const leaf = (path) => leafOf(page, path);
await leaf("segment/0#/properties/campaign_name").hover();
assert.match(await leaf("/campaign/name").getAttribute("class"), /linked/);
assert.doesNotMatch(await leaf("/campaign/id").getAttribute("class"), /linked/);
await leaf("/user/email").hover();
assert.match(await leaf("vero_track/0#/identity/email").getAttribute("class"), /linked/);
assert.equal(await page.locator("#event .carried", { hasText: "odd_one" }).first().isVisible(), true);
await page.locator("#find").fill("steve@");
assert.ok((await page.locator("#event .leaf.found").count()) >= 2);
const text = await page.locator("#event").innerText();
for (const secret of new URL(webhook_url).pathname.split("/").slice(2)) assert.ok(!text.includes(secret), "the token is shown");
assert.ok(!text.includes("local-vero-auth-token") && !text.includes("local-segment-write-key"), "a key is shown");
did("both sides of it, linked field by field");

// --- copies -----------------------------------------------------------------------------------------------------------
async function copied(button) {
  await page.locator("#event button", { hasText: button }).click();
  await page.locator("#said", { hasText: "Copied" }).waitFor();
  return page.evaluate(() => navigator.clipboard.readText());
}
assert.deepEqual(JSON.parse(await copied("Copy as test sample")), OPENED);
const answer = execFileSync("bash", ["-c", await copied("Copy as curl")], { env: { ...process.env, WEBHOOK_URL: webhook_url }, stdio: ["ignore", "pipe", "ignore"] });
await row(page, JSON.parse(answer).id).waitFor();
const [message, events] = [await page.locator("#said").boundingBox(), await page.locator("#list").boundingBox()];
assert.ok(message.y + message.height <= events.y, "the message covers the list");
did("a copy as curl works, and a copy as a sample is what came");

// --- filters --------------------------------------------------------------------------------------------------------
const other = await post({ type: "clicked", user: { id: 456 }, campaign: { id: 8, name: "Farewell" } });
await pill(page, other.id, "segment", "accepted").waitFor();
await page.selectOption("#type", "clicked");
assert.equal(await row(page, first.id).isVisible(), false);
assert.equal(await row(page, other.id).isVisible(), true);
await page.selectOption("#type", "");
await page.locator("#search").fill("farewell");
assert.deepEqual([await row(page, first.id).isVisible(), await row(page, other.id).isVisible()], [false, true]);
const long = await post({ ...OPENED, padding: "x".repeat(5_000), zz: "Needle at the end" });
const spelled = await post(`{"type":"opened","user":{"id":123},"campaign":{"id":9,"name":"Caf\\u00e9"},"padding":"${"x".repeat(5_000)}","zz":"Th\\u00e9"}`);
await page.locator("#search").fill("thé");
await row(page, spelled.id).waitFor();
await page.locator("#search").fill("needle at");
await row(page, other.id).waitFor({ state: "detached" });
await row(page, long.id).waitFor();
await page.locator("#search").fill("");
await page.selectOption("#outcome", "dead");
assert.equal(await row(page, other.id).isVisible(), false);
await page.selectOption("#outcome", "accepted");
await page.selectOption("#destination", "vero_track");
assert.equal(await row(page, other.id).isVisible(), true);
await page.selectOption("#outcome", "");
await page.selectOption("#destination", "");
did("filters by type, text, destination and outcome");

// --- keys -----------------------------------------------------------------------------------------------------------
await page.keyboard.press("Escape");
await page.locator("h1").click();
await page.keyboard.press("j");
const focused = () => page.evaluate(() => document.activeElement.closest("li")?.dataset.id);
const newest = await page.locator("#list li").first().getAttribute("data-id");
await page.keyboard.press("k");
assert.equal(await focused(), newest);
await page.keyboard.press("j");
const second = await focused();
assert.notEqual(second, newest);
await page.keyboard.press("Enter");
await opened(page, second).waitFor();
await page.keyboard.press("/");
assert.equal(await page.evaluate(() => document.activeElement.id), "search");
await page.keyboard.press("Escape");
assert.equal(await page.locator("#event .head").count(), 0);
did("keys");

// --- a destination that is down: attempts, what happens next, and time in a hurry ---------------------------------------
await page.locator("#bench summary").click();
const behave = (destination, how) => page.locator(`select[data-behave="${destination}"]`).selectOption(how);
const said = (words) => page.locator("#said", { hasText: words }).waitFor();
await behave("vero_track", "down");
await said("vero_track answers 500");
await page.selectOption("#sample", { label: "vero-opened.json" });
await page.locator("#send button", { hasText: "Send" }).click();
await said("ingest answered 202");
const owed = page.locator("#list li", { has: page.locator(".pill.owed", { hasText: "vero_track" }) }).first();
await owed.waitFor();
const owedId = await owed.getAttribute("data-id");
await pill(page, owedId, "segment", "accepted").waitFor();
await open(page, owedId);
const story = page.locator('#event section[aria-label="vero_track"]');
await story.locator(".attempts .owed", { hasText: "attempt 1" }).waitFor();
await story.locator(".attempts .next", { hasText: /attempt 2 in \d+ s, at \d\d:\d\d:\d\d UTC/ }).waitFor();
await story.locator("summary", { hasText: "→ 500" }).first().waitFor();
did(`a 500 is an attempt: ${(await story.locator(".attempts").innerText()).replaceAll("\n", ", ")}`);
if (pictures) {
  const small = await post(OPENED);
  await pill(page, small.id, "vero_track", "owed").waitFor();
  const view = await newPage({ viewport: { width: 1280, height: 720 } });
  await open(view, small.id);
  await view.locator("#numbers svg").first().waitFor();
  await leafOf(view, "/campaign/name").hover();
  await view.screenshot({ path: `${pictures}/readme.png` });
  await view.context().close();
}
// What is selected, or pressed, while the next try's seconds are counted stays where it is.
await page.evaluate(() => {
  const head = document.querySelector("#event h2");
  getSelection().selectAllChildren(head);
  head.dataset.kept = "yes";
});
await page.waitForTimeout(2_500);
assert.equal(await page.evaluate(() => getSelection().toString()), "opened");
assert.equal(await page.locator("#event h2[data-kept]").count(), 1);
await page.evaluate(() => getSelection().removeAllRanges());
await page.locator("#event h2[data-kept]").waitFor({ state: "detached" });
// A menu swallows the release of the button, and the list goes on all the same.
await row(page, owedId).dispatchEvent("pointerdown", { button: 0, bubbles: true });
await row(page, owedId).dispatchEvent("contextmenu", { bubbles: true });
await row(page, (await post(OPENED)).id).waitFor();
did("a selection stays, and a menu stops nothing");
// --- the breaker ------------------------------------------------------------------------------------------------------
const held = story.locator(".attempts .owed", { hasText: "held back by the breaker" });
for (let turn = 0; turn < 15 && !(await held.count()); turn++) {
  await page.locator("#hurry").click();
  await page.waitForTimeout(1_000);
}
await held.first().waitFor();
await story.locator(".breaker", { hasText: "The breaker held the last try back" }).waitFor();
await pill(page, owedId, "vero_track", "owed").filter({ hasText: "owed: breaker" }).waitFor();
await page.locator("#numbers .breaker", { hasText: "The breaker of vero_track held the last try back" }).waitFor();
await page.locator("#numbers .edge.open").waitFor();
if (pictures) await page.screenshot({ path: `${pictures}/breaker.png` });
did(`what the breaker holds back says so: ${(await story.locator(".attempts").innerText()).replaceAll("\n", ", ")}`);
await behave("vero_track", "well");
await said("answers well");
// The worker does not ask a destination that has just failed: a hurried try may be put off once more.
for (let turn = 0; turn < 15 && !(await pill(page, owedId, "vero_track", "accepted").count()); turn++) {
  await page.locator("#hurry").click();
  await page.waitForTimeout(1_000);
}
await pill(page, owedId, "vero_track", "accepted").waitFor();
await page.locator("#numbers .breaker").waitFor({ state: "detached" });
did("the next try comes when it is hurried, and closes the breaker");

// --- a dead letter, and its redrive ---------------------------------------------------------------------------------
await behave("vero_track", "refuse_next");
await said("refuses the next event");
const refused = await post({ ...OPENED, opened_at: 1435016239 });
await pill(page, refused.id, "vero_track", "dead").waitFor();
await page.waitForFunction(() => document.querySelector('[data-behave="vero_track"]').value === "well");
await open(page, refused.id);
await page.locator("[data-redrive]").click();
await said("on the queue again");
await pill(page, refused.id, "vero_track", "accepted").waitFor();
did("a dead letter is redriven");

// --- a pause --------------------------------------------------------------------------------------------------------
const [pause, resume] = [page.locator('[data-pause="segment"]'), page.locator('[data-resume="segment"]')];
assert.equal(await resume.isVisible(), false);
await pause.click();
await page.locator("#said", { hasText: "segment is paused" }).waitFor({ timeout: 60_000 });
await pause.waitFor({ state: "hidden" });
const paused = await post({ ...OPENED, opened_at: 1435016240 });
await pill(page, paused.id, "vero_track", "accepted").waitFor();
await pill(page, paused.id, "segment", "waits").waitFor();
await resume.click();
await page.locator("#said", { hasText: "segment is resumed" }).waitFor({ timeout: 60_000 });
await page.locator("#hurry").click();
await pill(page, paused.id, "segment", "accepted").waitFor();
did("a paused destination gets what it is owed");

// --- every sample -----------------------------------------------------------------------------------------------------
const samples = await page.locator("#sample option").evaluateAll((all) => all.map(({ label, value, dataset }) => ({ label, value, route: dataset.route })));
for (const { value } of samples.filter(({ route }) => route === "vero")) {
  const { id } = await post(value);
  await pill(page, id, "segment", "accepted").waitFor();
}
const send = async () => {
  const answer = page.waitForResponse((response) => response.url() === `${page_url}act`);
  await page.locator("#send button", { hasText: "Send" }).click();
  assert.match((await (await answer).json()).said, /^ingest answered 2/);
};
const rowOf = (message_id) => page.locator(`#list li[data-text*='"messageid":"${message_id.toLowerCase()}"']`);
for (const { label, value, route } of samples.filter(({ route }) => route !== "vero")) {
  await page.selectOption("#sample", { label });
  assert.deepEqual([route, await page.locator("#route").inputValue()], ["segment", "segment"]);
  await send();
  await rowOf(JSON.parse(value).messageId).waitFor();
}
assert.ok(samples.length > 40);
did(`${samples.length} samples, a row each`);

// --- an SDK -----------------------------------------------------------------------------------------------------------
await page.selectOption("#sample", { label: "segment-track.json" });
await page.selectOption("#route", "sdk");
await page.locator("#body").fill(JSON.stringify({ type: "track", event: "Relay Check", userId: "u", messageId: "by-the-page" }));
await send();
const batch = { writeKey: write_key, sentAt: new Date().toISOString(), batch: [{ type: "track", event: "Relay Check", userId: "u", messageId: "by-an-sdk", writeKey: write_key }, { type: "page", userId: "u", messageId: "beside-it" }] };
const headers = { "content-type": "application/json", authorization: `Basic ${btoa(`${write_key}:`)}` };
assert.equal((await fetch(new URL("/v1/batch", webhook_url), { method: "POST", headers, body: JSON.stringify(batch) })).status, 200);
for (const [message_id, path, count] of [["by-the-page", "/v1/track", ""], ["by-an-sdk", "/v1/batch", ", 2 events, of which this is one"]]) {
  const sent = rowOf(message_id);
  await sent.locator(".pill.accepted", { hasText: "vero_track" }).waitFor();
  await open(page, await sent.getAttribute("data-id"));
  const came = page.locator('#event section[aria-label="What came"]');
  await came.locator(".line", { hasText: `POST ${path} → 200` }).waitFor();
  await came.locator("summary", { hasText: new RegExp(`headers, \\d+ bytes${count}$`) }).click();
  await came.locator(".headers", { hasText: /authorization\s*…/ }).waitFor();
  await came.locator("summary", { hasText: "its write key blanked out" }).click();
  assert.equal(await page.locator('#event section[aria-label="vero_track"] summary', { hasText: "→ 200" }).count() > 0, true);
  const html = await page.content();
  for (const secret of [write_key, btoa(`${write_key}:`).slice(0, 40)]) assert.ok(!html.includes(secret), "the write key is on the page");
}
const blanked = page.locator('#event section[aria-label="What came"] .leaf[data-path="/writeKey"]');
assert.match(await blanked.innerText(), /writeKey: "…"/);
await page.locator("#event button", { hasText: "Send again" }).click();
await said("ingest answered 200");
// Of an identify Vero is told no id: the page knows it by what is sent.
const identify = rowOf("tags-1");
await open(page, await identify.getAttribute("data-id"));
await page.locator('#event section[aria-label="vero_track"] summary', { hasText: "/api/v2/users/track → 200" }).first().waitFor();
did("a request of an SDK is shown without its key, and an identify with its response");

// --- hostile payloads -----------------------------------------------------------------------------------------------
const SCRIPT = "</script><script>alert(1)</script><img src=http://example.com/x onerror=alert(2)>\"' onmouseover=alert(3) x='";
const hostile = [
  { type: "opened", user: { id: SCRIPT, email: "a@example.com" }, campaign: { id: 1, name: SCRIPT }, [SCRIPT]: SCRIPT },
  { type: "javascript:alert(4)", user: { id: 1 } },
  { type: "opened", user: { id: "\u202Eevil\u202C\r\ndata: x\u0000", email: "b@example.com" }, campaign: { id: 2, name: "a\u2028b" } },
  { type: "opened", user: { id: 2 }, campaign: { id: 3, name: "x".repeat(250_000) } },
  `{"type":"opened","user":{"id":3},"campaign":{"id":4,"name":"\\ud800"}}`,
  `{"type":"opened","user":{"id":4},"deep":${"[".repeat(5_000)}1${"]".repeat(5_000)}}`,
  "not JSON <script>alert(5)</script>",
];
for (const [place, webhook] of hostile.entries()) {
  const { id } = await post(webhook);
  assert.ok(id, `ingest gave hostile payload ${place} no id`);
  await row(page, id).waitFor();
  await open(page, id);
  for (const part of await page.locator("#event .leaf").all().then((all) => all.slice(0, 8))) await part.hover({ timeout: 300 }).catch(() => {});
  await page.waitForTimeout(150);
  const shown = await page.locator("#event").innerText();
  const expected = ["<script>alert(1)</script>", "javascript:alert(4)", "U+202E", "more characters", "ud800", "[[[[[", "not JSON <script>alert(5)</script>"][place];
  assert.ok(shown.includes(expected), `hostile payload ${place} is not shown as what it is`);
}
const alive = await post({ ...OPENED, opened_at: 1435016241 });
await pill(page, alive.id, "segment", "accepted").waitFor();
did(`${hostile.length} hostile payloads are inert, and the page goes on`);

// --- a page that comes later has everything, too, in both themes and widths --------------------------------------------
for (const colorScheme of ["light", "dark"]) {
  for (const width of [400, 1600]) {
    const view = await newPage({ viewport: { width, height: 1000 }, colorScheme });
    await pill(view, refused.id, "vero_track", "accepted").waitFor();
    await open(view, refused.id);
    await view.locator("#numbers svg").first().waitFor();
    const wide = await view.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `at ${width} px the page is ${wide} px too wide`);
    if (pictures) await view.screenshot({ path: `${pictures}/${colorScheme}-${width}.png` });
    await view.locator("#bench summary").click();
    await view.evaluate(axe);
    const found = await view.evaluate(async () => (await globalThis.axe.run()).violations.map(({ id, impact, nodes }) => ({ id, impact, at: nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) })));
    const serious = found.filter(({ impact }) => ["serious", "critical"].includes(impact));
    assert.deepEqual(serious, [], `${colorScheme}, ${width} px`);
    await view.context().close();
  }
}
did("light and dark, 400 and 1,600 px: nothing too wide, and no serious fault that axe-core finds");

// --- another site ---------------------------------------------------------------------------------------------------
for (const headers of [{ origin: "http://example.com" }, { host: "example.com" }, { "sec-fetch-site": "cross-site" }]) {
  const asked = await page.context().request.post(`${page_url}act`, { headers, data: "\"hurry\"" });
  assert.equal(asked.status(), 403, JSON.stringify(headers));
}
assert.equal((await page.context().request.get(new URL("/", page_url).href)).status(), 403);
did("another site is refused");

assert.deepEqual(surprises, []);
await browser.close();
