// The host world with a libvirtd in place of one of the two hosts, and one migration from or to it. The other host is the same
// switchoverd as in hosts-world.ts: the real domain machine, its records, a daemon that dies and restarts. Checks G1, G2, G3 and
// G5, except in the windows that docs/guarantees.md lists: a search that tolerates all but one window finds the shortest trace of
// that window, and a search that tolerates all windows finds nothing.
//
// Omitted: post-copy, protocol 2, disk mirrors; our own client, which asks more than libvirt's client does; changes by the user of
// a libvirtd to a definition that stayed there; the answers of a destination to a libvirtd, which does not ask.

import type { Read, Rule } from "../components.js";
import { type Explored, explore } from "../explore.js";
import { PackedWorld } from "../packed-world.js";
import { concessionRules } from "./concessions.js";
import { deathRules } from "./deaths.js";
import { DomainSpecies } from "./domain-model.js";
import { fromLibvirtd } from "./from-libvirtd.js";
import { hostRules } from "./host-transitions.js";
import { brokenInTheEnd, copies, firstOf, wholeRules } from "./hosts-world.js";
import { deathOfLeader } from "./leading-to-libvirtd.js";
import type { BesideLibvirtd } from "./libvirtd-parts.js";
import {
  allOfLibvirtd,
  firstOfLibvirtd,
  hasEntered,
  type LibvirtdParts,
  libvirtdParts,
  type Window,
} from "./libvirtd-parts.js";
import { begins, prepares, streams } from "./migration-transitions.js";
import { allOf, led, partsOf } from "./parts.js";
import { requestRules } from "./requests.js";
import { restartRules } from "./restart.js";
import { atDestination, atSource, endsAtSource } from "./sides.js";
import { type HostRules, hostAt, hostName, type Seen } from "./surroundings.js";
import { toLibvirtd } from "./to-libvirtd.js";

export interface LibvirtdSearch {
  readonly libvirtd: "source" | "destination";
  /** Whether the source's switchoverd coordinates by itself, or a client of libvirt coordinates. Default: managed. */
  readonly mode?: "peer-to-peer" | "managed";
  readonly faults: number;
  /** Violations in these windows are not reported. */
  readonly allowed: readonly Allowed[];
  readonly rules?: Partial<HostRules>;
}

/** A case in which a guarantee does not hold: its number, and the event before the violation. */
export interface Allowed {
  readonly guarantee: string;
  readonly window: Window;
}

export function searchBesideLibvirtd({ faults, ...search }: LibvirtdSearch): Explored {
  return explore(worldOf(search), { faults, maxStates: Infinity });
}

function worldOf({ libvirtd: at, mode = "managed", allowed, rules = {} }: Omit<LibvirtdSearch, "faults">) {
  const parts = partsOf(2, 1);
  const libvirtd = libvirtdParts();
  const whole = { ...wholeRules, ...rules };
  const species = new DomainSpecies(whole.machine);
  const migrations = [{ from: 0, to: 1 }];
  const world: BesideLibvirtd = { parts, libvirtd, mode, migrations, species, rules: whole };
  const [own] = parts.migrations;
  if (own === undefined) throw new RangeError("the world does not have a migration");
  const seen: Seen = {
    id: 0,
    own,
    before: undefined,
    s: hostAt(world, 0),
    d: hostAt(world, 1),
    to: 1,
    sName: hostName(0),
    dName: hostName(1),
  };
  const isTolerated = (guarantee: string, read: Read): boolean => {
    const entered = read(libvirtd.entered);
    return allowed.some((one) => hasEntered(entered, one.window) && guarantee.startsWith(one.guarantee));
  };
  const orTolerated = (guarantee: string | undefined, read: Read): string | undefined =>
    guarantee !== undefined && isTolerated(guarantee, read) ? undefined : guarantee;
  const harmless = (rule: Rule): Rule => ({
    reads: [...rule.reads, libvirtd.entered],
    moves: (read) =>
      rule.moves(read).map((move) => ({
        name: move.name,
        kind: move.kind,
        changes: move.changes,
        harm: orTolerated(move.harm, read),
      })),
  });
  const isSource = at === "source";
  const host = isSource ? 1 : 0;
  const other = isSource ? seen.s : seen.d;
  return new PackedWorld({
    components: [...allOf(parts), ...allOfLibvirtd(libvirtd)],
    // The libvirtd does not have our domain machine.
    first: [...firstOf(parts, species), other.machine.becomes(null), ...firstOfLibvirtd(libvirtd)],
    rules: [
      streams(seen),
      ...(isSource
        ? [preparesOnce(world, seen), atDestination(world, seen), ...fromLibvirtd(world, seen)]
        : [begins(world, seen), atSource(world, seen), endsAtSource(world, seen), ...toLibvirtd(world, seen)]
      ).map(harmless),
      ...hostRules(world, host),
      ...concessionRules(world, host),
      ...requestRules(world, host),
      ...(isSource ? deathRules(world, host) : deathsOfLeader(world, seen)),
      ...restartRules(world, host),
    ],
    merges: [],
    always: {
      reads: [
        ...parts.hosts.flatMap(({ qemu, orphan }) => [qemu, orphan]),
        libvirtd.isElsewhere,
        libvirtd.entered,
      ],
      broken: (read) =>
        allCopies(world, libvirtd, read) > 1
          ? orTolerated("G1: two copies of the guest run", read)
          : undefined,
    },
    inTheEnd: (read) =>
      // The guest continues on the host to which it was migrated on.
      orTolerated(brokenInTheEnd(parts, read, Number(read(libvirtd.isElsewhere))), read),
  });
}

const allCopies = ({ parts }: BesideLibvirtd, { isElsewhere }: LibvirtdParts, read: Read): number =>
  copies(parts, read) + Number(read(isElsewhere));

/** When the daemon of a source dies, its coordinator dies too and its connections close. */
function deathsOfLeader(world: BesideLibvirtd, seen: Seen): Rule[] {
  const { own, s } = seen;
  return deathRules(world, 0).map((rule) => ({
    reads: [...rule.reads, own.led, own.source],
    faultsOnly: true,
    moves: (read) =>
      rule.moves(read).map(({ name, kind, harm, changes }) => {
        const isDaemon = changes.some(({ component }) => component === s.machine);
        return {
          name,
          kind,
          harm,
          changes: isDaemon ? [...changes, ...deathOfLeader(world, seen, read)] : changes,
        };
      }),
  }));
}

/** A libvirtd's Prepare does not name a migration: it is delivered once over its connection. */
function preparesOnce(world: BesideLibvirtd, seen: Seen): Rule {
  const { reads, moves } = prepares(world, seen);
  const isAsked = (read: Read) =>
    read(seen.own.led) === led.begun || read(seen.own.destination).is === "reserving";
  return { reads, moves: (read) => (isAsked(read) ? moves(read) : []) };
}
