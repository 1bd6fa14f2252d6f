// Where stories come from: the server that serves this page, stories within the page itself, files, and the simulated world.

import { ToldWorld } from "../../simulator/traced-world.js";
import type { Summary } from "../server/hub.js";
import { withStories } from "../story/embed-stories.js";
import { type Entry, sides } from "../story/moment.js";
import { readStoryText, StoryTextError, storyTextOf } from "../story/story-text.js";
import { Story } from "./model.js";

/** Before anything was drawn into it. */
const pristine = `<!doctype html>\n${document.documentElement.outerHTML}`;

const token = new URLSearchParams(location.search).get("token");
const at = (path: string, query: Readonly<Record<string, string>> = {}): string =>
  `${path}?${new URLSearchParams({ ...query, ...(token !== null && { token }) })}`;

interface Given {
  readonly live: boolean;
  readonly stories: readonly { readonly name: string; readonly text: string }[];
}

/** What the page begins with: from within itself when it is a file, else from its server. */
export async function given(): Promise<Given> {
  const inside = document.getElementById("stories")?.textContent;
  if (inside) return { live: false, stories: JSON.parse(inside) as Given["stories"] };
  if (location.protocol === "file:") return { live: false, stories: [] };
  const answer = await fetch(at("/api/stories"));
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as Given;
}

/** @throws StoryTextError when the text is none. A counterexample is played in the simulated world. */
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
      ? `the simulated world breaks a guarantee by these moves: ${told.broken}`
      : missing !== null
        ? `it said "${broken}", but the machines have changed: there is no move "${missing}" any more`
        : `it said "${broken}"; by these moves no guarantee is broken any more`,
  ];
  return story;
}

export const reasonOf = (error: unknown): string =>
  error instanceof StoryTextError || error instanceof Error ? error.message : String(error);

/** Follows the list of migrations, until the returned function is called. */
export function followList(
  hear: (summaries: readonly Summary[]) => void,
  connection: (isUp: boolean) => void,
): () => void {
  const events = new EventSource(at("/api/migrations"));
  events.onopen = () => connection(true);
  events.onerror = () => connection(false);
  events.onmessage = ({ data }) => hear(JSON.parse(String(data)) as Summary[]);
  return () => events.close();
}

/** A migration that is watched; `stop` ends the watching. */
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

/** This page with the story within: one file that a browser opens without anything else. */
export function savePage(story: Story): void {
  const text = storyTextOf(story.timeline.entries);
  save(`${nameOf(story)}.html`, withStories(pristine, [{ name: story.name, text }]), "text/html");
}
