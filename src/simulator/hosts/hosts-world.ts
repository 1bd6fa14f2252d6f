// Several hosts, one guest and some consecutive migrations as a world for the search: the surroundings of the machines of one
// migration. Each host has the real domain machine, the evidence rules of the daemon, its records, and a daemon that dies and
// restarts with or without its journal. Checks G1, G2, G3 and G5.
//
// Omitted, because another search or test covers it or because nothing here depends on it: the inner states of the two sides of a
// migration (search.ts); post-copy, disk mirrors and fences; suspended guests; a second guest, and thus names; define, create and
// autostart, which are starts of a defined guest here; hosts other than switchoverd (libvirtd-world.ts). Messages are not
// duplicated individually: each step that was sent once can be delivered at any later moment, any number of times, which covers
// loss, delay, duplication and partitions without a fault. The source's query and its answer are one move, and so are all actions
// of a daemon at its start. The reasons are in docs/decisions/0026.

import { domainMachine } from "../../machines/domain/machine.js";
import { conclude, mayFinish } from "../../protocol/evidence.js";
import { answerOfHost, atRestart, confirmCounts, isGoneOnWith } from "../../protocol/host-evidence.js";
import type { Read, ValueOf } from "../components.js";
import { type Explored, explore } from "../explore.js";
import { PackedWorld } from "../packed-world.js";
import { concessionRules } from "./concessions.js";
import { deathRules } from "./deaths.js";
import { DomainSpecies } from "./domain-model.js";
import { hostRules } from "./host-transitions.js";
import { hostMerges } from "./merges.js";
import { migrationRules } from "./migration-transitions.js";
import {
  allOf,
  destination,
  destinationIsOpen,
  led,
  type Parts,
  partsOf,
  presence,
  qemu,
  runs,
  source,
  sourceIsOpen,
} from "./parts.js";
import { requestRules } from "./requests.js";
import { restartRules } from "./restart.js";
import { type HostRules, type Migration, orders, type Surroundings } from "./surroundings.js";

/** Returns migrations from each host to the next: A to B and back, or A to B to C. */
export const inARow = (hosts: number, migrations: number): Migration[] =>
  Array.from({ length: migrations }, (_, at) => ({ from: at % hosts, to: (at + 1) % hosts }));

export interface HostSearch {
  readonly hosts: number;
  /** Consecutive migrations: each may begin once the previous one has begun. */
  readonly migrations: readonly Migration[];
  readonly faults: number;
  readonly maxStates?: number;
  /** Merges states that differ only in finished migrations. Default: true. */
  readonly reduced?: boolean;
  /** A mutant of the search replaces some of the daemon's rules. */
  readonly rules?: Partial<HostRules>;
}

export const wholeRules: HostRules = {
  machine: domainMachine,
  answerOfHost,
  atRestart,
  conclude,
  confirmCounts,
  isGoneOnWith,
  mayFinish,
  keeps: new Set(orders),
};

export function searchHosts({ faults, maxStates = Infinity, ...world }: HostSearch): Explored {
  return explore(hostsWorld(world), { faults, maxStates });
}

function hostsWorld({
  hosts,
  migrations,
  rules = {},
  reduced = true,
}: Omit<HostSearch, "faults" | "maxStates">): PackedWorld {
  const parts = partsOf(hosts, migrations.length);
  const whole = { ...wholeRules, ...rules };
  const species = new DomainSpecies(whole.machine);
  const surroundings: Surroundings = { parts, migrations, species, rules: whole };
  return new PackedWorld({
    components: allOf(parts),
    first: firstOf(parts, species),
    rules: [
      ...parts.hosts.flatMap((_, host) => [
        ...hostRules(surroundings, host),
        ...concessionRules(surroundings, host),
        ...requestRules(surroundings, host),
        ...deathRules(surroundings, host),
        ...restartRules(surroundings, host),
      ]),
      ...migrations.flatMap((_, id) => migrationRules(surroundings, id)),
    ],
    merges: reduced ? hostMerges(parts, migrations) : [],
    always: {
      reads: parts.hosts.flatMap((host) => [host.qemu, host.orphan]),
      broken: (read) => (copies(parts, read) > 1 ? "G1: two copies of the guest run" : undefined),
    },
    inTheEnd: (read) => brokenInTheEnd(parts, read),
  });
}

/** The initial state: the guest runs on the first host. */
export function firstOf(parts: Parts, species: DomainSpecies): ValueOf[] {
  const off = species.begin({ restarted: false, away: false });
  const running = species.send(species.begin({ restarted: true, away: false }), {
    type: "host.examined",
    found: { left: "running" },
  }).to;
  return [
    ...parts.hosts.flatMap((host, at) => [
      host.machine.becomes(at === 0 ? running : off),
      host.qemu.becomes(qemu(at === 0 ? "running" : "absent")),
      host.presence.becomes(presence(at === 0 ? "here" : "none")),
      host.away.becomes(null),
      host.defined.becomes(at === 0),
      host.asking.becomes("nothing"),
      host.waiting.becomes("nothing"),
      host.orphan.becomes("none"),
    ]),
    ...parts.migrations.flatMap((migration) => [
      migration.source.becomes(source("none")),
      migration.destination.becomes(destination("none")),
      migration.led.becomes(led.nothing),
      migration.fate.becomes("open"),
    ]),
    parts.ended.becomes(false),
    parts.damaged.becomes(false),
  ];
}

export const copies = ({ hosts }: Parts, read: Read): number =>
  hosts.reduce(
    (sum, host) => sum + Number(runs(read(host.qemu))) + Number(read(host.orphan) === "running"),
    0,
  );

/**
 * Checks a state in which nothing more happens by itself. `elsewhere` is the number of copies outside of the world's hosts. After
 * damage an operator may be required; then a host has to report it.
 */
export function brokenInTheEnd(parts: Parts, read: Read, elsewhere = 0): string | undefined {
  const running = copies(parts, read) + elsewhere;
  const isWaiting = parts.migrations.some(
    (migration) => sourceIsOpen(read(migration.source)) || destinationIsOpen(read(migration.destination)),
  );
  const isQuarantined = parts.hosts.some((host) => read(host.machine)?.quarantined === true);
  if (read(parts.damaged)) {
    if (running > 0 || read(parts.ended) || isWaiting || isQuarantined) return undefined;
    // An operator resumes it. A host that has lost everything reports nothing, but its QEMU still exists.
    const isPaused = parts.hosts.some(
      (host) =>
        read(host.orphan) !== "none" ||
        read(host.qemu).is === "paused" ||
        read(host.machine)?.state === "active.paused",
    );
    return isPaused ? undefined : "G2: no copy of the guest runs, and no host reports it";
  }
  if (isWaiting) return "G5: a side of a migration waits forever";
  return running > 0 || read(parts.ended) ? undefined : "G2: no copy of the guest runs";
}
