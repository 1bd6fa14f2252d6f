// Reads the built page of the inspector: one file, with its content security policy and a placeholder for stories.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A story that the page shows when it opens. */
export interface GivenStory {
  readonly name: string;
  readonly text: string;
}

let built: { readonly html: string; readonly policy: string } | undefined;

/** @throws Error when the page was not built. */
export function page(): { readonly html: string; readonly policy: string } {
  if (built === undefined) {
    // Seen from the compiled module, from a bundle of the whole program, and from the source.
    const places = ["../page.html", "../../dist/inspector/page.html", "../../../dist/inspector/page.html"];
    const paths = places.map((name) => fileURLToPath(new URL(name, import.meta.url)));
    const path = paths.find((text) => existsSync(text));
    if (path === undefined)
      throw new Error("the page of the inspector has not been built: run npm run build");
    const html = readFileSync(path, "utf8");
    const [, policy] = /<meta http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html) ?? [];
    if (policy === undefined)
      throw new Error(`${path} does not contain a content security policy: run npm run build`);
    built = { html, policy };
  }
  return built;
}
