// Names that older versions have recorded, and what they are called now. A name of today is no older name of anything, so a
// name can be brought up to date twice.

import type { Side } from "../../protocol/steps.js";

type Names = Readonly<Record<string, string>>;

/** Keyed by side: states, also those inside of others. */
const states: Readonly<Record<Side, Names>> = { source: {}, destination: {}, coordinator: {} };
const events: Names = {};
const effects: Names = {};
const delays: Names = {};
/** The members of a side's deadlines. */
const deadlines: Names = {};

const renamed = (names: Names, name: string): string =>
  Object.hasOwn(names, name) ? (names[name] ?? name) : name;
const renamedIn = (names: Names, text: string): string =>
  text.replaceAll(/[a-z]+/gi, (word) => renamed(names, word));

/** Returns the recorded state, such as `settling.asking`, under its names of today. */
export const currentState = (side: Side, recorded: string): string => renamedIn(states[side], recorded);

export function currentEvent(side: Side, recorded: string): string {
  const [, kind, rest = ""] = /^(xstate\.\w+\.)(.*)$/.exec(recorded) ?? [];
  if (kind === undefined) return renamed(events, recorded);
  if (kind === "xstate.after.") return kind + renamedIn({ ...states[side], ...delays }, rest);
  return kind + renamedIn(effects, rest);
}

export const currentDeadlines = (recorded: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(recorded).map(([name, value]) => [renamed(deadlines, name), value]));
