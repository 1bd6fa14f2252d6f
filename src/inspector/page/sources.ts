// The sources of stories: the server of this page, stories embedded in the page, files, and the simulated world.

import { ToldWorld } from "../../simulator/traced-world.js";
import type { Summary } from "../server/hub.js";
import { withStories } from "../story/embed-stories.js";
import { type Entry, sides } from "../story/moment.js";
import { readStoryText, StoryTextError, storyTextOf } from "../story/story-text.js";
import { Story } from "./model.js";

/** The page's HTML before anything was rendered. */
const pristine = `<!doctype html>\n${document.documentElement.outerHTML}`;

const token = new URLSearchParams(location.search).get("token");
const at = (path: string, query: Readonly<Record<string, string>> = {}): string =>
  `${path}?${new URLSearchParams({ ...query, ...(token !== null && { token }) })}`;

interface Given {
  readonly live: boolean;
  readonly stories: readonly { readonly name: string; readonly text: string }[];
}

/** Returns the initial content of the page: embedded stories when it is a file, otherwise the server's stories. */
export async function given(): Promise<Given> {
  const inside = document.getElementById("stories")?.textContent;
  if (inside) return { live: false, stories: JSON.parse(inside) as Given["stories"] };
  if (location.protocol === "file:") return { live: false, stories: [] };
  const answer = await fetch(at("/api/stories"));
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as Given;
}

/** Parses a story; a counterexample is replayed in the simulated world. @throws StoryTextError when the text is not valid. */
export function storyFrom(name: string, text: string): Story {
  const read = readStoryText(name, text);
  const story = new Story(`file ${name} ${text.length}`, name);
  if (read.kind === "story") {
    story.remarks = read.remarks;
    story.push(read.entries);
    return story;
  }
  const { told, missing } = ToldWorld.replay(read.counterexample);
  const { broken } = read.counterexample;
  story.push(told.entries);
  story.remarks = [
    told.broken !== null
      ? `these moves violate a guarantee in the simulated world: ${told.broken}`
      : missing !== null
        ? `the file reports "${broken}", but the machines have changed: the move "${missing}" no longer exists`
        : `the file reports "${broken}", but these moves no longer violate a guarantee`,
  ];
  return story;
}

export const reasonOf = (error: unknown): string =>
  error instanceof StoryTextError || error instanceof Error ? error.message : String(error);

/** Subscribes to the list of migrations; returns an unsubscribe function. */
export function followList(
  listener: (summaries: readonly Summary[]) => void,
  connection: (isUp: boolean) => void,
): () => void {
  const events = new EventSource(at("/api/migrations"));
  events.onopen = () => connection(true);
  events.onerror = () => connection(false);
  events.onmessage = ({ data }) => listener(JSON.parse(String(data)) as Summary[]);
  return () => events.close();
}

/** Subscribes to one migration; `stop` unsubscribes. */
export function follow({ migrationId, name }: Summary): { readonly story: Story; stop(): void } {
  const story = new Story(migrationId, name, true);
  const events = new EventSource(at("/api/entries", { id: migrationId }));
  events.onmessage = ({ data }) => {
    const { entries, forgotten } = JSON.parse(String(data)) as { entries: Entry[]; forgotten: number };
    story.forgotten = forgotten;
    story.push(entries);
    const { sides: known } = story.timeline.at(story.length);
    if (sides.every((side) => known[side] === null)) story.changed();
  };
  return { story, stop: () => events.close() };
}

export function save(name: string, text: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const nameOf = (story: Story): string =>
  story.name.replace(/[^\w.-]+/g, "-").replace(/\.(journal|story)$/, "");

export const saveStory = (story: Story): void =>
  save(`${nameOf(story)}.story`, storyTextOf(story.timeline.entries), "application/x-ndjson");

/** Saves this page with the story embedded: one file that a browser opens without a server. */
export function savePage(story: Story): void {
  const text = storyTextOf(story.timeline.entries);
  save(`${nameOf(story)}.html`, withStories(pristine, [{ name: story.name, text }]), "text/html");
}
