// Drains hosts of a fleet that a fleet file describes, through their switchoverds.

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
  /** The hosts to drain, by name or by label, such as `rack:r1`. */
  readonly hosts: readonly string[];
  readonly limits?: Partial<DrainLimits>;
  /** Number of destinations tried per guest. Default: 3. */
  readonly attempts?: number;
  /** No migration begins after this time, in milliseconds since 1970. */
  readonly deadlineMs?: number;
  /** Default: each guest is migrated with its definition and without a bandwidth limit. */
  readonly how?: DrainHow;
}

export type Begun = Extract<DrainEvent, { kind: "begun" }>;

/**
 * Queries all hosts and returns the first event of a drain. `onAway` is called for each destination that does not answer and
 * is therefore excluded. @throws Error naming a selector that matches no host, or a host to drain that does not answer.
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
 * Migrates all guests of some hosts to the others. If the engine already contains the drain, it is resumed.
 * `first` returns its first event, if the hosts have been queried before.
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
      // A resumed drain keeps the options that it was begun with.
      if (event.kind === "begun") mover.how = event.wish.how ?? defaultMigrationOptions;
      onEvent?.(event, drain);
    },
    ...(placement && { placement }),
    ...(onTrouble && { onTrouble }),
    ...(againMs !== undefined && { againMs }),
  });
  return { ...conducted, ended: conducted.ended.finally(() => mover.close()) };
}
