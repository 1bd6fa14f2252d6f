// Takes the screenshots of the inspector for the docs: real migrations on real QEMU, in a real browser.
// `npm run screenshots`.

import { mkdirSync } from "node:fs";
import { chromium, type Page } from "playwright-core";
import type { Observation } from "../src/effects/trace.js";
import { serveInspector } from "../src/inspector/server/serve.js";
import { storyTextOf } from "../src/inspector/story/story-text.js";
import { migrate } from "../src/library/local/migrate.js";
import { launchProofGuest } from "../src/proof-guest/launch.js";

const to = "docs/images";
mkdirSync(to, { recursive: true });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

/** Returns the story of a migration that ends in one of two ways, chosen after some passes over the memory. */
async function seenOf(act: "let it arrive" | "abort"): Promise<string> {
  const seen: Observation[] = [];
  const proof = await launchProofGuest({ dirtyMiBps: 24 });
  const migration = migrate({
    guest: proof.guest,
    limits: { bandwidthMiBps: 48, maxDowntimeMs: 30 },
    destination: { sideArgs: proof.nextSide("destination") },
    observe: (observation) => seen.push(observation),
  });
  for await (const { progress } of migration.progress) {
    if ((progress?.pass ?? 0) < 3) continue;
    if (act === "abort") await migration.abort();
    else await migration.setBandwidth(0);
    break;
  }
  const { guest } = await migration.outcome;
  await guest?.end();
  await proof.remove();
  return storyTextOf(seen);
}

async function shoot(
  name: string,
  story: string | null,
  look: { width: number; height: number; scheme: "light" | "dark" },
  act: (page: Page) => Promise<void> = async () => {},
): Promise<void> {
  const stories = story === null ? [] : [{ name: "web-1.story", text: story }];
  const inspector = await serveInspector({ hub: null, stories });
  const page = await browser.newPage({
    viewport: { width: look.width, height: look.height },
    colorScheme: look.scheme,
  });
  await page.goto(`${inspector.url}${story === null ? "#simulate" : ""}`);
  await page.getByRole("toolbar").waitFor();
  await act(page);
  // The graphs are drawn one frame later.
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${to}/${name}.png` });
  await page.close();
  await inspector.close();
  console.error(`${to}/${name}.png`);
}

const arrived = await seenOf("let it arrive");
const aborted = await seenOf("abort");
await shoot("arrived", arrived, { width: 1600, height: 1300, scheme: "light" });
await shoot("undone", aborted, { width: 1600, height: 1300, scheme: "dark" });
await shoot("narrow", arrived, { width: 390, height: 844, scheme: "light" });
await shoot("simulated", null, { width: 1600, height: 1150, scheme: "light" }, async (page) => {
  const late = page.getByRole("button", {
    name: "coordinator.askFinish: no answer comes in time",
    exact: true,
  });
  const next = page.getByRole("region", { name: "Next" }).getByRole("button").first();
  while (!(await late.isVisible())) await next.click();
  await late.click();
});
await browser.close();
