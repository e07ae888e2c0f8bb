// The list with 10,000 rows. Arguments: the page's URL.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false, args: QUIET });
const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
const begin = performance.now();
await page.goto(process.argv[2]);
await page.locator("#count", { hasText: "10000 events" }).waitFor({ timeout: 60_000 });
const all = Math.round(performance.now() - begin);
// How long the page is busy with each: a screen that scrolls, and a filter.
const busy = await page.evaluate(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const measure = async (work) => { await frame(); const begin = performance.now(); work(); await frame(); await frame(); return Math.round(performance.now() - begin); };
  const list = document.getElementById("list"), search = document.getElementById("search");
  const scroll = [];
  for (let step = 0; step < 20; step++) scroll.push(await measure(() => { list.scrollTop += 2000; }));
  const filter = await measure(() => { search.value = "e4242"; search.dispatchEvent(new Event("input", { bubbles: true })); });
  return { scroll: Math.max(...scroll), filter, count: document.getElementById("count").textContent };
});
assert.equal(busy.count, "1 of 10000 events");
console.log(`10,000 rows after ${all} ms; the slowest of 20 scrolls took ${busy.scroll} ms, a filter ${busy.filter} ms`);
await browser.close();
