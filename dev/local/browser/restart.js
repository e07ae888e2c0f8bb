// A page whose stack ends and comes again on the same port. Arguments: the page's URL. Says when it may end.
import { chromium } from "playwright-core";

const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", chromiumSandbox: false, args: QUIET });
const page = await browser.newPage();
await page.goto(process.argv[2]);
await page.locator('#list li[data-id="before"]').waitFor();
console.log("it may end");
await page.locator('#list li[data-id="after"]').waitFor({ timeout: 30_000 });
await page.locator('#list li[data-id="before"]').waitFor({ state: "detached" });
await page.locator("#live", { hasText: "live" }).waitFor();
await browser.close();
