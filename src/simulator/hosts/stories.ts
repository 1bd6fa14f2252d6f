// The stories of one host in the host world: its migrations as source or destination, and the one that owns its guest.

import type { Change, Read } from "../components.js";
import {
  decisionIn,
  destinationAs,
  destinationIsOpen,
  type MigrationParts,
  type Presence,
  source,
  sourceIsOpen,
} from "./parts.js";
import type { Surroundings } from "./surroundings.js";

/** A migration in which this host is the source or the destination. */
export interface Story {
  readonly id: number;
  readonly parts: MigrationParts;
  readonly to: number;
}

export type Side = Story & { readonly direction: "in" | "out" };

export function storiesOf({ migrations, parts }: Surroundings, host: number) {
  const stories = migrations.flatMap(({ from, to }, id): (Story & { out: boolean })[] => {
    const of = parts.migrations[id];
    if (of === undefined || (from !== host && to !== host)) return [];
    return [{ id, parts: of, to, out: from === host }];
  });
  return { outgoing: stories.filter(({ out }) => out), incoming: stories.filter(({ out }) => !out) };
}

export const isOpen = ({ direction, parts }: Side, read: Read): boolean =>
  direction === "in" ? destinationIsOpen(read(parts.destination)) : sourceIsOpen(read(parts.source));

export const isUnreadable = ({ direction, parts }: Side, read: Read): boolean =>
  direction === "in" ? read(parts.destination).unreadable : read(parts.source).unreadable;

/** Returns the migration that the record of a guest names; null when it names none; undefined when there is no record. */
export const recordedIn = ({ is, of }: Presence): string | null | undefined =>
  is === "none" ? undefined : is === "in" || is === "out" ? String(of) : null;

/** Ends a story that no longer owns its guest. Its decision remains valid. */
export function disowned({ direction, parts }: Side, read: Read): Change {
  if (direction === "out") return parts.source.becomes(source("lost"));
  const there = read(parts.destination);
  return parts.destination.becomes(destinationAs(there, decisionIn(there) === "taken" ? "lost" : "refused"));
}

/** Returns the same stories as sides, the incoming ones first. */
export function sidesOf(surroundings: Surroundings, host: number): readonly Side[] {
  const { incoming, outgoing } = storiesOf(surroundings, host);
  return [
    ...incoming.map((story) => ({ ...story, direction: "in" as const })),
    ...outgoing.map((story) => ({ ...story, direction: "out" as const })),
  ];
}
