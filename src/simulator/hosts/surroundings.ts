// Shared by all rules of the host world: its parts, the source and destination host of each migration, the real domain machine,
// the evidence rules of the daemon, and the orders of effects that a mutant disables to prove that the search detects it.

import type { AnyStateMachine } from "xstate";
import { topState } from "../../machines/shared/state-name.js";
import type { conclude, mayFinish } from "../../protocol/evidence.js";
import type { answerOfHost, atRestart, confirmCounts, isGoneOnWith } from "../../protocol/host-evidence.js";
import type { Change, Read, WorldMove } from "../components.js";
import { type MoveKind, moveKinds } from "../search-world.js";
import type { DomainMachineState, DomainSpecies } from "./domain-model.js";
import { type HostParts, isUp, type MigrationParts, machineOf, type Parts } from "./parts.js";

export interface Migration {
  readonly from: number;
  readonly to: number;
}

/** The decisions that a mutant may replace. */
export interface HostRules {
  readonly machine: AnyStateMachine;
  readonly answerOfHost: typeof answerOfHost;
  readonly atRestart: typeof atRestart;
  readonly isGoneOnWith: typeof isGoneOnWith;
  readonly confirmCounts: typeof confirmCounts;
  /** Set when the destination is a libvirtd. */
  readonly conclude: typeof conclude;
  readonly mayFinish: typeof mayFinish;
  /** Orders of effects in the daemon that are not functions; a mutant disables one. */
  readonly keeps: ReadonlySet<Kept>;
}
export const orders = [
  "the refusal is durable before it is reported",
  "taken is durable before the guest runs",
  "the concession is durable before it is reported",
  "an unknown answer leaves the source paused",
  "an away guest is reclaimed before it is started",
  "a guest that has left is recorded as away",
  "the departure of a guest is recorded before anything is sent",
  "a mute QEMU counts as alive",
  "an undecided migration is refused at a restart",
  "a mute QEMU that answers again releases only an ordinary guest",
  "an away guest stays away while its record is overwritten",
  "a concession applies only to the away record for which it was requested",
  "a message is matched by the migration's id",
] as const;
export type Kept = (typeof orders)[number];

export interface Surroundings {
  readonly parts: Parts;
  readonly migrations: readonly Migration[];
  readonly species: DomainSpecies;
  readonly rules: HostRules;
}

const moveOf =
  (kind: MoveKind) =>
  (name: string, changes: readonly Change[], harm?: string): WorldMove => ({ name, kind, harm, changes });
export const calm = moveOf(moveKinds.calm);
export const requested = moveOf(moveKinds.requested);
export const fault = moveOf(moveKinds.fault);

export const hostName = (host: number): string => "ABC"[host] ?? String(host);

/** @throws RangeError when the host does not exist. */
export function hostAt({ parts }: Surroundings, host: number): HostParts {
  const here = parts.hosts[host];
  if (here === undefined) throw new RangeError(`host ${host} does not exist`);
  return here;
}

export const others = ({ hosts }: Parts, host: number): HostParts[] =>
  hosts.filter((_, other) => other !== host);

/** A migration with its two hosts. */
export interface Seen {
  readonly id: number;
  readonly own: MigrationParts;
  readonly before: MigrationParts | undefined;
  /** The hosts of the source and of the destination. */
  readonly s: HostParts;
  readonly d: HostParts;
  readonly to: number;
  /** The names of the hosts. */
  readonly sName: string;
  readonly dName: string;
}

/** Returns the domain machine when this migration owns the guest. */
export function givenTo(
  read: Read,
  host: HostParts,
  state: "departing" | "arriving",
  id: number,
): DomainMachineState | null {
  if (!isUp(read, host)) return null;
  const machine = machineOf(read, host);
  return topState(machine.state) === state && machine.migrationId === String(id) ? machine : null;
}
