// Empties hosts of a fleet that a file describes, by their switchoverds.

import { randomBytes } from "node:crypto";
import { systemClock } from "../drivers/platform/clock.js";
import {
  type DrainEvent,
  type DrainHow,
  type DrainLimits,
  defaultDrainLimits,
  defaultMigrationOptions,
} from "./drain.js";
import { selectHosts } from "./fleet.js";
import { type FleetFile, fleetNow } from "./fleet-file.js";
import { RpcMover } from "./rpc-mover.js";
import { type Conducted, type ConductOptions, conduct, type DrainEngine } from "./run-drain.js";

export interface DrainOptions
  extends Pick<ConductOptions, "placement" | "onEvent" | "onTrouble" | "againMs"> {
  readonly fleet: FleetFile;
  /** By name, or by label, such as `rack:r1`. */
  readonly hosts: readonly string[];
  readonly limits?: Partial<DrainLimits>;
  /** Destinations that are tried for a guest. Default: 3. */
  readonly attempts?: number;
  /** No migration begins after it, in milliseconds since 1970. */
  readonly deadlineMs?: number;
  /** Default: each guest goes with its definition, without a limit on its bandwidth. */
  readonly how?: DrainHow;
}

export type Begun = Extract<DrainEvent, { kind: "begun" }>;

/**
 * What a drain begins with: asks all hosts. `onAway` is told of each that nothing goes to, since it does not answer.
 * @throws Error naming a word that means no host, or a host that is to be emptied and does not answer.
 */
export async function beginning(
  options: Pick<DrainOptions, "fleet" | "hosts" | "limits" | "attempts" | "deadlineMs" | "how">,
  onAway: (why: string) => void = () => {},
): Promise<Begun> {
  const {
    fleet: file,
    hosts,
    limits,
    attempts = 3,
    deadlineMs = null,
    how = defaultMigrationOptions,
  } = options;
  const sources = selectHosts(file, hosts);
  const fleet = await fleetNow(file, systemClock, (name, error) => {
    if (sources.includes(name)) throw error;
    onAway(error.message);
  });
  return {
    kind: "begun",
    atMs: systemClock.now(),
    fleet,
    wish: { sources, limits: { ...defaultDrainLimits, ...limits }, attempts, deadlineMs, how },
  };
}

/**
 * Moves all that runs on some hosts to the others. An engine that knows the drain already goes on with it.
 * `first` is how it begins, when that has been asked for before.
 */
export function drain(
  options: DrainOptions,
  engine: DrainEngine,
  first: () => Promise<Begun> = () => beginning(options),
): Conducted {
  const { fleet, placement, onEvent, onTrouble, againMs } = options;
  const mover = new RpcMover({
    clock: systemClock,
    uris: new Map(fleet.hosts.map((host) => [host.name, host.uri])),
    peerUris: new Map(fleet.hosts.map((host) => [host.name, host.peerUri ?? host.uri])),
  });
  const conducted = conduct({
    begun: first,
    engine,
    mover,
    clock: systemClock,
    random: () => randomBytes(9).toString("hex"),
    onEvent: (event, drain) => {
      // As it was begun, whoever goes on with it.
      if (event.kind === "begun") mover.how = event.wish.how ?? defaultMigrationOptions;
      onEvent?.(event, drain);
    },
    ...(placement && { placement }),
    ...(onTrouble && { onTrouble }),
    ...(againMs !== undefined && { againMs }),
  });
  return { ...conducted, ended: conducted.ended.finally(() => mover.close()) };
}
