// The parts of the host world's state: for each host its data about the single guest in memory and on disk and its QEMU; for each
// migration the progress of its source, its destination and its client.

import { type AnyComponent, Component, type Read } from "../components.js";
import type { DomainMachineState } from "./domain-model.js";

/** Interns equal values, as components require. */
function interning<T extends object>(): (value: T) => T {
  const known = new Map<string, T>();
  return (value) => {
    const key = JSON.stringify(value);
    const same = known.get(key) ?? value;
    known.set(key, same);
    return same;
  };
}

/**
 * `booting`: runs, but the host has not detected it yet. `incoming`: without memory. `complete`: has all memory of migration `of`
 * and was not resumed. `sent`: paused, and migration `of` has transferred all its memory away.
 */
export interface Qemu {
  readonly is: "absent" | "booting" | "running" | "paused" | "incoming" | "complete" | "sent";
  readonly of: number | null;
  readonly mute: boolean;
}
const internQemu = interning<Qemu>();
export const qemu = (is: Qemu["is"], of: number | null = null, mute = false): Qemu =>
  internQemu({ is, of, mute: is !== "absent" && mute });
export const runs = ({ is }: Qemu): boolean => is === "running" || is === "booting";

/**
 * The record of a guest on disk. `kept`: it stays because the away record could not be written. `begun`: QEMU may have been
 * instructed to send the guest.
 */
export interface Presence {
  readonly is: "none" | "starting" | "here" | "out" | "in";
  readonly of: number | null;
  readonly forgotten: boolean;
  readonly kept: boolean;
  readonly begun: boolean;
}
const internPresence = interning<Presence>();
export const presence = (
  is: Presence["is"],
  of: number | null = null,
  { kept = false, begun = false }: Partial<Presence> = {},
): Presence => internPresence({ is, of, forgotten: false, kept, begun });
export const forgotten = (record: Presence): Presence =>
  internPresence({ ...record, forgotten: record.is === "in" || record.is === "out" });

/** The source side of a migration as recorded in its journal; every state is durable before its effect. */
export interface Source {
  readonly is:
    | "none"
    | "begun"
    | "performing"
    | "handedOver"
    | "resuming"
    | "killing"
    | "left"
    | "stayed"
    | "lost";
  readonly unreadable: boolean;
}
const internSource = interning<Source>();
export const source = (is: Source["is"], unreadable = false): Source => internSource({ is, unreadable });
export const sourceIsOpen = ({ is, unreadable }: Source): boolean =>
  !unreadable && ["begun", "performing", "handedOver", "resuming", "killing"].includes(is);

/** The destination side. `reserving`: in memory only. `otherJournal`: the journal that answered Prepare is lost. */
export interface Destination {
  readonly is: "none" | "reserving" | "listening" | "taking" | "arrived" | "refusing" | "refused" | "lost";
  readonly unreadable: boolean;
  readonly otherJournal: boolean;
}
const internDestination = interning<Destination>();
export const destination = (
  is: Destination["is"],
  { unreadable = false, otherJournal = false }: Partial<Destination> = {},
): Destination => internDestination({ is, unreadable, otherJournal });
/** Returns the same side with another state. */
export const destinationAs = (from: Destination, is: Destination["is"]): Destination => destination(is, from);
export const destinationIsOpen = ({ is, unreadable }: Destination): boolean =>
  !unreadable && ["listening", "taking", "refusing"].includes(is);
export function decisionIn({ is, unreadable }: Destination): "taken" | "refused" | null {
  if (unreadable) return null;
  if (is === "taking" || is === "arrived" || is === "lost") return "taken";
  return is === "refusing" || is === "refused" ? "refused" : null;
}

/** The progress of a client. Each step that was sent once can be delivered at any later moment, repeatedly. */
export const led = { nothing: 0, begun: 1, prepared: 2, performed: 3, finished: 4 } as const;

/**
 * A host that reclaims its away guest. `late`: it no longer waits, but the request may still be delivered. `granting`: the other
 * host records the concession. `starting`: this host owns the guest again and will start it.
 */
export type Asking = "nothing" | "asked" | "late" | "granting" | "lateGranting" | "granted" | "reclaiming";

/** The background wait of a restarted host: for an answer of a mute QEMU, of an ordinary guest or of a story. */
export type Waiting = "nothing" | "qemu" | "story";

export interface HostParts {
  /** Null while the daemon is not running. */
  readonly machine: Component<DomainMachineState | null>;
  readonly qemu: Component<Qemu>;
  readonly presence: Component<Presence>;
  /** The host that this one must ask before it starts the guest; -1 when it is unknown; null when no request is required. */
  readonly away: Component<number | null>;
  readonly defined: Component<boolean>;
  readonly asking: Component<Asking>;
  readonly waiting: Component<Waiting>;
  /** A QEMU that a host has forgotten because it lost all its state. */
  readonly orphan: Component<"none" | "still" | "running">;
}

export interface MigrationParts {
  readonly source: Component<Source>;
  readonly destination: Component<Destination>;
  readonly led: Component<number>;
  /** The true history, even if no host remembers it: the destination has decided to take the guest, and has run it. */
  readonly fate: Component<"open" | "taken" | "ran">;
}

export interface Parts {
  readonly hosts: readonly HostParts[];
  readonly migrations: readonly MigrationParts[];
  /** A copy of the guest ended that may have been the only one, through an operator, a dead QEMU or a dead host. */
  readonly ended: Component<boolean>;
  /** Durable state was damaged or lost: an operator may be required (the weaker form of G2). */
  readonly damaged: Component<boolean>;
}

export const partsOf = (hosts: number, migrations: number): Parts => ({
  hosts: Array.from({ length: hosts }, (_, host) => ({
    machine: new Component(`machine ${host}`, 8),
    qemu: new Component(`qemu ${host}`, 5),
    presence: new Component(`presence ${host}`, 5),
    away: new Component(`away ${host}`, 3),
    defined: new Component(`defined ${host}`, 1),
    asking: new Component(`asking ${host}`, 3),
    waiting: new Component(`waiting ${host}`, 2),
    orphan: new Component(`orphan ${host}`, 2),
  })),
  migrations: Array.from({ length: migrations }, (_, migration) => ({
    source: new Component(`source ${migration}`, 5),
    destination: new Component(`destination ${migration}`, 5),
    led: new Component(`led ${migration}`, 3),
    fate: new Component(`fate ${migration}`, 2),
  })),
  ended: new Component("ended", 1),
  damaged: new Component("damaged", 1),
});

export const allOf = ({ hosts, migrations, ended, damaged }: Parts): AnyComponent[] => [
  ...hosts.flatMap((host) => Object.values(host)),
  ...migrations.flatMap((migration) => Object.values(migration)),
  ended,
  damaged,
];

/** Returns the machine of a host whose daemon runs. @throws Error when the daemon is down. */
export function machineOf(read: Read, { machine }: HostParts): DomainMachineState {
  const standing = read(machine);
  if (standing === null) throw new Error("the daemon is down");
  return standing;
}

export const isUp = (read: Read, { machine }: HostParts): boolean => read(machine) !== null;

export function fateOf({ migrations }: Parts, m: number) {
  const migration = migrations[m];
  if (migration === undefined) throw new RangeError(`migration ${m} does not exist`);
  return migration.fate;
}
