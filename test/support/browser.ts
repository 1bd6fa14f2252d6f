// A real browser, Debian's chromium, for the inspector's page. It records what a page must never do: log an error, or send a
// request to any server but its own.

import axe, { type AxeResults } from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, expect, onTestFinished } from "vitest";

let browser: Promise<Browser> | undefined;

/** Starts one browser for all tests of a file. */
const theBrowser = (): Promise<Browser> => {
  browser ??= chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  return browser;
};
afterAll(async () => (await browser)?.close());

export interface Look {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: "light" | "dark";
}

/** Opens the page, and checks at the end of the test that it logged no error and sent no foreign request. */
export async function look(
  url: string,
  { width = 1600, height = 1000, scheme = "light" }: Look = {},
): Promise<Page> {
  const item = await theBrowser();
  const page = await item.newPage({ viewport: { width, height }, colorScheme: scheme });
  const complaints: string[] = [];
  page.on("console", (said) => {
    if (said.type() === "error" || said.type() === "warning") complaints.push(said.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    const to = request.url();
    if (!to.startsWith("blob:") && !to.startsWith("data:") && new URL(to).origin !== new URL(url).origin)
      complaints.push(`it asked ${to}`);
  });
  onTestFinished(async () => {
    await page.close();
    expect(complaints, "what the page complained of, or asked of others").toEqual([]);
  });
  await page.goto(url);
  return page;
}

/** Returns the accessibility violations that axe finds. */
export async function hindrances(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const rules = JSON.stringify(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]);
  const { violations } = await page.evaluate<AxeResults>(`axe.run({ runOnly: ${rules} })`);
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 160)}`));
}

export const whoRunsOn = (page: Page): Promise<string | null> => page.getByTestId("who-runs").textContent();
