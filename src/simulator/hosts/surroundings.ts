// What all rules of the host world share: its parts, which host each migration leaves and reaches, the real domain machine,
// the evidence rules of the daemon, and the orders of effects that a breakage turns off to see that the search finds it.

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

/** The decisions that a breakage may replace. */
export interface HostRules {
  readonly machine: AnyStateMachine;
  readonly answerOfHost: typeof answerOfHost;
  readonly atRestart: typeof atRestart;
  readonly isGoneOnWith: typeof isGoneOnWith;
  readonly confirmCounts: typeof confirmCounts;
  /** With a libvirtd as the destination. */
  readonly conclude: typeof conclude;
  readonly mayFinish: typeof mayFinish;
  /** Orders of the daemon that no function decides; a breakage turns one off. */
  readonly keeps: ReadonlySet<Kept>;
}
export const orders = [
  "the refusal is durable before it is said",
  "taken is durable before the guest runs",
  "the concession is durable before it is said",
  "an unknown answer leaves the source paused",
  "an away guest is asked for before it is started",
  "a guest that has left is recorded as away",
  "the record that a guest departs is written before anything is sent",
  "a mute QEMU counts as alive",
  "an undecided migration is refused at a restart",
  "a mute QEMU that answers again frees only an ordinary guest",
  "what was away stays away while something is recorded over it",
  "a concession answers for the away record that it was asked about",
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

/** @throws RangeError when there is no such host. */
export function hostAt({ parts }: Surroundings, host: number): HostParts {
  const here = parts.hosts[host];
  if (here === undefined) throw new RangeError(`there is no host ${host}`);
  return here;
}

export const others = ({ hosts }: Parts, host: number): HostParts[] =>
  hosts.filter((_, other) => other !== host);

/** A migration with its two hosts. */
export interface Seen {
  readonly id: number;
  readonly own: MigrationParts;
  readonly before: MigrationParts | undefined;
  /** The source's host and the destination's. */
  readonly s: HostParts;
  readonly d: HostParts;
  readonly to: number;
  /** Their names. */
  readonly sName: string;
  readonly dName: string;
}

/** The domain machine, when it has given the guest to this migration. */
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
