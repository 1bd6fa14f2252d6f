// The inspector's page as it was built: one file, with the policy that it wants, and room for stories.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A story that is shown from the start. */
export interface GivenStory {
  readonly name: string;
  readonly text: string;
}

let built: { readonly html: string; readonly policy: string } | undefined;

/** @throws Error when it was not built. */
export function page(): { readonly html: string; readonly policy: string } {
  if (built === undefined) {
    // Beside this module when that was built too.
    const paths = ["../page.html", "../../../dist/inspector/page.html"].map((name) =>
      fileURLToPath(new URL(name, import.meta.url)),
    );
    const path = paths.find((text) => existsSync(text));
    if (path === undefined) throw new Error("the inspector's page is not built; run npm run build");
    const html = readFileSync(path, "utf8");
    const [, policy] = /<meta http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html) ?? [];
    if (policy === undefined) throw new Error(`${path} has no policy; run npm run build`);
    built = { html, policy };
  }
  return built;
}
