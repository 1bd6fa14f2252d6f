// Derives from the states' `meta` how a restarted engine's machine gets from `rehydrating` to the state in which it
// continues.

import type { StateMeta } from "./actions.js";

interface StateConfig {
  readonly meta?: StateMeta;
  readonly states?: Readonly<Record<string, StateConfig>>;
  readonly description?: string;
  readonly entry?: unknown;
  readonly invoke?: unknown;
  readonly always?: unknown;
  readonly after?: unknown;
  readonly on?: unknown;
}
type States = Readonly<Record<string, StateConfig>>;

interface Found {
  readonly path: string;
  readonly goesOnIn: string;
}

/** Returns every state that is recorded by its own name, through the groups. */
function statesIn(states: States, above = "", inherited?: string): Map<string, Found> {
  return new Map(
    Object.entries(states).flatMap(([name, { meta, states: below = {} }]) => {
      const path = `${above}.${name}`;
      const goesOnIn = meta?.rehydratesAs ?? inherited;
      if (meta?.group === true) return [...statesIn(below, path, goesOnIn)];
      return [[name, { path, goesOnIn: goesOnIn ?? name }] as const];
    }),
  );
}

/**
 * Builds the `always` transitions of `rehydrating`: from the recorded state to the one in which the machine continues;
 * otherwise it begins.
 */
export function rehydrating(machine: string, states: States, beginning: string) {
  const found = statesIn(states);
  const recordedAs = new Map<string, string[]>();
  for (const [name, { goesOnIn }] of found)
    recordedAs.set(goesOnIn, [...(recordedAs.get(goesOnIn) ?? []), name]);
  const target = (name: string) => {
    const state = found.get(name);
    if (state === undefined) throw new Error(`the ${machine} has no state "${name}" to continue in`);
    return `#${machine}${state.path}`;
  };
  return [
    ...[...recordedAs].map(([name, recorded]) => ({
      guard: { type: "wokeIn" as const, params: recorded },
      target: target(name),
    })),
    { target: target(beginning) },
  ];
}
