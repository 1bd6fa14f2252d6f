// `switchover inspect`: serves the page with the given stories, or writes both to one file. Also serves the page of a
// running migration.

import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import type { Observe } from "../../effects/trace.js";
import { Hub } from "../../inspector/server/hub.js";
import { type GivenStory, page } from "../../inspector/server/page-file.js";
import { type Inspector, serveInspector } from "../../inspector/server/serve.js";
import { withStories } from "../../inspector/story/embed-stories.js";
import { followInspector } from "../../inspector/story/remote-source.js";
import { readStoryText, storyTextOf } from "../../inspector/story/story-text.js";
import { messageOf } from "../../protocol/effect-result.js";
import { badInputExitCode, type InspectFlags } from "../options/command-options.js";
import { say, warn } from "../print.js";

/** Returns the exit code. */
export async function inspectCommand(paths: readonly string[], flags: InspectFlags): Promise<number> {
  const { host, port, socket, save, watch = [] } = flags;
  const hub = watch.length === 0 ? null : new Hub();
  let stories: readonly GivenStory[];
  let inspector: Inspector;
  try {
    stories = await Promise.all(paths.map(given));
    if (save !== undefined) {
      if (stories.length === 0) throw new Error("--save requires a story to embed in the page; name one");
      await writeFile(save, withStories(page().html, stories));
      say(`wrote ${save} with ${paths.join(", ")}; open it in a browser`);
      return 0;
    }
    for (const url of watch) followInspector(url, (seen) => hub?.observe(seen), warn);
    inspector = await serveInspector({
      hub,
      stories,
      host,
      port,
      ...(socket !== undefined && { socket }),
    });
  } catch (error) {
    warn(messageOf(error));
    return badInputExitCode;
  }
  say(`open ${inspector.url} (Ctrl-C to stop)`);
  await interrupted();
  await inspector.close();
  // The connections to followed inspectors would keep this process alive.
  process.exit(0);
}

const interrupted = () =>
  new Promise<void>((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });

/** Also parses the file here, so that an invalid one is reported at once. */
async function given(path: string): Promise<GivenStory> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`${path} cannot be read: ${messageOf(error)}`);
  }
  readStoryText(path, text);
  return { name: basename(path), text };
}

export interface Beside {
  readonly observe: Observe;
  /** Saves the story if requested, and serves the page until it is interrupted. */
  ended(migrationId: string): Promise<void>;
  /** Stops the page when no migration began. */
  close(): Promise<void>;
}

/** Implements `--inspect` and `--save-story`. @throws Error when the page cannot be served. */
export async function inspectBeside(
  { inspect, saveStory }: { readonly inspect?: number | true; readonly saveStory?: string },
  tell: (sentence: string) => void,
): Promise<Beside> {
  const hub = new Hub();
  const port = typeof inspect === "number" ? inspect : 0;
  const inspector = inspect === undefined ? null : await serveInspector({ hub, port });
  if (inspector !== null) tell(`inspect it live: ${inspector.url}`);
  return {
    observe: hub.observe,
    ended: async (migrationId) => {
      if (saveStory !== undefined)
        await writeFile(saveStory, storyTextOf(hub.entries(migrationId, 0)?.entries ?? []));
      if (inspector === null) return;
      tell(`still serving ${inspector.url}; Ctrl-C to stop`);
      await interrupted();
      await inspector.close();
    },
    close: async () => inspector?.close(),
  };
}
